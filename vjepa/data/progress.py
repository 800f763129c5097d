"""Progress of long work: a bar on a terminal, a line per quarter in a log file."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def report_progress(
    results: Iterable[T], total: int, what: str, size_of: Callable[[T], int] = lambda result: 1, percent: bool = False
) -> Iterator[T]:
    """Pass results on and show how many of `total` are done; a result counts for its `size_of`.

    With `percent`, sizes are percents and total is 100.
    """
    if sys.stdout.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as bar:
            task = bar.add_task(what, total=total)
            for result in results:
                bar.advance(task, size_of(result))
                yield result
        return
    done, start = 0, time.monotonic()
    print(what if percent else f"{what}: {total}", flush=True)
    for result in results:
        quarters_before, done = 4 * done // max(1, total), done + size_of(result)
        if 4 * done // max(1, total) > quarters_before:
            reached = f"{done} %" if percent else f"{done} of {total}"
            print(f"{reached} after {time.monotonic() - start:.0f} s", flush=True)
        yield result
