"""Results of surprise as tables and files."""

from pathlib import Path

from vjepa.evaluation.results import print_table, write_results
from vjepa.evaluation.surprise.evaluation import (
    MEAN,
    CalibrationResult,
    PropertyResult,
    SurpriseResults,
)
from vjepa.evaluation.surprise.scores import LOCATED_WITHIN, VERDICTS, Interval

CALIBRATION_COLUMNS = ("row", "kind", "clips", *(f"{name}{end}" for name in VERDICTS for end in ("", "_low", "_high")))


def print_tables(results: SurpriseResults, title: str) -> None:
    """Pairwise accuracy of all rows; details of the first row, the model; verdicts of all rows."""
    cells = {(each.property, each.is_harmless, each.row): each for each in results.properties}
    rows = list(dict.fromkeys(each.row for each in results.properties))
    properties = sorted(dict.fromkeys(key[:2] for key in cells), key=lambda key: (key[1], key[0] == MEAN))
    print_table(
        f"{title}: pairs whose impossible clip surprises more, in % (harmless changes: should be 45 to 55)",
        ["property", "pairs", *rows],
        [
            [
                _named(*key),
                str(cells[*key, rows[0]].num_pairs),
                *(_percent(cells[*key, row].scores.accuracy) for row in rows),
            ]
            for key in properties
        ],
        no_wrap=1,
    )
    model = [cells[*key, rows[0]] for key in properties]
    print_table(
        f"{rows[0]}, with 95 % intervals over pairs",
        ["property", "accuracy %", "AUROC", f"located within {LOCATED_WITHIN} frames %", "by its own curve %"],
        [
            [
                _named(each.property, each.is_harmless),
                f"{_percent(each.scores.accuracy)} [{', '.join(map(_percent, each.scores.accuracy_interval))}]",
                f"{each.scores.auroc:.3f} [{each.scores.auroc_interval[0]:.3f}, {each.scores.auroc_interval[1]:.3f}]",
                _percent(each.located),
                _percent(each.located_alone),
            ]
            for each in model
        ],
    )
    print(f"pairs by {model[0].pair_setting}; single clips by {model[0].clip_setting}")
    groups = [
        f"{each.property} {_percent(1 - each.group_accuracy)}" for each in model if each.group_accuracy is not None
    ]
    if groups:
        print(f"relative error rate of groups in %: {', '.join(groups)}")
    if results.calibration:
        print_table(
            "single test clips in % (possible ones should be 90, 9 and 1)",
            ["row", "clips", *VERDICTS],
            [
                [f"{each.row}, {each.kind}", str(each.num_clips), *(_with_interval(each, name) for name in VERDICTS)]
                for each in results.calibration
            ],
        )


def write_files(results: SurpriseResults, folder: Path, facts: dict[str, object]) -> None:
    """`results.csv` (a line per row and property), `calibration.csv`, `clips.csv`, and `results.json`."""
    properties = [_property_row(each) for each in results.properties]
    calibration = [_calibration_row(each) for each in results.calibration]
    tables = {"results.csv": (tuple(properties[0]), properties), "clips.csv": (tuple(results.clips[0]), results.clips)}
    if calibration:
        tables["calibration.csv"] = (CALIBRATION_COLUMNS, calibration)
    listed = [each._asdict() | {"scores": each.scores._asdict()} for each in results.properties]
    write_results(folder, facts | {"calibration": [each._asdict() for each in results.calibration]}, listed, tables)


def _property_row(each: PropertyResult) -> dict[str, object]:
    scores = each.scores
    return {
        "row": each.row,
        "property": each.property,
        "harmless": int(each.is_harmless),
        "pairs": each.num_pairs,
        "accuracy": _number(scores.accuracy),
        **_ends("accuracy", scores.accuracy_interval),
        "auroc": _number(scores.auroc),
        **_ends("auroc", scores.auroc_interval),
        "group_accuracy": _number(each.group_accuracy),
        "located": _number(each.located),
        "located_alone": _number(each.located_alone),
        "pair_setting": each.pair_setting,
        "clip_setting": each.clip_setting,
    }


def _calibration_row(each: CalibrationResult) -> dict[str, object]:
    row: dict[str, object] = {"row": each.row, "kind": each.kind, "clips": each.num_clips}
    for name in VERDICTS:
        row |= {name: _number(each.fractions[name]), **_ends(name, each.intervals[name])}
    return row


def _named(property: str, is_harmless: bool) -> str:
    return f"{property}, harmless" if is_harmless else property


def _ends(name: str, interval: Interval) -> dict[str, str]:
    return {f"{name}_low": _number(interval[0]), f"{name}_high": _number(interval[1])}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _with_interval(each: CalibrationResult, name: str) -> str:
    low, high = each.intervals[name]
    return f"{100 * each.fractions[name]:.1f} [{100 * low:.0f}, {100 * high:.0f}]"
