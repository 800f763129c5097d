"""`vjepa recipes [WORD]`: the recipes at hand, with task, hardware and hours, by their headers."""

import difflib
import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

from vjepa.cli.parser import ROOMS, HelpfulParser
from vjepa.interop.recipe import HOME, RECIPES, all_recipes

_COMMANDS = {room: command for command, room in ROOMS.items()} | {"pretrain": "fit", "worldmodel": "fit"}
_OTHER_COMMANDS = {"epic_kitchens100": "anticipate"}
WIDTH_OF_FILES = 160  # characters of a line where the output is no terminal


def run_recipes_command(arguments: list[str]) -> None:
    """Parse and run `vjepa recipes`. Raises ValueError where no recipe has the word."""
    parser = HelpfulParser(prog="vjepa recipes", description="List the recipes by their headers.")
    parser.add_argument("word", nargs="?", default="", help="only recipes with this word in name, task or hardware")
    print(recipe_list(parser.parse_args(arguments).word))


def recipe_list(word: str = "") -> str:
    """A block for each command that takes recipes, a line for each recipe. Raises ValueError where there are none."""
    blocks: dict[str, list[tuple[str, str, str, str]]] = {}
    words: set[str] = set()
    for recipe in all_recipes():
        header = read_header(recipe)
        room, name = recipe.parent.name, recipe.stem
        text = f"{room} {name} {header.title} {header.fields.get('Hardware', '')}".lower()
        words |= {name, room, *text.split()}
        if word.lower() in text:
            command = _OTHER_COMMANDS.get(name, _COMMANDS.get(room, room))
            hours = textwrap.shorten(re.split(r": |, | \(| for ", header.brief("Hours"))[0], 28, placeholder=" ...")
            hardware = re.split(r", | \(| of | with ", header.brief("Hardware"))[0]
            title = f"vjepa {command} -c NAME   (configs/{room})"
            blocks.setdefault(title, []).append((name, hardware, hours, brief(header.title)))
    if not blocks:
        near = difflib.get_close_matches(word.lower(), words, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`vjepa recipes` lists all"
        raise ValueError(f"no recipe of {HOME / RECIPES} has '{word}' in its name, task or hardware; {hint}")
    rows = [row for block in blocks.values() for row in block]
    widths = [max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(("", "hardware", "hours"))]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_OF_FILES
    lines = []
    for title, block in blocks.items():
        lines += ["", _line((title.partition("   ")[0], "hardware", "hours", ""), widths, width)]
        lines += [_line(row, widths, width) for row in block]
    return "\n".join(lines[1:])


def _line(row: tuple[str, str, str, str], widths: list[int], width: int) -> str:
    left = "  ".join(f"{cell:<{each}}" for cell, each in zip(row, widths, strict=False))
    return f"{left}  {textwrap.shorten(row[3], max(20, width - len(left) - 2), placeholder=' ...')}".rstrip()


class Header(NamedTuple):
    """The first sentence, and the fields (`Paper`, `Hardware`, ...) with their lines joined."""

    title: str
    fields: dict[str, str]

    def brief(self, field: str) -> str:
        """The first sentence of a field, "" where there is none."""
        return brief(self.fields.get(field, ""))


def read_header(recipe: Path) -> Header:
    parts: dict[str, str] = {"": ""}
    name = ""
    for number, line in enumerate(recipe.read_text(encoding="utf-8").splitlines()):
        if not line.startswith("#"):
            break
        field = re.match(r"# ([A-Z][a-z]+): +(.*)", line) if number else None
        name, text = field.groups() if field else (name, line.lstrip("# "))
        parts[name] = f"{parts.get(name, '')} {text}".strip()
    return Header(parts.pop(""), parts)


def brief(text: str) -> str:
    """The first sentence, of its remarks in brackets only where a number is from."""
    text = re.sub(r"\(([^()]*)\)", _origin, text).replace("|", "/")
    text = re.split(r"(?<=[a-z0-9%)])[.;] (?=[A-Z0-9])", text, maxsplit=1)[0]
    return re.sub(r" +([,.;:])", r"\1", re.sub(r"  +", " ", text)).strip().removesuffix(".")


def _origin(remark: re.Match[str]) -> str:
    found = re.search("measured here|estimated|as published", remark[1])
    return f"({found[0]})" if found else ""
