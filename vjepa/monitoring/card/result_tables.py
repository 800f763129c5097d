"""Tables of the evaluations in a run's folder: probes, fine-tuning, anticipation, surprise, segmentation, planning."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vjepa.evaluation.bar_chart import Bar, BarRow, bar_over_seeds
from vjepa.evaluation.results import spread
from vjepa.evaluation.surprise.evaluation import MEAN

Row = Mapping[str, str]


class ResultTable(NamedTuple):
    """Scores as an evaluation printed them, in %."""

    evaluation: str  # the folder
    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]  # name and cells
    bars: list[BarRow] = []  # noqa: RUF012 (never changed)
    chance: float | None = None
    note: str = ""  # under the table

    @property
    def headline(self) -> str:
        """What the model itself has: the first row, or the first column of the mean where rows are properties."""
        if not self.rows:
            return ""
        means = [cells[0] for name, cells in self.rows if name.startswith(MEAN)]
        if self.evaluation == "surprise":
            return f"mean {means[0]}" if means else ""
        return ", ".join(f"{column} {cell}" for column, cell in zip(self.columns, self.rows[0][1], strict=True))


def result_tables(run: Path) -> list[ResultTable]:
    """Those of all evaluations that wrote into a run's folder. A file that can't be read is named by a note."""
    tables: list[ResultTable] = []
    for evaluation, name, tables_of in READERS:
        file = run / evaluation / name
        if not file.exists():
            continue
        try:
            tables += tables_of(file)
        except (KeyError, IndexError, TypeError, ValueError, csv.Error) as error:
            note = f"{file} is left out, since it can't be read: {type(error).__name__} {error}"
            print(note, file=sys.stderr)
            tables.append(ResultTable(evaluation, name, [], [], note=note))
    return tables


def _of_heads(file: Path) -> Iterator[ResultTable]:
    for (task, labels), rows in _grouped(_read(file), ("task", "labels")).items():
        amount = {"all": "all labels"}.get(labels, f"{labels} labels per class")
        title = f"{task if task != 'classes' else amount}: accuracy on test clips in %"
        table = _table(file.parent.name, title, rows, "features", ("probe",), "top1", with_bars=True)
        yield table._replace(chance=float(rows[0]["chance"]) if rows[0].get("chance") else None)


def _of_anticipation(file: Path) -> Iterator[ResultTable]:
    yield _table("anticipation", "class-mean recall@5 in %", _read(file), "features", ("task",), "recall@5")


def _of_surprise(file: Path) -> Iterator[ResultTable]:
    rows = [
        {**row, "property": row["property"] + (", harmless" if row["harmless"] == "1" else "")} for row in _read(file)
    ]
    note = "harmless changes should be near 50; intervals are 95 % over pairs"
    title = "pairs whose impossible clip surprises more, in %"
    yield _table("surprise", title, rows, "property", ("row",), "accuracy")._replace(note=note)


def _of_calibration(file: Path) -> Iterator[ResultTable]:
    verdicts = ("likely", "plausible", "impossible")
    cells = [
        (f"{row['row']}, {row['kind']}", [f"{100 * float(row[verdict]):.1f}" for verdict in verdicts])
        for row in _read(file)
    ]
    yield ResultTable("surprise", "single test clips in %", list(verdicts), cells)


def _of_segmentation(file: Path) -> Iterator[ResultTable]:
    for task, rows in _grouped(_read(file), ("task",)).items():
        columns = ("method", "labelled_frames", "metric")
        yield _table("segment", f"{task[0].replace('_', ' ')}, in %", rows, "features", columns, "value")


def _of_planning(file: Path) -> Iterator[ResultTable]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for split in dict.fromkeys(result["split"] for result in content["results"]):
        policies: dict[str, list[dict[str, Any]]] = {}
        for result in content["results"]:
            if result["split"] == split:
                policies.setdefault(result["policy"], []).append(result["scores"])
        columns = [
            f"{way} < {radius:g} {content['unit']}" for way in ("touched", "at end") for radius in content["radii"]
        ]
        rows, drawn = [], []
        for policy, scores in policies.items():
            cells = [
                spread([100 * each["at"][number][way]["share"] for each in scores])
                for way in ("touched", "at_end")
                for number in range(len(content["radii"]))
            ]
            rows.append((policy, [*cells, str(scores[0]["episodes"])]))
            share = scores[0]["at"][0]["touched"]
            drawn.append(BarRow(policy, [Bar(columns[0], share["share"], share["low"], share["high"])]))
        title = f"{content['suite']}, {split}: goals reached in %"
        yield ResultTable("plan", title, [*columns, "episodes"], rows, drawn)


def _table(
    evaluation: str,
    title: str,
    rows: Sequence[Row],
    row: str,  # column of the file that names rows
    columns: Sequence[str],  # columns of the file that name a column
    value: str,
    with_bars: bool = False,
) -> ResultTable:
    """A cell is the mean over seeds with its deviation, or one value with its interval."""
    by_column = _grouped(rows, columns)
    headings = {key: ", ".join(part for part in key if part) for key in by_column}
    table, drawn = [], []
    for (name,), of_row in _grouped(rows, (row,)).items():
        cells, of_bars = [], []
        for key, heading in headings.items():
            here = [each for each in of_row if tuple(each[column] for column in columns) == key and each[value]]
            cells.append(_cell(here, value))
            if here:
                of_bars.append(_bar(heading, here, value))
        table.append((name, cells))
        drawn.append(BarRow(name, of_bars))
    return ResultTable(evaluation, title, list(headings.values()), table, drawn if with_bars else [])


def _cell(rows: Sequence[Row], value: str) -> str:
    if not rows:
        return "–"
    text = spread([100 * float(row[value]) for row in rows])
    low, high = _names_of_interval(rows[0], value)
    if len(rows) > 1 or not rows[0].get(low):
        return text
    return f"{text} [{100 * float(rows[0][low]):.1f}, {100 * float(rows[0][high]):.1f}]"


def _bar(name: str, rows: Sequence[Row], value: str) -> Bar:
    """A value with its interval, or the mean over seeds with one standard deviation."""
    values = [float(row[value]) for row in rows]
    if len(values) > 1:
        return bar_over_seeds(name, values)
    low, high = (rows[0].get(each) for each in _names_of_interval(rows[0], value))
    return Bar(name, values[0], float(low or values[0]), float(high or values[0]))


def _names_of_interval(row: Row, value: str) -> tuple[str, str]:
    return (f"{value}_low", f"{value}_high") if f"{value}_low" in row else ("low", "high")


def _grouped(rows: Sequence[Row], columns: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def _read(file: Path) -> list[dict[str, str]]:
    """Raises ValueError where there is no line."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        raise ValueError("it has no line")
    return rows


READERS: list[tuple[str, str, Callable[[Path], Iterator[ResultTable]]]] = [
    ("probe", "results.csv", _of_heads),
    ("finetune", "results.csv", _of_heads),
    ("anticipation", "results.csv", _of_anticipation),
    ("surprise", "results.csv", _of_surprise),
    ("surprise", "calibration.csv", _of_calibration),
    ("segment", "results.csv", _of_segmentation),
    ("plan", "goal_reaching.json", _of_planning),
]
