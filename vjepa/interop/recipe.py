"""Reads recipes: settings as YAML, in layers.

A recipe may start from another one and give only what differs::

    base: synthetic.yaml                     # a path relative to this file
    trainer.max_steps: 6000                  # a dotted key stands for nested ones
    model.init_args.context_prediction: null # null, or None, removes an optional part
    data.init_args.root: $SCRATCH/videos     # `~` and variables of the environment are filled in

Mappings are merged key by key; lists and values are replaced. A mapping whose `class_path` differs from the base's is
replaced as a whole, since other classes take other `init_args`.

A relative path of a file to read is looked up from the current folder, then from the recipe's folder and the three
above it: recipes of a checkout, and the settings that a run saves below its project, work from anywhere. Installed
recipes lie in the package (`HOME`).
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from vjepa.data.paths import expanded
from vjepa.interop.renamed import note, renamed

RECIPES = Path("configs")
PACKAGE = Path(__file__).parents[1]
HOME = PACKAGE if (PACKAGE / RECIPES).is_dir() else PACKAGE.parent  # a wheel carries the recipes; else a checkout does
MANIFESTS = ("train_manifest", "val_manifest", "test_manifest", "manifest")
INPUTS = {*MANIFESTS, "root", "bands", "initial_weights", "source", "checkpoint", "settings", "image_weights"}
FOLDERS_ABOVE = 3  # from RUNS/NAME/VERSION to the project


def read_recipe(file: Path) -> dict[str, Any]:
    """The whole settings of a recipe or of a run's `config.yaml`, with today's names and without dotted keys.

    Raises ValueError where the file or a base is missing, is not YAML or not a recipe, and where bases form a cycle.
    """
    return _read(file, (), Path.cwd())


def parse_recipe(text: str, file: Path, current: Path) -> dict[str, Any]:
    """The same for the text of a recipe; its base is looked up beside `file`, other files from `current` first."""
    return _whole(parse_yaml(text, file), file, (), current)


def merged(base: Any, layer: Any) -> Any:
    """A base's settings with those of a layer over them."""
    if not isinstance(base, dict) or not isinstance(layer, dict):
        return layer
    if "class_path" in layer and layer["class_path"] != base.get("class_path"):
        return layer
    return {**base, **{key: merged(base[key], value) if key in base else value for key, value in layer.items()}}


def read_yaml(file: Path) -> Any:
    """Raises ValueError where there is no such file, or it is not YAML."""
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    try:
        return parse_yaml(file.read_text(encoding="utf-8"), file)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text, so it is not YAML") from None


def parse_yaml(text: str, file: Path) -> Any:
    """YAML as the command line reads it, where 1e-4 is a number."""
    try:
        return get_loader("yaml")(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"{file} is not YAML{where}: {getattr(error, 'problem', None) or 'unreadable'}") from None


def find_recipe(name: str, rooms: Sequence[str] = ("pretrain",)) -> Path | None:
    """A recipe by its path, from here or from `HOME`, or by its name in rooms of `configs`; None without any."""
    names = [Path(name), HOME / name]
    if "/" not in name and not name.startswith("."):
        names += [folder / RECIPES / room / f"{name}.yaml" for folder in (Path(), HOME) for room in rooms]
    return next((file for file in names if os.path.isfile(file)), None)


def all_recipes() -> list[Path]:
    """The recipes of `HOME`, by room and name."""
    return sorted((HOME / RECIPES).glob("*/*.yaml"))


def no_such_recipe(name: str, rooms: Sequence[str]) -> str:
    """A sentence with the recipe that a user meant: one of another command, or the nearest name."""
    recipes, stem = all_recipes(), Path(name).stem
    known = [file.stem for file in recipes if file.parent.name in rooms]
    elsewhere = [f"configs/{file.parent.name}" for file in recipes if file.stem == stem and stem not in known]
    near = difflib.get_close_matches(stem, known, n=1, cutoff=0.5)
    hint = f"it is one of {elsewhere[0]}, for another command" if elsewhere else ""
    hint = hint or (f"did you mean '{near[0]}'?" if near else "give the path of a YAML file, or a name")
    return f"there is no recipe {name}; {hint} (`vjepa recipes` lists them)"


def located(path: str, recipe: Path, current: Path) -> str:
    """A path in a recipe: itself where it is absolute, remote, in the current folder, or nowhere."""
    folder = recipe.resolve().parent
    places = [folder, *list(folder.parents)[:FOLDERS_ABOVE]]
    if "://" in path or not path or os.path.exists(current / path):
        return path
    return next((str(place / path) for place in places if os.path.exists(place / path)), path)


def _read(file: Path, above: tuple[Path, ...], current: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"there is no recipe {file}")
    return _whole(read_yaml(file), file, above, current)


def _whole(content: Any, file: Path, above: tuple[Path, ...], current: Path) -> dict[str, Any]:
    """A file's content over that of its base; `above` are the files that start from this one."""
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a recipe: it has no keys such as model, data or trainer")
    settings: dict[str, Any]
    settings, notes = renamed(_nested(content))
    for line in notes:
        note(f"{file.name}: {line}")
    settings = _with_located_files(settings, "", file, current)
    if "base" not in settings:
        return settings
    name, chain = settings.pop("base"), (*above, file.resolve())
    if not isinstance(name, str):
        raise ValueError(f"base ({name}) in {file} must be the path of one recipe beside it, e.g. synthetic.yaml")
    base = file.parent / name
    if not base.is_file():
        base = Path(located(name, file, current))
    if base.resolve() in chain:
        raise ValueError(f"base ({name}) in {file} leads back to {base.name}; a recipe can't start from itself")
    if not base.is_file():
        raise ValueError(
            f"base ({name}) in {file} must be a recipe beside it; there is no {file.resolve().parent / name}"
        )
    whole: dict[str, Any] = merged(_read(base, chain, current), settings)
    return whole


def _with_located_files(content: Any, key: str, file: Path, current: Path) -> Any:
    if isinstance(content, dict):
        return {name: _with_located_files(value, name, file, current) for name, value in content.items()}
    if isinstance(content, list):
        return [_with_located_files(each, key, file, current) for each in content]
    return located(content, file, current) if key in INPUTS and isinstance(content, str) else content


def _nested(content: Any) -> Any:
    """Settings with dotted keys as nested ones, later ones over earlier ones, and whole paths in place of `~/`."""
    if isinstance(content, list):
        return [_nested(each) for each in content]
    if isinstance(content, str):
        return None if content == "None" else expanded(content)
    if not isinstance(content, dict):
        return content
    nested: dict[Any, Any] = {}
    for key, value in content.items():
        *path, last = key.split(".") if isinstance(key, str) else [key]
        branch = {last: _nested(value)}
        for name in reversed(path):
            branch = {name: branch}
        nested = merged(nested, branch)
    return nested
