"""Results of dense evaluation as tables and files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vjepa.evaluation.dense.dense_evaluation import Result, Task
from vjepa.evaluation.results import print_table, spread, write_results

TITLES: dict[Task, str] = {
    "foreground": "objects without labels",
    "heads": "segmentation heads",
    "motion_boundary": "heads for motion boundaries",
    "propagation": "propagation of the first mask",
}
COLUMNS = ("task", "method", "labelled_frames", "seed", "features", "metric", "value", "low", "high")
DIFFERENCES = ("minus_random", "minus_random_low", "minus_random_high")
RANDOM = "random weights"


def print_tables(results: Sequence[Result], title: str, num_videos: int) -> None:
    """A table for each task: a row for each kind of features, a column for each method, in %."""
    for task in dict.fromkeys(result.method.task for result in results):
        here = [result for result in results if result.method.task == task and result.metric != "object IoU"]
        columns = list(dict.fromkeys(_column(result) for result in here))
        print_table(
            f"{title}, {TITLES[task]}, in % on {num_videos} test videos",
            ["features", *columns],
            [
                [name, *(_cell([r for r in here if (r.features, _column(r)) == (name, column)]) for column in columns)]
                for name in dict.fromkeys(result.features for result in here)
            ],
        )


def differences(results: Sequence[Result], features: str) -> list[str]:
    """How far the first row is above the others, a line for each column; of several seeds the first."""
    lines = []
    for best in results:
        if best.features != features or best.metric in ("object IoU", "J", "F"):
            continue
        others = [each for each in results if each[0] == best.method and each.metric == best.metric]
        said = [
            f"{each.features} {100 * gap.value:+.1f} [{100 * gap.interval[0]:.1f}, {100 * gap.interval[1]:.1f}]"
            for each in others
            if each.features != features
            for gap in [best.score.minus(each.score)]
        ]
        if best.method.seed == min(each.method.seed for each in results if each.method.task == best.method.task):
            lines.append(f"{TITLES[best.method.task]}, {_column(best)}: {features} less {', '.join(said)}")
    return lines


def write_files(results: Sequence[Result], folder: Path, facts: Mapping[str, object]) -> None:
    """`results.csv`, a line for each score with interval and difference to random weights, and `results.json`."""
    rows = [_row(result, results) for result in results]
    write_results(folder, facts, rows, {"results.csv": ((*COLUMNS, *DIFFERENCES), rows)})


def _column(result: Result) -> str:
    method = result.method
    if method.labelled_frames is None:
        return result.metric if method.task == "propagation" else f"{method.name}: {result.metric}"
    count = "all" if method.labelled_frames == "all" else f"{method.labelled_frames}"
    return f"{method.name}, {count} frames: {result.metric}"


def _cell(results: Sequence[Result]) -> str:
    if not results:
        return ""
    value = spread([100 * result.score.value for result in results])
    if len(results) > 1:
        return value
    low, high = results[0].score.interval
    return f"{value} [{100 * low:.1f}, {100 * high:.1f}]"


def _row(result: Result, results: Sequence[Result]) -> dict[str, object]:
    numbers = [result.score.value, *result.score.interval]
    random = [r for r in results if (r.method, r.metric, r.features) == (result.method, result.metric, RANDOM)]
    if random and result.features != RANDOM:
        gap = result.score.minus(random[0].score)
        numbers += [gap.value, *gap.interval]
    method = result.method
    cell = (method.task, method.name, method.labelled_frames or "", method.seed, result.features, result.metric)
    shown = (f"{number:.4f}" for number in numbers)
    return dict(zip((*COLUMNS, *DIFFERENCES), (*cell, *shown), strict=False))
