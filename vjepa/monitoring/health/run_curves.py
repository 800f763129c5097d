"""The curves of a run, from its TensorBoard events or the CSV file of Lightning's CSVLogger."""

import csv
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def curves_by_step(run: Path) -> dict[str, dict[int, float]]:  # by scalar and step
    """All scalars in a run's folder. Of a step that was written twice, by a resumed run, the last value counts.

    Raises ValueError where `metrics.csv` is no table of numbers by step.
    """
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    curves = {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
    table = run / "metrics.csv"
    return curves if curves or not table.exists() else _of_table(table)


def _of_table(table: Path) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                step = int(float(row.pop("step")))
                for name, value in row.items():
                    if value:
                        curves.setdefault(name, {})[step] = float(value)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{table}, line {line}, is no row of numbers with a 'step' ({error}); mend it, or move it away"
                ) from None
    return curves
