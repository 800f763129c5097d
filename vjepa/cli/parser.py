"""The parser of all commands: recipes in layers, old names of keys, and one-sentence errors with the nearest name."""

import difflib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from vjepa.data.paths import expanded
from vjepa.interop.recipe import find_recipe, parse_recipe
from vjepa.interop.renamed import renamed_flags, was_part_of_a_loss

# The recipe to suggest where a command lacks one, by a key that only this command has.
RECIPE_BY_KEY = {
    "labels_per_class": "probe/synthetic",
    "replan_every": "plan/two_rooms",
    "frame_interval": "collect/two_rooms",
}


class HelpfulParser(ArgumentParser):
    """jsonargparse's parser without abbreviations and with short errors; exits with code 2 on any."""

    recipe_rooms: Sequence[str] = ()  # folders of `configs` with recipes of this command
    current = Path()  # where the command was started

    def add_recipe_argument(self, rooms: Sequence[str] = ()) -> None:
        """Add `-c`, which may be given several times: a file, or the name of a recipe in these folders of `configs`."""
        self.recipe_rooms = rooms
        self.add_argument("-c", "--config", action=RecipeAction, help="a recipe; later ones and flags win")

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Namespace:  # type: ignore[override]
        """Accepts old names of keys, `~` and variables in paths, and null or None for no value.

        jsonargparse passes a flag to the parser of a class as f"--{key}={value}", which makes "None" of null.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        if self._reports_errors():
            arguments = [_with_whole_path(argument) for argument in renamed_flags(arguments)]
        arguments = [re.sub("(?<=^--)(.+)=None$", r"\1=null", argument) for argument in arguments]
        parsed: Namespace = super().parse_args(arguments, *more, **options)
        return parsed

    def parse_string(self, content: str, path: str | os.PathLike[str] = "", *more: Any, **options: Any) -> Namespace:
        """Read a recipe with its layers; jsonargparse calls this in the recipe's folder."""
        settings = parse_recipe(content, Path(path or "the given recipe"), self.current)
        parsed: Namespace = super().parse_string(yaml.safe_dump(settings, sort_keys=False), path, *more, **options)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self._reports_errors():
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        sys.stderr.write(f"vjepa: error: {explain(message, parser.known_keys())}\n")
        self.exit(2)

    def known_keys(self) -> list[str]:
        """All dotted keys of this parser, without those of parts that are chosen by `class_path`."""
        return [action.dest for action in self._actions if action.dest and action.dest.rpartition(".")[2] != "help"]

    def _reports_errors(self) -> bool:
        return self.exit_on_error  # false for the parser of a single class, whose errors its caller reports

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        return []  # a mistyped `--model.encoder.dept` is not an abbreviation of `depth`


def _with_whole_path(argument: str) -> str:
    flag, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    return f"{flag}{equals}{expanded(value)}"


class RecipeAction(ActionConfigFile):
    """`-c`, which merges mappings of parts by key as layers do; jsonargparse replaces them."""

    def __call__(  # type: ignore[override]
        self, parser: Any, cfg: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        before = cfg.clone()
        parser.current = Path.cwd()
        values = str(find_recipe(values, parser.recipe_rooms) or values)
        super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]
        for key, value in cfg.items():
            if isinstance(value, dict) and isinstance(before.get(key), dict):
                cfg[key] = _over(before[key], value)


