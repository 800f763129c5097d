"""The settings of a run that differ from the defaults of the code, by their keys."""

import importlib
import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

LONGEST = 160  # characters of a value


def changed_settings(
    settings: Mapping[str, Any],  # of a run's config.yaml
    classes: Mapping[str, type],  # of sections without a class_path, such as `trainer`
    defaults: Mapping[str, Mapping[str, Any]],  # of sections, where they differ from those of their class
) -> dict[str, str]:
    """Values that are not defaults, by dotted key as flags write it."""
    found: dict[str, str] = {}
    for section, value in settings.items():
        if isinstance(value, dict) and "class_path" in value:
            found[section] = _name(value)
            changes = _changes(_class_of(value), value.get("init_args") or {}, {})
        elif isinstance(value, dict) and section in classes:
            changes = _changes(classes[section], value, defaults.get(section, {}))
        else:
            continue
        found |= {f"{section}.{key}": short(each)[:LONGEST] for key, each in changes}
    return found


def short(value: Any) -> str:
    """A value in a few words: `RandomTubes(mask_ratio=0.75)` for an instance."""
    if isinstance(value, dict) and "class_path" in value:
        of_class = _class_of(value)
        arguments = value.get("init_args") or {}
        changes = arguments.items() if of_class is None else _changes(of_class, arguments, {})
        return f"{_name(value)}({', '.join(f'{key}={short(each)}' for key, each in changes)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {short(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(short, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _changes(
    of_class: type | None, values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    parameters = {} if of_class is None else inspect.signature(of_class).parameters
    hints = _hints(of_class)
    known = fields(of_class) if of_class is not None and is_dataclass(of_class) else ()
    factories = {field.name: field.default_factory for field in known if field.default_factory is not MISSING}
    for key, value in values.items():
        default = parameters[key].default if key in parameters else inspect.Parameter.empty
        default = defaults.get(key, factories[key]() if key in factories else default)
        nested = _nested_class(hints.get(key))
        if isinstance(value, dict) and "class_path" not in value and nested is not None:
            of_default = {} if default in (None, inspect.Parameter.empty) else _plain(default)
            yield from ((f"{key}.{name}", each) for name, each in _changes(nested, value, of_default or {}))
        elif isinstance(value, dict) and "class_path" not in value and value:  # parts by name, such as terms
            yield from ((f"{key}.{name}", each) for name, each in value.items() if each is not None)
        elif _plain(default) != _plain(value):
            yield key, value


def _nested_class(hint: Any) -> type | None:
    """The one class of our own that a parameter may be."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    found = [each for each in options if inspect.isclass(each) and each.__module__.startswith("vjepa.")]
    return found[0] if len(found) == 1 else None


def _hints(of_class: type | None) -> dict[str, Any]:
    if of_class is None:
        return {}
    try:
        return get_type_hints(of_class if is_dataclass(of_class) else inspect.getattr_static(of_class, "__init__"))
    except (NameError, TypeError, SyntaxError):  # shapes, in the words of jaxtyping
        return {}


def _class_of(value: Mapping[str, Any]) -> type | None:
    """None for a class that is not there any more."""
    module, _, name = str(value["class_path"]).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if inspect.isclass(found) else None


def _name(value: Mapping[str, Any]) -> str:
    return str(value["class_path"]).rpartition(".")[2]


def _plain(value: Any) -> Any:
    """A value as YAML gives it back."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value
