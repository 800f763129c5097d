"""configs/README.md lists what the headers of the recipes say, and `make` finds the data that a recipe needs."""

import importlib
import inspect
import re
import runpy
import shutil
import subprocess
import typing
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Trainer

from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.evaluation.anticipation_command import anticipate
from vjepa.cli.evaluation.finetune_command import finetune
from vjepa.cli.evaluation.label_efficiency_command import label_efficiency
from vjepa.cli.evaluation.probe_command import probe
from vjepa.cli.evaluation.segment_command import segment
from vjepa.cli.evaluation.surprise_command import surprise
from vjepa.cli.simulation.collect_command import collect_episodes
from vjepa.cli.simulation.plan_command import plan
from vjepa.cli.training import RUN_CALLBACKS
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.manifest.doctor import examine
from vjepa.data.manifest.transcode import transcode
from vjepa.data.manifest.writing import write_manifest
from vjepa.evaluation.dense.dense_evaluation import DenseSettings
from vjepa.interop.recipe import read_recipe

ROOT = Path(__file__).parents[2]
FLAG = re.compile(r"(?<!\S)--([a-z][a-z_.]*[a-z])(?=[=\s.,;:)`\"']|$)")
FIT = {"trainer": Trainer, **dict(RUN_CALLBACKS)} | dict.fromkeys(("runs", "name", "ckpt_path", "model", "data"))
FUNCTIONS = {
    "labels": label_efficiency,
    "probe": probe,
    "finetune": finetune,
    "plan": plan,
    "collect": collect_episodes,
    "anticipate": anticipate,
    "surprise": surprise,
    "segment": segment,
}
LISTING = {*inspect.signature(write_manifest).parameters} | {*inspect.signature(transcode).parameters}
LISTING |= {*inspect.signature(examine).parameters}


def takes(kind: typing.Any, value: typing.Any, path: list[str]) -> bool:
    """Whether a part of this class, which a recipe may replace by `class_path`, has a parameter at the path."""
    if not path:
        return True
    if isinstance(value, dict) and "class_path" in value:
        module, _, name = value["class_path"].rpartition(".")
        kind, value = getattr(importlib.import_module(module), name), value.get("init_args", {})
    inner = value.get(path[0], {}) if isinstance(value, dict) else {}
    if not callable(kind) or kind is dict:
        return bool(inner) and takes(None, inner, path[1:])
    if path[0] not in inspect.signature(kind).parameters:
        return False
    hint = typing.get_type_hints(kind.__init__ if inspect.isclass(kind) else kind).get(path[0])
    options: list[typing.Any] = [each for each in (hint, *typing.get_args(hint)) if inspect.isclass(each)]
    return any(takes(option, inner, path[1:]) for option in options or [None])


@pytest.mark.parametrize(
    "recipe", sorted(ROOT.glob("configs/*/*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_flags_that_a_header_names_exist(recipe: Path):
    text = "".join(line for line in recipe.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    room, settings = recipe.parent.name, read_recipe(recipe)
    command = "anticipate" if "vjepa anticipate" in text else room
    for flag in FLAG.findall(text):
        first, *rest = flag.split(".")
        if command in FUNCTIONS:
            whole = takes(FUNCTIONS[command], settings, flag.split(".")) or any(
                takes(part, {}, [first]) for part in (CheckpointArguments, DenseSettings)
            )
        else:
            whole = first in FIT and takes(FIT[first], settings.get(first, {}), rest)
        assert whole or (first in LISTING and "vjepa manifest" in text) or first == "nodes", flag  # srun's


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("data/*.yaml")), ids=lambda path: path.stem)
def test_flags_that_a_dataset_s_notes_name_exist(recipe: Path):
    content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    notes = str({key: value for key, value in content.items() if key not in ("example", "training")})
    for sentence in re.split(r"(?<=\.) ", notes):
        of_data = {*inspect.signature(LabelledClips).parameters}
        if "probe" not in sentence:
            of_data |= {*inspect.signature(ClipDataModule).parameters}
        for flag in FLAG.findall(sentence):
            first, _, rest = flag.partition(".")
            assert rest in of_data if first == "data" else first in LISTING, flag


def test_the_list_of_recipes_is_made_from_their_headers():
    script = runpy.run_path(str(ROOT / "scripts" / "list_recipes.py"))
    assert script["README"].read_text(encoding="utf-8") == script["index"](), "run `make recipes`"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("recipe", "rendered"),
    [
        ("pretrain/synthetic", [""]),
        ("pretrain/synthetic_sigreg", [""]),
        ("pretrain/synthetic_hard", [" --difficulty=hard"]),
        ("probe/synthetic_hard", [" --difficulty=hard"]),
        ("pretrain/physics", [" --world=physics"]),
        ("pretrain/small_videos", []),
        ("pretrain/vjepa2_vith16_256px_64f_cooldown", []),
    ],
)
def test_make_renders_the_embedded_dataset_for_recipes_on_it_and_their_layers(
    recipe: str, rendered: list[str], tmp_path: Path
):
    """`--always-make`: whatever has been rendered before."""
    command = ["make", "--dry-run", "--always-make", "pretrain", f"CONFIG=configs/{recipe}.yaml", f"VENV={tmp_path}"]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"vjepa make-data(.*)", planned) == rendered