def _over(before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        return {**before, **{key: _over(before.get(key), value) for key, value in after.items()}}
    both = isinstance(before, Namespace) and isinstance(after, Namespace)
    if not both or before.get("class_path") != after.get("class_path"):
        return after
    over = before.clone()
    for key, value in vars(after).items():
        over[key] = _over(before.get(key), value)
    return over


def run_by_recipe(
    function: Callable[..., None],
    arguments: list[str],
    prog: str,
    description: str,
    flat: Mapping[str, type] = MappingProxyType({}),
) -> None:
    """Call a function with the values that recipes (`-c`) and flags give to its parameters.

    `flat` maps parameters to dataclasses whose fields are keys of their own: `--checkpoint`, not `--source.checkpoint`.
    A parameter `configuration` receives all values as plain ones.
    """
    parser = HelpfulParser(prog=prog, description=description)
    command = prog.rpartition(" ")[2]
    parser.add_recipe_argument([command if command in ("plan", "collect") else "probe"])
    keys = {name: parser.add_class_arguments(group, instantiate=False) for name, group in flat.items()}
    parser.add_function_arguments(function, skip={"configuration", *flat})
    given = parser.parse_args(arguments)
    parts = parser.instantiate(given).as_dict()
    parts.pop("config", None)
    groups = {name: flat[name](**{key: parts.pop(key) for key in keys[name]}) for name in flat}
    if "configuration" in inspect.signature(function).parameters:
        parts["configuration"] = yaml.safe_load(parser.dump(given, skip_link_targets=False))
    function(**groups, **parts)


def explain(message: str, known_keys: Iterable[str]) -> str:
    """One sentence for a parser's message, which nests as deeply as the configuration."""
    known_keys = list(known_keys)
    unknown = _unknown_key(message)
    if unknown is not None:
        return _explain_unknown(unknown, known_keys)
    required = re.search(r"the following arguments are required: (.+)", message)
    if required:
        return _explain_missing(required[1].split(", "), known_keys)
    keys = re.findall(r'Parser key "([^"]+)"', message)
    if keys and "Not a valid subclass" in message and "Given value: {'class_path'" in message:
        return f"'{'.'.join(keys)}' has keys beside class_path and init_args; put them below init_args"
    lines = [re.sub(r'Parser key "[^"]+": ', "", line.strip(" -")) for line in message.splitlines()]
    reasons = [line for line in lines if _REASON.search(line) and not _OTHER_TYPES.search(line)]
    if not keys or not reasons:
        return " ".join(message.split())
    values = [value for value in re.findall(r"Given value: (.+)", message) if "NestedArg" not in value]
    value = f" (given: {values[0]})" if values and len(values[0]) < 60 else ""
    return f"'{'.'.join(keys)}': {_plain_types(reasons[-1])}{value}"


def keys_of_class(class_path: str) -> list[str]:
    """All dotted keys of a class and its parts."""
    module, _, name = class_path.rpartition(".")
    parser = HelpfulParser(exit_on_error=False)
    parser.add_class_arguments(getattr(importlib.import_module(module), name))
    return parser.known_keys()


_REASON = re.compile("Expected|does not|not (?:accessible|exist)|no attribute|No module|invalid|required|must be")
_OTHER_TYPES = re.compile("NoneType|Union subtypes")
_UNKNOWN = (
    r"Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'",
    r"Subcommand '\w+' does not accept option '(?P<key>[^']+)'",
    r"unrecognized arguments: --(?P<key>[^\s=]+)",
    r"Option '(?P<key>[^']+)' is not accepted",
)


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


def _explain_unknown(unknown: _UnknownKey, known_keys: list[str]) -> str:
    owner, class_path, key = unknown
    if class_path and was_part_of_a_loss(class_path, key):
        return f"unknown key '{owner}{key}'; the loss is described by '{owner}terms' and '{owner}targets' now"
    candidates = [f"{owner}{each}" for each in keys_of_class(class_path)] if class_path else known_keys
    near = _nearest(f"{owner}{key}", candidates)
    hint = f"; did you mean '{near}'?" if near else ""
    return f"unknown key '{owner}{key}'{hint} (`--print_config` shows all keys with their values)"


def _explain_missing(missing: list[str], known_keys: list[str]) -> str:
    names = {key.rpartition(".")[2] for key in known_keys}
    recipe = next((recipe for key, recipe in RECIPE_BY_KEY.items() if key in names), "pretrain/synthetic")
    way_out = f"give a recipe, e.g. `-c configs/{recipe}.yaml`" if "config" in names else "see `--help`"
    listed = ", ".join(f"'{key.rpartition('.')[2]}'" for key in missing)
    return f"missing {listed}; {way_out}"


def _nearest(key: str, candidates: list[str]) -> str | None:
    last = key.rpartition(".")[2]
    for near in difflib.get_close_matches(key, candidates, n=5, cutoff=0.6):
        if difflib.get_close_matches(last, [near.rpartition(".")[2]], cutoff=0.6):  # not the same group alone
            return near
    return next((name for name in candidates if name.rpartition(".")[2] == last), None)  # at the wrong level


def _plain_types(reason: str) -> str:
    reason = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", reason)
    return reason.replace("typing.Literal", "one of ").replace("Expected a ", "expected ").replace(". Got", "; got")
