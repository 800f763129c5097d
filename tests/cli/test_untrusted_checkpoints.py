"""A checkpoint that would run code is refused by every command that takes one; the commands are found by themselves."""

import os
import re
from pathlib import Path

import pytest
import torch
import yaml

import vjepa
from tests.conftest import RECIPE
from tests.tiny_kitchens import write_kitchens
from tests.tiny_pairs import write_pairs
from vjepa.cli.main import COMMANDS, main
from vjepa.cli.parser import HelpfulParser

# What else a command needs before it reads a checkpoint.
NEEDED = {
    **dict.fromkeys(("fit", "validate", "test", "predict", "plan-run"), "-c RECIPE"),
    **dict.fromkeys(("probe", "finetune"), "-c synthetic DATA --data.val_manifest=CLIPS/val.csv"),
    "segment": "-c synthetic DATA --num_frames=4 --frame_step=1",
    "show": "-c RECIPE --output=OUTPUT/show.png",
    "plan": "-c two_rooms",
    "anticipate": "--data.train_manifest=ACTIONS --data.train_split=train --data.test_split=test",
    "surprise": "--data.test_manifest=PAIRS --data.frame_step=1",
    "embed": "CLIPS/train.csv --output=OUTPUT",
    "convert": "OUTPUT --to=native",
    "replay": "",
}
MORE = {"--image_weights": ["--checkpoint=synthetic"], "--others": ["--checkpoint=synthetic"]}  # what a flag needs
WITHOUT_FLAG = {"convert": "source", "replay": "step"}
NOT_READ = ("show", "plan-run")  # they take the flags of fit


class Code:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def ways_to_give_weights(command: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags of a command that take a file of weights; "" for a path without a flag."""
    parsers: list[HelpfulParser] = []
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(HelpfulParser, "print_help", lambda parser, file=None: parsers.append(parser))
        main([command, "--help"])
    (parser,) = parsers
    keys = [action.dest for action in parser._actions]
    flags = [
        action.option_strings[0] if action.option_strings else ""
        for action in parser._actions
        if re.search(r"checkpoint$|ckpt|weights$|^others$|teacher", action.dest)
        or action.dest == WITHOUT_FLAG.get(command)
        if not any(key.startswith(f"{action.dest}.") for key in keys)  # a group of flags
    ]
    return [*flags, "--model.initial_weights"] if command == "fit" else flags


@pytest.fixture
def spoilt_run(tmp_path: Path) -> Path:
    """A run's folder with files of weights that make the folder "ran" where their code is run."""
    run = tmp_path / "run" / "version_0"
    for name in ("checkpoints/last.ckpt", "skipped/step_3/rank_0.pt", "skipped/step_3/weights.pt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save({"state_dict": Code(tmp_path / "ran"), "global_step": 3}, run / name)
    (run / "config.yaml").write_text(yaml.safe_dump(RECIPE))
    return run


@pytest.fixture(scope="module")
def places(tiny_world, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("places")
    actions, pairs = (
        write_kitchens(folder / "kitchens"),
        write_pairs(tmp_path_factory.mktemp("pairs"), pairs=1, num_frames=4),
    )
    data = f"--data.train_manifest={tiny_world}/train.csv --data.test_manifest={tiny_world}/test.csv"
    found = {"DATA": data, "CLIPS": tiny_world, "ACTIONS": actions, "PAIRS": pairs, "OUTPUT": folder / "out"}
    return {name: str(place) for name, place in found.items()}


def test_the_files_would_run_code(spoilt_run, tmp_path):
    torch.load(spoilt_run / "checkpoints" / "last.ckpt", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_weights_with_code_are_refused(command, spoilt_run, tiny_recipe, places, tmp_path, capsys, monkeypatch):
    ways = ways_to_give_weights(command, monkeypatch)
    assert bool(ways) == (command in NEEDED), f"add to this test what vjepa {command} needs"
    needed = NEEDED.get(command, "")
    for name, place in (places | {"RECIPE": str(tiny_recipe)}).items():
        needed = needed.replace(name, place)
    file = spoilt_run / ("skipped/step_3" if command == "replay" else "checkpoints/last.ckpt")
    for way in ways:
        path = f"[{file}]" if way == "--others" else str(file)
        given = [*needed.split(), f"{way}={path}", *MORE.get(way, [])] if way else [path, *needed.split()]
        try:
            main([command, *given])
            code = 0
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr().err
        refused = code == 2 and "holds more than tensors and plain values, so it was not loaded" in said
        assert refused or command in NOT_READ, (way, said)
        assert not (tmp_path / "ran").exists(), way


def test_one_function_reads_pickles():
    sources = {file: file.read_text(encoding="utf-8") for file in Path(vjepa.__file__).parent.rglob("*.py")}
    assert [file.name for file, text in sources.items() if "torch.load(" in text] == ["loading.py"]
    forbidden = re.compile(r"allow_pickle=True|\bpickle\.loads?\(|\.load_from_checkpoint\(")
    assert [file.name for file, text in sources.items() if forbidden.search(text)] == []
