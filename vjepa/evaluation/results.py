"""Results of an evaluation: tables on the terminal, CSV and JSON files."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vjepa.data.atomic_file import write_json, write_table


def spread(values: Sequence[float], decimals: int = 1) -> str:
    """Mean ± standard deviation, or the one value."""
    if len(values) == 1:
        return f"{values[0]:.{decimals}f}"
    return f"{np.mean(values):.{decimals}f} ± {np.std(values, ddof=1):.{decimals}f}"


def print_table(
    title: str,
    headings: Sequence[str],  # the first names the rows, the others are of numbers
    rows: Iterable[Sequence[str]],
    width: int = 120,  # of a log file; a terminal has its own
    no_wrap: int = 0,  # number of first columns whose cells are never wrapped
) -> None:
    table = Table(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=number < no_wrap)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else width).print(table)


def print_unreadable(unreadable: Mapping[str, str]) -> None:
    """The number of files that were left out, and the first of them with its reason."""
    if unreadable:
        path, reason = next(iter(unreadable.items()))
        print(f"files that could not be read and were left out: {len(unreadable)}, the first {path} ({reason})")


def write_results(
    folder: Path,
    facts: Mapping[str, object],
    results: Sequence[Mapping[str, object]],
    tables: Mapping[str, tuple[Sequence[str], Iterable[Mapping[str, object]]]],
) -> None:
    """`results.json` with the facts of the evaluation and every result, and a CSV file for each table.

    Args:
        folder: made where it is missing.
        facts: checkpoint, settings, chance.
        results: one for each row or cell.
        tables: columns and rows by file name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, (columns, rows) in tables.items():
        write_table(folder / name, columns, rows)
    write_json(folder / "results.json", {**facts, "results": results})
