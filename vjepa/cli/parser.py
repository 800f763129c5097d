"""A command-line parser that refuses what it does not know, by name, in one sentence, with the nearest right name."""

import difflib
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

# What a command that misses a recipe is told, by a key that only it has.
RECIPE_BY_KEY = {
    "labels_per_class": "probe/synthetic",
    "replan_every": "plan/two_rooms",
    "frame_interval": "collect/two_rooms",
}


class HelpfulParser(LightningArgumentParser):
    """Lightning's parser without abbreviations and with short errors; exits with code 2 on any."""

    def _get_option_tuples(self, option_string: str) -> list:
        return []  # a mistyped `--model.encoder.dept` must not pass for an abbreviation of `depth`

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a part's own parser: the whole command's parser reports it
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        sys.stderr.write(f"vjepa: error: {explain(message, parser.known_keys())}\n")
        self.exit(2)

    def known_keys(self) -> list[str]:
        """All dotted keys of this parser, without what belongs to a part that is chosen by class."""
        return [action.dest for action in self._actions if action.dest]


def run_by_recipe(
    function: Callable[..., None],
    arguments: list[str],
    prog: str,
    description: str,
    flat: Mapping[str, type] = MappingProxyType({}),
) -> None:
    """Call a function with what recipes (`-c`) and flags say of its parameters.

    `flat` maps parameters to dataclasses whose fields are keys of their own: `--checkpoint`, not `--source.checkpoint`.
    """
    parser = HelpfulParser(prog=prog, description=description)
    parser.add_argument("-c", "--config", action="config", help="a recipe; later ones and flags win")
    keys = {name: parser.add_class_arguments(group, instantiate=False) for name, group in flat.items()}
    parser.add_function_arguments(function, skip=set(flat))
    given = parser.instantiate_classes(parser.parse_args(arguments))
    given.pop("config", None)
    parts = given.as_dict()
    groups = {name: flat[name](**{key: parts.pop(key) for key in keys[name]}) for name in flat}
    function(**groups, **parts)


def explain(message: str, known_keys: Iterable[str]) -> str:
    """One sentence for a parser's message, which may nest as deep as the configuration does."""
    unknown = _unknown_key(message)
    if unknown is not None:
        owner, class_path, key = unknown
        candidates = [f"{owner}{name}" for name in keys_of_class(class_path)] if class_path else list(known_keys)
        near = _nearest(f"{owner}{key}", candidates)
        hint = f"; did you mean '{near}'?" if near else ""
        return f"unknown key '{owner}{key}'{hint} (`--print_config` shows all keys with their values)"
    required = re.search(r"the following arguments are required: (.+)", message)
    if required:
        missing = ", ".join(f"'{key.rpartition('.')[2]}'" for key in required[1].split(", "))
        takes_recipes = any(key.rpartition(".")[2] == "config" for key in known_keys)
        names = {key.rpartition(".")[2] for key in known_keys}
        recipe = next((recipe for key, recipe in RECIPE_BY_KEY.items() if key in names), "pretrain/synthetic")
        way_out = f"give a recipe, e.g. `-c configs/{recipe}.yaml`" if takes_recipes else "see `--help`"
        return f"nothing says what {missing} is; {way_out}"
    keys = re.findall(r'Parser key "([^"]+)"', message)
    reasons = [
        re.sub(r'Parser key "[^"]+": ', "", line.strip(" -"))
        for line in message.splitlines()
        if re.search(
            r"Expected|does not|not (?:accessible|exist)|no attribute|No module|invalid|required|must be", line
        )
        and "NoneType" not in line
        and "Union subtypes" not in line
    ]
    given = re.findall(r"Given value: (.+)", message)
    if keys and reasons:
        value = f" (given: {given[0]})" if given and len(given[0]) < 60 and "NestedArg" not in given[0] else ""
        return f"'{'.'.join(keys)}': {_plain_types(reasons[-1])}{value}"
    return " ".join(message.split())


def keys_of_class(class_path: str) -> list[str]:
    """All dotted keys that a class takes, with those of its parts."""
    module, _, name = class_path.rpartition(".")
    parser = HelpfulParser(exit_on_error=False)
    parser.add_class_arguments(getattr(importlib.import_module(module), name))
    return parser.known_keys()


def _unknown_key(message: str) -> tuple[str, str | None, str] | None:
    """(where the key stands, the class that refused it, the key); None where the message is about something else."""
    in_group = re.search(r"Group '([^']+)' does not accept option '([^']+)'", message)
    in_command = re.search(r"Subcommand '\w+' does not accept option '([^']+)'", message)
    on_line = re.search(r"unrecognized arguments: --([^\s=]+)", message)
    not_accepted = re.search(r"Option '([^']+)' is not accepted", message)
    if in_group:
        key = f"{in_group[1]}.{in_group[2]}"
    elif in_command:
        return "", None, in_command[1]
    elif on_line:
        key = on_line[1]
    elif not_accepted:
        key = not_accepted[1]
    else:
        return None
    owners = re.findall(r'Parser key "([^"]+)"', message)
    classes = re.findall(r"Problem with given class_path '([^']+)'", message)
    if not classes:
        return "", None, key
    return "".join(f"{owner}." for owner in owners), classes[-1], key


def _nearest(key: str, candidates: list[str]) -> str | None:
    close = difflib.get_close_matches(key, candidates, n=1, cutoff=0.6)
    if close:
        return close[0]
    last = key.rpartition(".")[2]  # the right name at the wrong place
    return next((name for name in candidates if name.rpartition(".")[2] == last), None)


def _plain_types(reason: str) -> str:
    reason = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", reason)
    return reason.replace("typing.Literal", "one of ").replace("Expected a ", "expected ").replace(". Got", "; got")
