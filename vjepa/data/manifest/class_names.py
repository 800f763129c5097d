"""Names of classes: the same class has one name, however tables, lists and folders write it."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]\d{1,2})?", re.ASCII | re.IGNORECASE)
_MARKERS = frozenset(["na", "n/a", "#n/a", "none", "null"])  # of a missing number; else they may be names
_MISSING = re.compile(r"[+-]?nan|<na>|", re.IGNORECASE)


class Classes(NamedTuple):
    """The classes of one split."""

    clips: str  # in words, for messages
    counts: Mapping[str, int]  # number of clips of each class, never 0

    @property
    def num_clips(self) -> int:
        return sum(self.counts.values())


@lru_cache(maxsize=1024)
def class_name(cell: str) -> str:
    """The class that a cell names, "" for none.

    Blanks around it don't count. A number is written in its shortest form, so that 0, 00 and 0.0 are one class. An
    empty cell, NaN and -1 are no class.
    """
    name = unicodedata.normalize("NFC", cell.strip())
    if _MISSING.fullmatch(name):
        return ""
    if _NUMBER.fullmatch(name):
        number = Decimal(name)
        name = str(int(number)) if number == int(number) else f"{number.normalize():f}"
    return "" if name == "-1" else name


def without_markers(names: list[str]) -> list[str]:
    """The same classes, "" in place of `NA`, `None` and the like where all others are whole numbers."""
    others = {name for name in names if name.casefold() not in _MARKERS} - {""}
    if not others or not all(map(is_whole, others)):
        return names
    return [name if name in others else "" for name in names]


def in_order(names: Iterable[str]) -> list[str]:
    """Numbers by value where all are whole, otherwise by name."""
    unique = set(names)
    if all(is_whole(name) for name in unique):
        return sorted(unique, key=int)
    return sorted(unique)


def is_whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


def learned_classes(train: Classes, others: Iterable[Classes], column: str) -> list[str]:
    """The classes of training clips, in order.

    Raises ValueError where there is only one, where they are measured values, where two names of any split differ only
    in case, and where another split has a class without a training clip.
    """
    others = list(others)
    require_distinct([train, *others], column)
    if len(train.counts) < 2:
        raise ValueError(
            f"all {train.num_clips} {train.clips} are of class {listed(train.counts)} (column '{column}'); a probe "
            f"needs two classes or more"
        )
    if len(train.counts) > train.num_clips / 2 and any(map(_is_fraction, train.counts)):
        raise ValueError(
            f"column '{column}' has {len(train.counts)} values for {train.num_clips} {train.clips} "
            f"({listed(train.counts)}): these are measured values, not classes; give a column of classes (--data.label)"
        )
    for each in others:
        require_known(train, each, column, "all")
    return in_order(train.counts)


def require_distinct(splits: Iterable[Classes], column: str) -> None:
    """Raises ValueError where two names differ only in case."""
    spellings: dict[str, dict[str, str]] = defaultdict(dict)
    for each in splits:
        for name in each.counts:
            spellings[name.casefold()].setdefault(name, each.clips)
    for names in spellings.values():
        if len(names) > 1:
            (first, its_clips), (second, other_clips), *_ = names.items()
            raise ValueError(
                f"classes '{first}' ({its_clips}) and '{second}' ({other_clips}) in column '{column}' differ only in "
                f"case; write them alike if they are one class, and apart (e.g. '{second}_2') if they are two"
            )


def require_known(train: Classes, other: Classes, column: str, how_many: Literal["all", "some"]) -> None:
    """Raises ValueError where not all, or not even some, classes of another split have a training clip."""
    unknown = {name: count for name, count in other.counts.items() if name not in train.counts}
    if len(unknown) == len(other.counts) or (unknown and how_many == "all"):
        raise ValueError(
            f"{sum(unknown.values())} of {other.num_clips} {other.clips} are of classes that the {train.clips} lack: "
            f"{listed(unknown)}; known are {listed(train.counts)} (column '{column}'); give each split its manifest (a "
            f"recipe's own stays until a flag replaces it), or leave these labels empty"
        )


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first names in quotes, and how many more there are."""
    ordered = in_order(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(f"'{name}'" for name in ordered[:most]) + more


def _is_fraction(name: str) -> bool:
    return bool(_NUMBER.fullmatch(name)) and not is_whole(name)
