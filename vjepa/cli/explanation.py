"""One sentence for an error of the parser, whose messages nest as deeply as the configuration."""

import difflib
import importlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser

from vjepa.interop.recipe import find_recipe, merged, read_recipe
from vjepa.interop.renamed import was_part_of_a_loss

# The recipe to suggest where a command lacks one, by a key that only this command has.
RECIPE_BY_KEY = {
    "labels_per_class": "probe/synthetic",
    "replan_every": "plan/two_rooms",
    "frame_interval": "collect/two_rooms",
    "labelled_frames": "segment/synthetic",
}
# What other tools call our keys.
COMMON_NAMES = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "ema": "momentum",
    "batch_size": "global_batch_size",
    "epochs": "max_epochs",
    "steps": "max_steps",
    "workers": "num_workers",
    "gpus": "devices",
    "resume": "ckpt_path",
    "image_size": "crop_size",
    "resolution": "crop_size",
    "frames": "num_frames",
}
_REASON = re.compile(
    "Expected|does not|not (?:accessible|exist)|no attribute|No module|invalid|required|must be|not a f"
)
_OTHER_TYPES = re.compile("NoneType|Union subtypes")
_UNKNOWN = (
    r"Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'",
    r"Subcommand '\w+' does not accept option '(?P<key>[^']+)'",
    r"unrecognized arguments: --(?P<key>[^\s=]+)",
    r"Option '(?P<key>[^']+)' is not accepted",
)


def explain(message: str, known_keys: list[str], arguments: Sequence[str], rooms: Sequence[str]) -> str:
    """A sentence with the key, the value, and the nearest known key or the form that was expected.

    Args:
        message: of the parser.
        known_keys: of the command.
        arguments: those that were parsed; the recipes among them tell the classes of parts.
        rooms: folders of `configs` where names of recipes are looked up.
    """
    unknown = _unknown_key(message)
    if unknown is not None:
        return _explain_unknown(unknown, known_keys, arguments, _settings(arguments, rooms))
    required = re.search(r"the following arguments are required: (.+)", message)
    if required:
        return _explain_missing(required[1].split(", "), known_keys, bool(_settings(arguments, rooms)))
    keys = re.findall(r'Parser key "([^"]+)"', message)
    if keys and "Not a valid subclass" in message and "Given value: {'class_path'" in message:
        return f"'{'.'.join(keys)}' has keys beside class_path and init_args; put them below init_args"
    group = re.search(r"class_path '([^']+)':\s+Parser key \"(\w+)\":\s+Unable to load config '(.*?)'", message)
    if group:
        key, prefix = f"{keys[0]}.{group[2]}", f"{group[2]}."
        below = [each.removeprefix(prefix) for each in keys_of_class(group[1]) if each.startswith(prefix)]
        return f"'{key}' has keys of its own ({_listed(below)}); give one of them, e.g. --{key}.{below[0]}={group[3]}"
    lines = [re.sub(r'Parser key "[^"]+": ', "", line.strip(" -")) for line in message.splitlines()]
    reasons = [line for line in lines if _REASON.search(line) and not _OTHER_TYPES.search(line)]
    if not keys or not reasons:
        return " ".join(message.split())
    values = [value for value in re.findall(r"Given value: (.+)", message) if "NestedArg" not in value]
    value = f" (given: {values[0]})" if values and len(values[0]) < 60 else ""
    return f"'{'.'.join(dict.fromkeys(keys))}': {_plain_types(reasons[-1])}{value}"


def keys_of_class(class_path: str) -> list[str]:
    """All dotted keys of a class and its parts."""
    module, _, name = class_path.rpartition(".")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(getattr(importlib.import_module(module), name))
    return keys_of_parser(parser)


def keys_of_parser(parser: ArgumentParser) -> list[str]:
    """All dotted keys of a parser, without those of parts that are chosen by `class_path`."""
    return [action.dest for action in parser._actions if action.dest and action.dest.rpartition(".")[2] != "help"]


class _UnknownKey(NamedTuple):
    owner: str  # dotted key of the class that refused the key, with a dot at its end
    class_path: str | None
    key: str


def _unknown_key(message: str) -> _UnknownKey | None:
    """The key that a message refuses, or None where the message has another subject."""
    found = next((match for pattern in _UNKNOWN if (match := re.search(pattern, message))), None)
    if found is None:
        return None
    groups = found.groupdict()
    key = f"{groups['group']}.{groups['key']}" if groups.get("group") else groups["key"]
    classes = re.findall(r"Problem with given class_path '([^']+)'", message)
    if not classes or "Subcommand" in found[0]:
        return _UnknownKey("", None, key)
    owners = re.findall(r'Parser key "([^"]+)"', message)
    return _UnknownKey("".join(f"{owner}." for owner in owners), classes[-1], key)


