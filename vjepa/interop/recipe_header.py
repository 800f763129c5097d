"""The header of a recipe: the comment lines at its top, which say what it is, on what it runs and what to expect."""

import re
from pathlib import Path
from typing import NamedTuple


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
