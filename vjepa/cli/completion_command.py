"""`vjepa completion SHELL`: a script that completes commands, their flags and recipes, by the package `shtab`."""

import argparse
import contextlib
import io
import re

from vjepa.cli.parser import ROOMS, HelpfulParser
from vjepa.data.optional import optional
from vjepa.interop.recipe import all_recipes


def run_completion_command(arguments: list[str]) -> None:
    """Parse and run `vjepa completion`: prints the script. Raises ValueError where shtab is missing."""
    parser = HelpfulParser(prog="vjepa completion", description="Print a script for completion on Tab.")
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="the shell that is to read the script")
    shell = parser.parse_args(arguments).shell
    print(optional("shtab", "completion", "completion").complete(outline_of_commands(), shell=shell))


def outline_of_commands() -> argparse.ArgumentParser:
    """All commands with the flags that their `--help` lists, and the recipes that `-c` takes."""
    from vjepa.cli.main import COMMANDS

    outline = argparse.ArgumentParser(prog="vjepa")
    commands = outline.add_subparsers()
    recipes = all_recipes()
    for name, command in COMMANDS.items():
        parser = commands.add_parser(name, help=command.help)
        trains = command.function.startswith("training:") or name in ("show", "plan-run")
        rooms = ("pretrain", "worldmodel") if trains else (ROOMS.get(name, "probe"),)
        for flag in flags_of(name):
            if flag == "--config":
                choices = sorted({recipe.stem for recipe in recipes if recipe.parent.name in rooms})
                parser.add_argument("-c", flag, choices=choices)
            else:
                parser.add_argument(flag)
    return outline


def flags_of(command: str) -> list[str]:
    """The flags that a command's `--help` and the recipes' example lists."""
    from vjepa.cli.main import main

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([command, "--help"])
    found = re.findall(r"(?<![\w`])--[a-z][\w.]*[a-z]\b", text.getvalue())
    return sorted(set(found) - {"--help"})