def _explain_unknown(
    unknown: _UnknownKey, known_keys: list[str], arguments: Sequence[str], settings: dict[str, Any]
) -> str:
    owner, class_path, key = unknown
    if class_path and was_part_of_a_loss(class_path, key):
        return f"unknown key '{owner}{key}'; the loss is described by '{owner}terms' and '{owner}targets' now"
    if class_path and class_path.startswith("lightning.") and not settings:
        return f"'{owner}{key}' changes a recipe, and none is given; {_give_a_recipe(known_keys)}"
    # The message leaves out the name of an entry of a mapping: "model.terms.weight" for "model.terms.agreement.weight".
    in_recipes = list(_dotted(settings))
    given = [*re.findall(r"^--([\w.]+)", "\n".join(arguments), re.MULTILINE), *in_recipes]
    inside = [name for name in given if owner and name.startswith(owner) and name.endswith(f".{key}")]
    whole = inside[0] if inside else f"{owner}{key}"
    own_keys = keys_of_class(class_path) if class_path else []
    candidates = [*known_keys, *in_recipes, *_keys_of_parts(settings)]
    candidates += [f"{whole.removesuffix(key)}{each}" for each in own_keys]
    near = _nearest(whole, [each for each in candidates if each != whole])
    hint = f"; did you mean '{near}'?" if near else f"; its keys are {_listed(own_keys)}" if own_keys else ""
    return f"unknown key '{whole}'{hint} (`--print_config` shows all keys with their values)"


def _explain_missing(missing: list[str], known_keys: list[str], has_recipe: bool) -> str:
    if has_recipe:
        return f"missing {', '.join(map(repr, missing))}, which this recipe leaves to you; give --{missing[0]}=..."
    way_out = _give_a_recipe(known_keys) if "config" in known_keys else "see `--help`"
    listed = ", ".join(f"'{key.rpartition('.')[2]}'" for key in missing)
    return f"missing {listed}; {way_out}"


def _give_a_recipe(known_keys: list[str]) -> str:
    recipe = next((recipe for key, recipe in RECIPE_BY_KEY.items() if key in known_keys), "pretrain/synthetic")
    return f"give a recipe, e.g. `-c configs/{recipe}.yaml`"


def _settings(arguments: Sequence[str], rooms: Sequence[str]) -> dict[str, Any]:
    """Settings of the recipes that arguments name; those that can't be read have an error of their own."""
    recipes = re.findall(r"^(?:-c|--config)[=\n](.+)", "\n".join(arguments), re.MULTILINE)
    settings: dict[str, Any] = {}
    for recipe in recipes:
        try:
            settings = merged(settings, read_recipe(find_recipe(recipe, rooms) or Path(recipe)))
        except (ValueError, OSError):
            continue
    return settings


def _dotted(settings: Any, owner: str = "") -> Iterator[str]:
    """Keys of settings as flags write them, without class_path and init_args."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key == "init_args":
            yield from _dotted(value, owner)
        elif key != "class_path":
            yield f"{owner}{key}"
            yield from _dotted(value, f"{owner}{key}.")


def _keys_of_parts(settings: dict[str, Any]) -> Iterator[str]:
    for name, part in settings.items():
        if isinstance(part, dict) and "class_path" in part:
            try:
                yield from (f"{name}.{key}" for key in keys_of_class(part["class_path"]))
            except (ImportError, AttributeError):
                continue


def _listed(keys: list[str]) -> str:
    names = list(dict.fromkeys(key.split(".")[0] for key in keys))
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _nearest(key: str, candidates: Iterable[str]) -> str | None:
    """The known key that a user meant: one part spelt another way, or the same name at another level."""
    known = {".".join(each.split(".")[: end + 1]) for each in candidates for end in range(each.count(".") + 1)}
    *path, last = key.split(".")
    last = COMMON_NAMES.get(last, last)
    near = ""
    for part in (*path, last):
        siblings = [each.removeprefix(near) for each in known if each.startswith(near) and "." not in each[len(near) :]]
        matches = difflib.get_close_matches(part, siblings, n=1, cutoff=0.6)
        if not matches:
            if near and not key.startswith(near):
                return near.rstrip(".")  # an earlier part was mistyped
            break
        near += f"{matches[0]}."
    else:
        return near.rstrip(".")
    order = ("model", "data", "trainer")
    elsewhere = [each for each in known if each.rpartition(".")[2] == last]
    return min(
        elsewhere,
        key=lambda each: (order.index(top) if (top := each.split(".")[0]) in order else 3, each.count("."), each),
        default=None,
    )


def _plain_types(reason: str) -> str:
    reason = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", reason)
    reason = re.sub(
        r"Expected a (?:tuple|list)\. Got value: (\S+)", r"expected values in brackets, e.g. [\1,\1]; got \1", reason
    )
    return reason.replace("typing.Literal", "one of ").replace("Expected a ", "expected ").replace(". Got", "; got")
