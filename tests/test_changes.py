"""The changes that CONTRIBUTING.md shows apply, touch as few files as it says, and work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git applies the changes")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGES = ROOT / "docs" / "changes"
MOST_FILES = {
    "mask": 1,
    "objective": 2,
    "regularizer": 1,
    "dataset": 1,
    "reader": 2,
    "planner": 1,
    "evaluation": 3,
    "model_size": 1,
}

# What each change is for, in a copy of the package to which all of them have been applied.
USES = """
import types
from pathlib import Path
import numpy as np
import torch
import yaml
from safetensors.numpy import save_file
from vjepa.cli.main import main
from vjepa.data.episodes.formats.detection import open_episodes
from vjepa.grid import TokenGrid
from vjepa.interop.recipe import read_recipe
from vjepa.masking.future_tubes import FutureTubes
from vjepa.models import VideoEncoder
from vjepa.objectives import Regularization
from vjepa.objectives.mean_prediction import MeanPrediction
from vjepa.objectives.uniformity import Uniformity
from vjepa.planning.limits import ActionLimit
from vjepa.planning.planner import Problem
from vjepa.planning.random_shooting import RandomShooting

mask = FutureTubes()(TokenGrid(4, 2, 2), np.random.default_rng(0), [np.random.default_rng(1)] * 6)
assert mask.context_ids.shape == (6, 12) and mask.target_ids[0].tolist() == [12, 13, 14, 15]

targets = torch.randn(6, 16, 8)
predictions = [torch.randn(6, 4, 8, requires_grad=True)]
step = types.SimpleNamespace(masks=[mask], targets=targets, predictions=predictions, number=0)
for term in (MeanPrediction(0.5), Regularization(Uniformity())):
    term.name = "mine"
    value = term(step)
    value.loss.backward()
    assert value.loss.ndim == 0 and all(name.startswith("mine") for name in value.parts)
terms = read_recipe(Path("configs/pretrain/synthetic_mean_prediction.yaml"))["model"]["init_args"]["terms"]
assert list(terms)[0] == "prediction" and terms["mean"]["init_args"] == {"weight": 0.5}

def cost(actions):
    return (actions - 0.5).square().sum((1, 2))

problem = Problem(cost, torch.zeros(1, 2), torch.zeros(1, 2), 1, ActionLimit(1.0))
plan = RandomShooting(horizon=2, samples=500).plan(problem, torch.Generator().manual_seed(0))
assert plan.actions.shape == (2, 1) and plan.cost < 0.1

for episode in range(2):
    folder = Path("robot") / str(episode)
    folder.mkdir(parents=True)
    np.save(folder / "frames.npy", np.zeros((5, 8, 8, 3), np.uint8))
    np.save(folder / "actions.npy", np.zeros((5, 2), np.float32))
store = open_episodes("robot")
assert store.action_dim == 2 and store.lengths.tolist() == [4, 4]

assert VideoEncoder(size="micro", tubelet=(2, 8, 8)).embed_dim == 96

recipes = [yaml.safe_load(Path(f"data/{name}.yaml").read_text()) for name in ("my_lab", "hmdb51")]
assert list(recipes[0]) == list(recipes[1])

Path("features").mkdir()
save_file({"features": np.eye(8, dtype=np.float32)}, "features/a.safetensors", {"settings": "0"})
Path("features/index.csv").write_text("path,output,status\\na.mp4,a.safetensors,done\\n")
main(["rank", "--features=features"])
"""


def files_of(diff: str) -> list[str]:
    return re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)


@pytest.mark.parametrize("name", MOST_FILES)
def test_a_change_touches_few_files_and_applies(name: str):
    path = CHANGES / f"{name}.diff"
    assert f"(docs/changes/{name}.diff)" in CONTRIBUTING
    assert 1 <= len(files_of(path.read_text(encoding="utf-8"))) <= MOST_FILES[name]
    check = subprocess.run(["git", "apply", "--check", str(path)], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, f"docs/changes/{name}.diff no longer applies: {check.stderr}"


def test_what_contributing_shows_are_these_changes():
    shown = re.findall(r"```diff\n(.*?)```", CONTRIBUTING, re.DOTALL)
    changes = [path.read_text(encoding="utf-8") for path in CHANGES.glob("*.diff")]
    assert len(shown) >= 3
    for diff in shown:
        assert any(diff in change for change in changes), diff


@pytest.mark.slow
def test_the_changes_work(tmp_path: Path):
    for name in ("vjepa", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "hmdb51.yaml", tmp_path / "data")
    for path in sorted(CHANGES.glob("*.diff")):
        subprocess.run(["git", "apply", str(path)], cwd=tmp_path, check=True)
    run = subprocess.run(
        [sys.executable, "-c", USES],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "effective rank 8.0" in run.stdout
