"""Results of probes as tables and files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vjepa.data.atomic_file import write_text
from vjepa.evaluation.bar_chart import Bar, BarRow, Chart, bar_charts, bar_over_seeds
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, Amount, Result, describe
from vjepa.evaluation.results import print_table, spread, write_results

CELL = ("task", "features", "labels", "probe", "seed")  # columns that name a cell
ACCURACIES = ("top1", "low", "high", "top5", "mean_class", "val", "chance")


def print_tables(results: Sequence[Result], title: str) -> None:
    """A table for each amount of labels and each temporal task: a row for each kind of features, a column per probe."""
    for task, amount in _settings(results):
        here = [result for result in results if (result.task, result.amount) == (task, amount)]
        probes = list(dict.fromkeys(result.probe for result in here))
        scores = here[0].scores
        print_table(
            f"{title}, {describe(task, amount)}: accuracy in % on {scores.num_clips} test clips, "
            f"chance {scores.chance * 100:.1f}",
            ["features", *probes],
            [
                [name, *(cell([r for r in here if (r.features, r.probe) == (name, probe)]) for probe in probes)]
                for name in dict.fromkeys(result.features for result in here)
            ],
        )


def cell(results: Sequence[Result]) -> str:
    """Accuracy with its interval over test clips; over several seeds their mean and standard deviation."""
    accuracies = spread([100 * result.scores.top1 for result in results])
    if len(results) > 1:
        return accuracies
    low, high = results[0].scores.interval
    return f"{accuracies} [{low * 100:.1f}, {high * 100:.1f}]"


def write_files(results: Sequence[Result], folder: Path, facts: dict[str, object]) -> None:
    """`results.csv` (a line per cell), `per_class.csv`, `results.json` with all of it and confusion matrices, and
    `chart.svg`."""
    write_results(
        folder,
        facts,
        [{**result._asdict(), "scores": result.scores.as_dict()} for result in results],
        {
            "results.csv": ((*CELL, *ACCURACIES, "chosen"), map(_row, results)),
            "per_class.csv": ((*CELL, "class", "accuracy"), _rows_by_class(results)),
        },
    )
    write_text(folder / "chart.svg", bar_charts([_chart(results, *key) for key in _settings(results)]))


def hardest(results: Sequence[Result], features: str, amount: Amount) -> str:
    """The three classes with the lowest accuracy by the best probe of these features, in a sentence."""
    here = [r for r in results if (r.task, r.features, r.amount) == (CLASSES, features, amount)]
    best = max(here, key=lambda result: result.scores.top1)
    worst = sorted(best.scores.per_class.items(), key=lambda item: item[1])[:3]
    return f"hardest by {best.probe}: " + ", ".join(f"{name} {accuracy:.0%}" for name, accuracy in worst)


def _settings(results: Sequence[Result]) -> list[tuple[str, Amount]]:
    """Tasks with their amounts of labels."""
    return list(dict.fromkeys((result.task, result.amount) for result in results))


def _chart(results: Sequence[Result], task: str, amount: Amount) -> Chart:
    """The table of a task with an amount of labels; over several seeds a bar's line is one standard deviation."""
    cells: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        if (result.task, result.amount) == (task, amount):
            cells.setdefault(result.features, {}).setdefault(result.probe, []).append(result)
    rows = [BarRow(name, [_bar(probe, each) for probe, each in probes.items()]) for name, probes in cells.items()]
    any_result = next(result for result in results if (result.task, result.amount) == (task, amount))
    return Chart(f"{describe(task, amount)}: accuracy on test clips", rows, any_result.scores.chance)


def _bar(probe: str, results: Sequence[Result]) -> Bar:
    if len(results) == 1:
        return Bar(probe, results[0].scores.top1, *results[0].scores.interval)
    return bar_over_seeds(probe, [result.scores.top1 for result in results])


def _row(result: Result) -> dict[str, object]:
    scores = result.scores
    numbers = (scores.top1, *scores.interval, scores.top5, scores.mean_class, result.val_accuracy, scores.chance)
    shown = ["" if number is None else f"{number:.4f}" for number in numbers]
    return {**_cell(result), **dict(zip(ACCURACIES, shown, strict=True)), "chosen": result.chosen}


def _rows_by_class(results: Sequence[Result]) -> Iterator[dict[str, object]]:
    for result in results:
        for name, accuracy in result.scores.per_class.items():
            yield {**_cell(result), "class": name, "accuracy": f"{accuracy:.4f}"}


def _cell(result: Result) -> dict[str, object]:
    return dict(zip(CELL, (result.task, result.features, result.amount, result.probe, result.seed), strict=True))
