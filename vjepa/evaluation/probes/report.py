"""Results of probes as a table for people and files for programs."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vjepa.data.atomic_file import new_file
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, Amount, Result, describe


def print_tables(results: Sequence[Result], title: str) -> None:
    """A table for each amount of labels and each temporal task: a row for each kind of features, a column per probe."""
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log file has no width
    for task, amount in dict.fromkeys((result.task, result.amount) for result in results):
        here = [result for result in results if (result.task, result.amount) == (task, amount)]
        probes = list(dict.fromkeys(result.probe for result in here))
        scores = here[0].scores
        of_what = f"accuracy in % on {scores.num_clips} test clips, chance {scores.chance * 100:.1f}"
        table = Table(title=f"{title}, {describe(task, amount)}: {of_what}")
        table.add_column("features")
        for probe in probes:
            table.add_column(probe, justify="right")
        for name in dict.fromkeys(result.features for result in here):
            cells = [cell([r for r in here if r.features == name and r.probe == probe]) for probe in probes]
            table.add_row(name, *cells)
        console.print(table)


def cell(results: Sequence[Result]) -> str:
    """Accuracy with its interval over test clips; over several seeds their mean and standard deviation."""
    accuracies = spread([100 * result.scores.top1 for result in results])
    if len(results) > 1:
        return accuracies
    low, high = results[0].scores.interval
    return f"{accuracies} [{low * 100:.1f}, {high * 100:.1f}]"


def spread(values: Sequence[float], decimals: int = 1) -> str:
    """Mean ± standard deviation, or the one value."""
    if len(values) == 1:
        return f"{values[0]:.{decimals}f}"
    return f"{np.mean(values):.{decimals}f} ± {np.std(values, ddof=1):.{decimals}f}"


def write_results(results: Sequence[Result], folder: Path, facts: dict[str, object]) -> None:
    """`results.csv` (a line per cell), `per_class.csv`, and `results.json` with all of it and confusion matrices."""
    folder.mkdir(parents=True, exist_ok=True)
    shares = ("top1", "low", "high", "top5", "mean_class", "val", "chance")
    with new_file(folder / "results.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("task", "features", "labels", "probe", "seed", *shares, "chosen"))
        for result in results:
            scores = result.scores
            numbers = (
                scores.top1,
                *scores.interval,
                scores.top5,
                scores.mean_class,
                result.val_accuracy,
                scores.chance,
            )
            shown = ("" if number is None else f"{number:.4f}" for number in numbers)
            writer.writerow((*_cell_of(result), *shown, result.chosen))
    with new_file(folder / "per_class.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("task", "features", "labels", "probe", "seed", "class", "accuracy"))
        for result in results:
            for name, accuracy in result.scores.per_class.items():
                writer.writerow((*_cell_of(result), name, f"{accuracy:.4f}"))
    cells = [{**result._asdict(), "scores": result.scores.as_dict()} for result in results]
    with new_file(folder / "results.json") as temporary:
        temporary.write_text(json.dumps({**facts, "results": cells}, indent=1) + "\n")


def hardest(results: Sequence[Result], features: str, amount: Amount) -> str:
    """The three classes that these features tell worst by their best probe, in a sentence."""
    here = [r for r in results if (r.task, r.features, r.amount) == (CLASSES, features, amount)]
    best = max(here, key=lambda result: result.scores.top1)
    worst = sorted(best.scores.per_class.items(), key=lambda item: item[1])[:3]
    return f"hardest by {best.probe}: " + ", ".join(f"{name} {accuracy:.0%}" for name, accuracy in worst)


def _cell_of(result: Result) -> tuple[object, ...]:
    return result.task, result.features, result.amount, result.probe, result.seed
