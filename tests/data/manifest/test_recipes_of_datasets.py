"""The commands of data/*.yaml do what each recipe's example says."""

import csv
import inspect
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from vjepa.cli.main import main
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.data.manifest.manifest import ROOT_VARIABLE, read_manifest

FOLDER = Path(__file__).parents[3] / "data"
RECIPES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))}
KEYS = ["name", "paper", "source", "licence", "classes", "videos", "hours", "files"]
KEYS += ["manifests", "training", "notes", "example"]

every_recipe = pytest.mark.parametrize("name", RECIPES)


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder $VJEPA_DATA, empty; commands are typed in the folder above it."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv(ROOT_VARIABLE, str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def vjepa_lines(command: str) -> Iterator[list[str]]:
    """The words of each `vjepa` line, without `vjepa` itself."""
    for line in command.strip().splitlines():
        words = shlex.split(os.path.expandvars(line))
        if words[0] == "vjepa":
            yield words[1:]


def manifest_words(command: str) -> list[str]:
    words = next(vjepa_lines(command))
    assert words[0] == "manifest"
    return words


def option(words: list[str], name: str) -> str:
    """The value of `--name=value` among words."""
    return next(word.partition("=")[2] for word in words if word.startswith(f"--{name}="))


def run(command: str, *more: str) -> None:
    """Its lines one by one, except for `vjepa transcode`."""
    for line in command.strip().splitlines():
        words = shlex.split(os.path.expandvars(line))
        if words[:2] == ["vjepa", "manifest"]:
            main([*words[1:], *more])
        elif words[0] != "vjepa":
            subprocess.run(["bash", "-euc", line], check=True)


def rows_of(manifest: str | Path) -> list[dict[str, str]]:
    with open(manifest, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def put_file(path: Path, video: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".JPEG":
        Image.new("RGB", (40, 30)).save(path)
    elif path.suffix:
        shutil.copy(video, path)
    else:
        path.mkdir()
        for number in range(1, 4):
            Image.new("RGB", (40, 30), (80 * number, 0, 0)).save(path / f"{number:05d}.jpg")


def put_example(datasets: Path, example: dict, root: Path, video: Path) -> None:
    if example["annotation_file"] is not None:
        annotations = datasets / example["annotation_file"]
        annotations.parent.mkdir(parents=True, exist_ok=True)
        annotations.write_text(example["annotation"], encoding="utf-8")
    for row in example["expect"]:
        if not (root / row["path"]).exists():
            put_file(root / row["path"], video)


def test_the_index_names_every_recipe():
    assert len(RECIPES) >= 13
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in RECIPES if f"`{name}.yaml`" not in index] == []


@every_recipe
def test_a_recipe_says_all_there_is_to_say(name):
    recipe = RECIPES[name]
    assert list(recipe) == KEYS
    assert set(recipe["videos"]) == {"train", "val", "test"} and isinstance(recipe["hours"], int | None)
    assert set(recipe["example"]) == {"annotation_file", "annotation", "expect"}
    for key in ("name", "paper", "source", "licence", "files", "training", "notes"):
        assert isinstance(recipe[key], str) and recipe[key].strip(), key
    assert "\n" not in recipe["licence"]
    for manifest in recipe["manifests"]:
        assert set(manifest) == {"split", "command"}


@every_recipe
def test_the_example_comes_out_as_expected(name, datasets, tiny_world):
    recipe = RECIPES[name]
    command, expected = recipe["manifests"][0]["command"], recipe["example"]["expect"]
    words = manifest_words(command)
    root, output = Path(option(words, "root")), option(words, "output")
    put_example(datasets, recipe["example"], root, tiny_world / "videos" / "train" / "00000.mp4")
    run(command, "--num_workers=1")

    rows = rows_of(output)
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert {column: row[column] for column in ("path", "label", "split") if column in row} == {
            column: str(wanted[column]) for column in ("path", "label", "split") if column in wanted
        }
        assert {column: float(row[column]) for column in ("start", "end") if column in row} == {
            column: wanted[column] for column in ("start", "end") if column in wanted
        }
        assert "--scan=false" in words or int(row["frames"]) >= 1
    assert not list(Path("data").glob("*.unreadable.csv"))
    assert all(Path(path).exists() for path in read_manifest(output, root).paths)  # what training will open


@every_recipe
def test_the_commands_for_other_splits_differ_in_nothing_else(name, datasets, tiny_world):
    example, manifests = RECIPES[name]["example"], RECIPES[name]["manifests"]
    for manifest in manifests[1:]:
        words = manifest_words(manifest["command"])
        source = Path(words[1])
        if example["annotation_file"] is None:
            for row in example["expect"]:
                put_file(source / Path(row["path"]).relative_to("train"), tiny_world / "videos/train/00000.mp4")
        else:
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(example["annotation"], encoding="utf-8")
        run(manifest["command"], "--scan=false")
        rows = rows_of(option(words, "output"))
        assert [Path(row["path"]).name for row in rows] == [Path(row["path"]).name for row in example["expect"]]
        assert [row["label"] for row in rows] == [str(row["label"]) for row in example["expect"]]
    outputs = [option(manifest_words(manifest["command"]), "output") for manifest in manifests]
    assert len(set(outputs)) == len(outputs)


@every_recipe
def test_training_reads_what_the_commands_write_by_flags_that_exist(name):
    flags = dict(flag.removeprefix("--data.").split("=", 1) for flag in RECIPES[name]["training"].split())
    assert set(flags) <= set(inspect.signature(ClipDataModule.__init__).parameters)
    assert len({"fps", "frame_step", "duration"} & set(flags)) == 1
    written = set()
    for manifest in RECIPES[name]["manifests"]:
        for words in vjepa_lines(manifest["command"]):
            output = option(words, "output")
            written.add(f"{output}/manifest.csv" if words[0] == "transcode" else output)
    for key in ("train_manifest", "val_manifest"):
        assert key not in flags or os.path.expandvars(flags[key]) in written


def test_numbered_pictures_become_the_videos_that_training_reads(datasets):
    recipe = RECIPES["jester"]
    command = recipe["manifests"][0]["command"]
    listing, copying = vjepa_lines(command)
    put_example(datasets, recipe["example"], Path(option(listing, "root")), Path())
    main(listing)
    main([*copying, "--num_workers=1"])
    rows = rows_of(datasets / "jester" / "train" / "manifest.csv")
    assert [(row["path"], row["label"], row["frames"], float(row["fps"])) for row in rows] == [
        (f"{wanted['path']}.mp4", wanted["label"], "3", 12.0) for wanted in recipe["example"]["expect"]
    ]
