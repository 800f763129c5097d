"""`vjepa runs`: all runs below a folder in one table: what differs in their settings, step, loss, verdict, results."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vjepa.cli.parser import HelpfulParser
from vjepa.data.atomic_file import new_file
from vjepa.monitoring.card.result_tables import result_tables
from vjepa.monitoring.card.run import SETTINGS, Run, read_run_card

NOT_COMPARED = ("runs", "name", "config", "ckpt_path")  # where a run lies, and what it went on from
LOSS, ABSENT = "train/loss", object()


def run_runs_command(arguments: list[str]) -> None:
    """Parse and run `vjepa runs`."""
    parser = HelpfulParser(prog="vjepa runs", description="All runs below a folder in one table.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), help="of runs; runs if not given")
    parser.add_argument("-o", "--output", type=Path | None, help="CSV file of the table, too")
    given = parser.parse_args(arguments)
    rows = rows_of(given.folder)
    if given.output is not None:
        with new_file(given.output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    table = Table(title=f"{len(rows)} runs below {given.folder}")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    Console(width=None if Console().is_terminal else 180).print(table)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """A row for each run, in the order of their names. Raises ValueError where there is none."""
    found = sorted(file.parent for file in folder.rglob(SETTINGS))
    if not found:
        raise ValueError(f"there is no run below {folder} (no {SETTINGS}); give the folder of some, e.g. runs")
    runs = [read_run_card(each) for each in found]
    rows = []
    for run, different in zip(runs, differences([run.settings for run in runs]), strict=True):
        losses = run.curves.get(LOSS, {})
        rows.append(
            {
                "run": str(run.folder.relative_to(folder)) if run.folder != folder else run.folder.name,
                "differs in": "\n".join(f"{key}={value}" for key, value in different.items()),
                "step": f"{run.last_step} of {run.max_steps}" if run.max_steps else str(run.last_step),
                "loss": f"{losses[max(losses)]:.4g}" if losses else "",
                "verdict": _verdict(run),
                "results": "\n".join(_results(run.folder)),
            }
        )
    return rows


def differences(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each, the values of the keys in which not all are equal."""
    flat = [dict(_flattened(each)) for each in settings]
    keys = [key for key in dict.fromkeys(key for each in flat for key in each)]
    unequal = [key for key in keys if len({str(each.get(key, ABSENT)) for each in flat}) > 1]
    return [{key: each[key] for key in unequal if key in each} for each in flat]


def _flattened(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{before}{key}"
        if name in NOT_COMPARED:
            continue
        if isinstance(value, Mapping):
            yield from _flattened(value, before if key == "init_args" else f"{name}.")
        else:
            yield name, value


def _verdict(run: Run) -> str:
    return (run.verdict or "").partition(":")[0].partition(" (")[0]


def _results(folder: Path) -> Iterator[str]:
    """The best line of each evaluation."""
    seen = set()
    for table in result_tables(folder):
        if table.evaluation not in seen and table.headline:
            seen.add(table.evaluation)
            yield f"{table.evaluation}: {table.headline}"
