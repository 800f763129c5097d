"""Numbers and times in the cells of tables. What can't be read is refused; empty cells and NaN are not given."""

import math
import re
from functools import lru_cache

LIKE_A_TIME = re.compile(r"(^|_)(start|begin|end|stop)(_|$)")  # name of a column
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):(?=[0-5]?\d:))?(\d+):([0-5]?\d(?:\.\d*)?)", re.ASCII)  # hours:minutes:seconds


@lru_cache(2**16)  # rates and sizes are the same in most rows of a table
def read_number(cell: str) -> float:
    """A finite number; NaN where not given. Raises ValueError for anything else, such as `0,5` or `inf`."""
    text = cell.strip()
    if text.lower() in ("", "nan", "nat", "<na>"):  # the last three as data frames write what is missing
        return math.nan
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise ValueError(f"'{text}' is not a number; write it as 24 or 29.97, or leave the cell empty")
    return number


@lru_cache(2**16)
def read_count(cell: str) -> float:
    """A whole number from 1; NaN where not given."""
    number = read_number(cell)
    if not (math.isnan(number) or (number >= 1 and number.is_integer())):
        raise ValueError(f"'{cell}' is not a whole number from 1")
    return number


@lru_cache(2**16)
def read_rate(cell: str) -> float:
    """A number above 0; NaN where not given."""
    number = read_number(cell)
    if number <= 0:
        raise ValueError(f"'{cell}' is not a number above 0")
    return number


def read_seconds(cell: str) -> float:
    """A time in seconds, from `12.5`, `2:03` or `01:02:03.45`; NaN where not given."""
    clock = _CLOCK.fullmatch(cell.strip())
    if clock is not None:
        hours, minutes, seconds = clock.groups(default="0")
        return 60 * (60 * float(hours) + float(minutes)) + float(seconds)
    try:
        time = read_number(cell)
    except ValueError:
        time = -1.0
    if time < 0:
        raise ValueError(
            f"'{cell.strip()}' is not a time; write seconds, such as 0.5, or hours:minutes:seconds from the file's "
            f"start, or leave the cell empty"
        )
    return time


def read_window(start: str, end: str) -> tuple[float, float]:
    """The part of a file between two times in seconds, NaN where it is the file's own start or end."""
    times = []
    for column, cell in (("start", start), ("end", end)):
        try:
            times.append(read_seconds(cell))
        except ValueError as error:
            raise ValueError(f"{column} {error}") from None
    first, last = times
    if last <= first:
        raise ValueError(f"end ({end.strip()}) must be after start ({start.strip()})")
    return first, last
