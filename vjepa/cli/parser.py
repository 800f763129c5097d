"""The parser of all commands: recipes in layers, old names of keys, and one-sentence errors with the nearest name."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from vjepa.cli.explanation import explain, keys_of_parser
from vjepa.data.paths import expanded
from vjepa.data.synthetic.on_demand import render_embedded_data
from vjepa.interop.recipe import find_recipe, no_such_recipe, parse_recipe
from vjepa.interop.renamed import renamed_flags

# Folders of `configs` by command; of all others it is "probe".
ROOMS = {name: name for name in ("plan", "collect", "finetune", "surprise", "segment")} | {"label-efficiency": "labels"}


class HelpfulParser(ArgumentParser):
    """jsonargparse's parser without abbreviations and with short errors; exits with code 2 on any."""

    given: Sequence[str] = ()  # the arguments that are being parsed
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
            self.given = arguments = [_with_whole_path(argument) for argument in renamed_flags(arguments)]
        for number, (flag, argument) in enumerate(zip(["", *arguments], arguments, strict=False)):
            if argument == "None" and re.fullmatch("--[^=]+", flag):
                arguments[number] = "null"
            elif argument.startswith("--"):
                arguments[number] = re.sub("=None$", "=null", argument)
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
        sys.stderr.write(f"vjepa: error: {explain(message, keys_of_parser(parser), self.given, parser.recipe_rooms)}\n")
        self.exit(2)

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
        recipe = find_recipe(values, parser.recipe_rooms)
        if recipe is None and "{" not in values:  # settings themselves, as YAML, are no file
            raise ValueError(no_such_recipe(values, parser.recipe_rooms))
        values = str(recipe or values)
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
    completed: Callable[[Namespace], None] = lambda given: None,
) -> None:
    """Call a function with the values that recipes (`-c`) and flags give to its parameters.

    `completed` fills in values that follow from others, before parts are built of them.

    `flat` maps parameters to dataclasses whose fields are keys of their own: `--checkpoint`, not `--source.checkpoint`.
    A parameter `configuration` receives all values as plain ones.
    """
    parser = HelpfulParser(prog=prog, description=description)
    command = prog.rpartition(" ")[2]
    parser.add_recipe_argument([ROOMS.get(command, "probe")])
    keys = {name: parser.add_class_arguments(group, instantiate=False) for name, group in flat.items()}
    parser.add_function_arguments(function, skip={"configuration", *flat})
    given = parser.parse_args(arguments)
    render_embedded_data(given.as_dict())
    completed(given)
    parts = parser.instantiate(given).as_dict()
    parts.pop("config", None)
    groups = {name: flat[name](**{key: parts.pop(key) for key in keys[name]}) for name in flat}
    if "configuration" in inspect.signature(function).parameters:
        parts["configuration"] = yaml.safe_load(parser.dump(given, skip_link_targets=False))
    function(**groups, **parts)
