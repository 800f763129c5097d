"""Reads recipes: settings as YAML, in layers.

A recipe may start from another one and give only what differs::

    base: synthetic.yaml                     # a path relative to this file
    trainer.max_steps: 6000                  # a dotted key stands for nested ones
    model.init_args.context_prediction: null # null, or None, removes an optional part
    data.init_args.root: $SCRATCH/videos     # `~` and variables of the environment are filled in

Mappings are merged key by key; lists and values are replaced. A mapping whose `class_path` differs from the base's is
replaced as a whole, since other classes take other `init_args`.
"""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from vjepa.data.paths import expanded
from vjepa.interop.renamed import note, renamed

RECIPES = Path("configs/pretrain")


def read_recipe(file: Path) -> dict[str, Any]:
    """The whole settings of a recipe or of a run's `config.yaml`, with today's names and without dotted keys.

    Raises ValueError where the file or a base is missing, is not YAML or not a recipe, and where bases form a cycle.
    """
    return _read(file, ())


def parse_recipe(text: str, file: Path) -> dict[str, Any]:
    """The same for the text of a recipe; its base is looked up beside `file`."""
    return _whole(parse_yaml(text, file), file, ())


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


def find_recipe(name: str) -> Path | None:
    """The recipe of this name in the repository's `configs/pretrain`, or None."""
    if "/" in name or name.startswith("."):
        return None
    folders = (RECIPES, Path(__file__).parents[2] / RECIPES)
    return next((folder / f"{name}.yaml" for folder in folders if (folder / f"{name}.yaml").is_file()), None)


def _read(file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"there is no recipe {file}")
    return _whole(read_yaml(file), file, above)


def _whole(content: Any, file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """A file's content over that of its base; `above` are the files that start from this one."""
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a recipe: it has no keys such as model, data or trainer")
    settings: dict[str, Any]
    settings, notes = renamed(_nested(content))
    for line in notes:
        note(f"{file.name}: {line}")
    if "base" not in settings:
        return settings
    name, chain = settings.pop("base"), (*above, file.resolve())
    if not isinstance(name, str):
        raise ValueError(f"base ({name}) in {file} must be the path of one recipe beside it, e.g. synthetic.yaml")
    base = file.parent / name
    if base.resolve() in chain:
        raise ValueError(f"base ({name}) in {file} leads back to {base.name}; a recipe can't start from itself")
    if not base.is_file():
        raise ValueError(f"base ({name}) in {file} must be a recipe beside it; there is no {base.resolve()}")
    whole: dict[str, Any] = merged(_read(base, chain), settings)
    return whole


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
