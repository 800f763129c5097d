"""Results of probes as a table for people and files for programs."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vjepa.data.atomic_file import new_file
from vjepa.evaluation.frozen_evaluation import Amount, Result, describe


def print_tables(results: Sequence[Result], title: str) -> None:
    """One table for each amount of labels: a row for each kind of features, a column for each probe."""
    console = Console()
    for amount in dict.fromkeys(result.amount for result in results):
        here = [result for result in results if result.amount == amount]
        probes = list(dict.fromkeys(result.probe for result in here))
        num_clips = here[0].scores.num_clips
        table = Table(title=f"{title}, {describe(amount)}: accuracy in % on {num_clips} test clips")
        table.add_column("features")
        for probe in probes:
            table.add_column(probe, justify="right")
        for name in dict.fromkeys(result.features for result in here):
            cells = [cell([r for r in here if r.features == name and r.probe == probe]) for probe in probes]
            table.add_row(name, *cells)
        console.print(table)


def cell(results: Sequence[Result]) -> str:
    """Accuracy with its interval over test clips; over several seeds their mean and standard deviation."""
    accuracies = np.array([result.scores.top1 for result in results]) * 100
    if len(results) > 1:
        return f"{accuracies.mean():.1f} ± {accuracies.std(ddof=1):.1f}"
    low, high = results[0].scores.interval
    return f"{accuracies[0]:.1f} [{low * 100:.1f}, {high * 100:.1f}]"


def write_results(results: Sequence[Result], folder: Path, facts: dict[str, object]) -> None:
    """`results.csv` (a line per cell), `per_class.csv`, and `results.json` with all of it and confusion matrices."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ("features", "labels", "probe", "seed", "top1", "low", "high", "top5", "mean_class", "val", "chosen")
    with new_file(folder / "results.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for result in results:
            scores = result.scores
            numbers = (scores.top1, *scores.interval, scores.top5, scores.mean_class, result.val_accuracy)
            shown = ("" if number is None else f"{number:.4f}" for number in numbers)
            writer.writerow((result.features, result.amount, result.probe, result.seed, *shown, result.chosen))
    with new_file(folder / "per_class.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("features", "labels", "probe", "seed", "class", "accuracy"))
        for result in results:
            for name, accuracy in result.scores.per_class.items():
                row = (result.features, result.amount, result.probe, result.seed, name, f"{accuracy:.4f}")
                writer.writerow(row)
    cells = [{**result._asdict(), "scores": result.scores.as_dict()} for result in results]
    with new_file(folder / "results.json") as temporary:
        temporary.write_text(json.dumps({**facts, "results": cells}, indent=1) + "\n")


def hardest(results: Sequence[Result], features: str, amount: Amount) -> str:
    """The three classes that these features tell worst by their best probe, in a sentence."""
    here = [result for result in results if result.features == features and result.amount == amount]
    best = max(here, key=lambda result: result.scores.top1)
    worst = sorted(best.scores.per_class.items(), key=lambda item: item[1])[:3]
    return f"hardest by {best.probe}: " + ", ".join(f"{name} {accuracy:.0%}" for name, accuracy in worst)
