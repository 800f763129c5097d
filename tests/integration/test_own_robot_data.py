"""docs/own-robot-data.md is true: its commands and code run as they stand there, on a humanoid and on a made arm."""

import csv
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.data.episodes.test_shared_data import shared
from tests.data.episodes.tiny_episodes import write_mp4
from vjepa.cli.main import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-robot-data.md").read_text(encoding="utf-8")
FIND_LAG, PLAN, CLOSED_LOOP = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
A_FEW_STEPS = (
    "--trainer.max_steps=6",
    "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu",
    "--model.dynamics_phase.steps=3",
    "--data.global_batch_size=4",
    "--data.episodes=0.1",
    "--world_model_health.num_windows=12",
)


class Recorded(NamedTuple):
    name: str  # of the folder, on the page
    lag: int
    action_dim: int
    frame_step: int


HUMANOID = Recorded("my_robot", lag=8, action_dim=26, frame_step=10)
ARM = Recorded("my_arm", lag=2, action_dim=7, frame_step=3)


@pytest.fixture(params=[HUMANOID, ARM], ids=["humanoid", "arm"])
def recorded(request, tmp_path, monkeypatch) -> Recorded:
    """The present folder has the recipes, and recordings under the names of the page."""
    folder = shared("g1_robot") if request.param is HUMANOID else write_arm(tmp_path / "arm")
    for name in {"my_robot", request.param.name}:
        (tmp_path / name).symlink_to(folder.resolve())
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return request.param


def test_the_page_leads_from_recordings_to_a_plan(recorded, capsys):
    exec(FIND_LAG, {})
    gaps = re.findall(r"(\d+) frames: ([\d.]+)", capsys.readouterr().out)
    assert min(gaps, key=lambda row: float(row[1]))[0] == str(recorded.lag)

    main([*fit_command(recorded.name), *A_FEW_STEPS])
    said = capsys.readouterr().out
    lines = ("effective rank", "of the change in an action chunk", "times that with other actions", "state", "health ")
    for line in lines:
        assert line in said

    names: dict[str, Any] = {"robot": Robot()}
    exec(PLAN, names)
    costs = dict(re.findall(r"(\w+) +cost ([\d.]+)", capsys.readouterr().out))
    assert float(costs["planned"]) <= float(costs["held"])
    plan = names["plan"].actions
    assert plan.shape == (5, recorded.action_dim)
    assert plan.isfinite().all() and plan.abs().max() <= 3
    assert names["model"].frame_step == recorded.frame_step > recorded.lag
    assert (names["model"].actions.std != 1).any(), "actions are normalised by the model"

    exec(CLOSED_LOOP.replace("range(20)", "range(2)"), names)
    sent = np.stack(names["robot"].sent)
    assert sent.shape == (2 * recorded.frame_step, recorded.action_dim) and np.isfinite(sent).all()


def test_the_page_names_the_lag_of_the_humanoid_and_the_step_of_the_recipe():
    assert f"at {HUMANOID.lag} frames; the recipe's `frame_step: {HUMANOID.frame_step}`" in PAGE


def fit_command(name: str) -> list[str]:
    """The arguments of the page's `vjepa fit` on that folder."""
    blocks = (
        shlex.split(block.replace("\\\n", " ")) for block in re.findall(r"```bash\n(vjepa fit .*?)```", PAGE, re.DOTALL)
    )
    [command] = [words[1:] for words in blocks if f"--data.root={name}" in words]
    return command


class Robot:
    """Sees noise, in a picture of another size than the model's, and does nothing."""

    def __init__(self) -> None:
        self.sent: list[np.ndarray] = []

    def frame(self) -> np.ndarray:  # (H, W, 3) uint8
        return np.random.default_rng(len(self.sent)).integers(0, 256, (96, 128, 3), np.uint8)

    def send(self, targets: np.ndarray) -> None:
        self.sent.append(targets)


def write_arm(root: Path, episodes: int = 6, num_frames: int = 60) -> Path:
    """Videos of seven bars, each as long as a joint is far; joints reach what they are told two frames later."""
    (root / "actions").mkdir(parents=True)
    generator = np.random.default_rng(0)
    with (root / "episodes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "actions"))
        for episode in range(episodes):
            times = np.arange(num_frames + ARM.lag)[:, None]
            places = np.sin(times / generator.uniform(4, 9, ARM.action_dim) + generator.uniform(0, 6, ARM.action_dim))
            lengths = 32 + 30 * np.repeat(places[:num_frames], 7, axis=1)[:, :48, None]  # (T, 48, 1)
            grey = np.where(np.arange(64) < lengths, 220, 30)
            write_mp4(root / f"clips/{episode}.mp4", np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8))
            rows = places.astype(np.float32)
            np.savez(root / f"actions/{episode}.npz", action=rows[ARM.lag :], state=rows[:num_frames])
            table.writerow((f"clips/{episode}.mp4", f"actions/{episode}.npz"))
    return root
