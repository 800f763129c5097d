"""Keys and values of a YAML of the released code: none is lost from sight, and each may get a note."""

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class Note(NamedTuple):
    """What a reader of the new recipe should know of a key of the old one."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


class Settings:
    """Values by dotted key; knows what was asked for, so that what nobody asks for can be named."""

    def __init__(self, values: Mapping[str, Any]):
        self.values = dict(leaves(values))
        self.asked: set[str] = set()
        self.notes: list[Note] = []

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default where it is absent or null."""
        self.asked.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def number(self, key: str, default: float | None, kind: Callable[[Any], Any] = float) -> Any:
        """A number, also where YAML took one for a text (1e-6); None where there is none and no default."""
        value = self.take(key, default)
        return None if value is None else _number(key, value, kind)

    def required(self, key: str, kind: Callable[[Any], Any] = float) -> Any:
        """A number. Raises ValueError where there is none."""
        value = self.number(key, None, kind)
        if value is None:
            raise ValueError(_missing(key))
        return value

    def numbers(self, key: str, kind: Callable[[Any], Any] = float) -> list[Any]:
        """A list of numbers, a lone one too; empty where there is none."""
        value = self.take(key, [])
        return [_number(key, each, kind) for each in (value if isinstance(value, list) else [value])]

    def pair(self, key: str) -> list[float] | None:
        """A range of two numbers; None where there is none."""
        found = self.numbers(key)
        if len(found) not in (0, 2):
            raise ValueError(f"{key} ({self.values[key]}) must be two numbers")
        return found or None

    def ends(self, key: str) -> tuple[float, float]:
        """Two numbers. Raises ValueError where there are none."""
        found = self.pair(key)
        if found is None:
            raise ValueError(_missing(key))
        return found[0], found[1]

    def texts(self, key: str) -> list[str]:
        value = self.take(key, [])
        return [str(each) for each in (value if isinstance(value, list) else [value])]

    def flag(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise ValueError(f"{key} ({value}) must be true or false")
        return value

    def drop(self, key: str, text: str) -> None:
        """Leave a key out, with a note that says why."""
        del self.values[key]
        self.note(key, text)

    def note(self, key: str, text: str) -> None:
        self.notes.append(Note(key, text))

    def note_given(self, text: str, *keys: str) -> None:
        """A note on each of these keys that the YAML gives."""
        for key in keys:
            if key in self.values:
                self.note(key, text)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; lists of mappings (masks) are numbered, other lists are values."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{key}.")
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            for i, each in enumerate(value):
                if not isinstance(each, Mapping):
                    raise ValueError(f"{key}[{i}] ({each}) must have keys of its own, as the others of its list have")
                yield from leaves(each, f"{key}[{i}].")
        else:
            yield key, value


def _number(key: str, value: Any, kind: Callable[[Any], Any]) -> Any:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
        if not math.isfinite(number) or kind(number) != number:
            raise ValueError
    except (TypeError, ValueError):
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{key} ({value}) must be {what}") from None
    return kind(number)


def nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def _missing(key: str) -> str:
    return f"this YAML says nothing of {key}, without which there is no recipe; add it"
