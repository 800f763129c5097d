"""Bands of healthy runs of a recipe: a median and percentiles of each logged quantity over the run."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from vjepa.data.atomic_file import new_file
from vjepa.data.video.storage import where_looked_for
from vjepa.monitoring.health.run_curves import curves_by_step

NUM_POINTS = 41  # over a run: every 2.5 %
LOW, HIGH = 10, 90  # percentiles of a band
NEARBY = np.linspace(-0.05, 0.05, 9)  # readings around a point count too: a run scatters within itself
NO_QUANTITIES = ("health/verdict", "health/outside_bands", "health/rewinds")

Curve = tuple[np.ndarray, np.ndarray]  # (K,) fractions of the run, (K,) values


class Band(NamedTuple):
    """Of one quantity, at each point of the run; NaN where no run has a value."""

    median: list[float]
    low: list[float]
    high: list[float]


class HealthBands(NamedTuple):
    """Bands of one recipe; `places` are fractions of the run, from 0 to 1."""

    num_runs: int
    places: list[float]
    bands: dict[str, Band]

    def at(self, name: str, progress: float) -> tuple[float, float, float]:  # median, low, high
        band = self.bands[name]
        median, low, high = (float(np.interp(progress, self.places, values)) for values in band)
        return median, low, high

    def outside(
        self,
        values: Mapping[str, float],  # by their names in the logs
        progress: float,  # fraction of the run that is done
    ) -> tuple[dict[str, float], int]:  # values outside their bands, and how many were compared
        outside, compared = {}, 0
        for name in self.bands.keys() & values.keys():
            _, low, high = self.at(name, progress)
            if math.isfinite(low) and math.isfinite(high):
                compared += 1
                if not low <= values[name] <= high:
                    outside[name] = values[name]
        return outside, compared


def bands_of_runs(runs: Sequence[Path]) -> HealthBands:
    """Median and 10 to 90 % of each quantity, over runs of a recipe and readings near each point.

    Raises ValueError where a run has none.
    """
    curves = [curves_of_run(run) for run in runs]
    points = np.linspace(0, 1, NUM_POINTS)
    bands = {}
    for name in sorted({name for run_curves in curves for name in run_curves}):
        values = np.stack(
            [
                _at_points(run_curves[name], np.clip(points + nearby, 0, 1))
                for run_curves in curves
                if name in run_curves
                for nearby in NEARBY
            ]
        )
        known = np.isfinite(values).any(axis=0)
        percentiles = np.full((3, NUM_POINTS), np.nan)
        percentiles[:, known] = np.nanpercentile(values[:, known], (50, LOW, HIGH), axis=0)
        bands[name] = Band(*percentiles.tolist())
    return HealthBands(len(runs), points.tolist(), bands)


def write_bands(bands: HealthBands, file: Path) -> None:
    """Write a small JSON file, with four digits."""
    content = {
        "num_runs": bands.num_runs,
        "places": [round(place, 4) for place in bands.places],
        "bands": {
            name: {part: [_short(value) for value in values] for part, values in band._asdict().items()}
            for name, band in bands.bands.items()
        },
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with new_file(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1).replace("\n    ", " ").replace("\n   ]", "]") + "\n")


def read_bands(file: Path) -> HealthBands:
    """Raises ValueError where the file is not one of `write_bands`."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        bands = {
            name: Band(
                *([math.nan if value is None else float(value) for value in band[part]] for part in Band._fields)
            )
            for name, band in content["bands"].items()
        }
        return HealthBands(int(content["num_runs"]), [float(place) for place in content["places"]], bands)
    except FileNotFoundError:
        raise ValueError(
            f"there is no file of health bands {file}{where_looked_for(str(file))}; give "
            f"--collapse_monitor.bands=FILE, or null for none (`vjepa health-bands` writes one from runs)"
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} holds no health bands ({error!r}); write it with `vjepa health-bands`") from None


def folders_of_runs(paths: Sequence[Path]) -> list[Path]:
    """The folders with event files at or below these. Raises ValueError where a path has none."""
    folders: list[Path] = []
    for path in paths:
        found = sorted({file.parent for file in path.rglob("events.out.tfevents.*")}) if path.is_dir() else []
        if not found:
            raise ValueError(f"there are no TensorBoard events in {path}; give folders of runs, e.g. runs/synthetic")
        folders += [folder for folder in found if folder not in folders]
    return folders


def curves_of_run(run: Path) -> dict[str, Curve]:
    """Losses and health of a run over its length."""
    values = {
        name: by_step for name, by_step in curves_by_step(run).items() if name.startswith(("health/", "train/loss"))
    }
    if not values:
        raise ValueError(f"the events in {run} hold no health/... and no train/loss; give a folder of `vjepa fit`")
    length = _length_of(run) or max(max(by_step) for by_step in values.values()) or 1
    return {
        name: (np.array(sorted(by_step)) / length, np.array([by_step[step] for step in sorted(by_step)]))
        for name, by_step in values.items()
        if name not in NO_QUANTITIES
    }


def draw_over_bands(
    run: Path,
    bands: HealthBands,
    picture: Path,
    names: Sequence[str] | None = None,
) -> None:
    """A panel for each quantity: the band of healthy runs, their median, and the run. All quantities if None."""
    from vjepa.evaluation.figures import require_matplotlib, save_figure

    plt = require_matplotlib()
    curves = curves_of_run(run)
    drawn = [name for name in (names or sorted(bands.bands)) if name in bands.bands]
    if not drawn:
        raise ValueError(f"none of {', '.join(names or ())} has a band; there are {', '.join(sorted(bands.bands))}")
    columns = min(4, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.4 * rows + 0.5), squeeze=False)
    # By hand: an automatic layout of so many panels takes longer than drawing them.
    figure.subplots_adjust(0.03, 0.2 / rows, 0.99, 1 - 0.3 / rows, wspace=0.2, hspace=0.4)
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, drawn, strict=False):
        band = bands.bands[name]
        axis.fill_between(bands.places, band.low, band.high, alpha=0.25, color="tab:green", linewidth=0)
        axis.plot(bands.places, band.median, color="tab:green", linewidth=1)
        if name in curves:
            axis.plot(*curves[name], color="tab:blue", linewidth=1)
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    figure.suptitle(
        f"{run} (blue) over {bands.num_runs} healthy runs (green: median, {LOW} to {HIGH} %); fraction of the run",
        fontsize=9,
    )
    save_figure(figure, picture)


def _length_of(run: Path) -> int | None:
    """`max_steps` of the run, which it may not have reached."""
    settings = run / "config.yaml"
    if not settings.is_file():
        return None
    trainer: Any = (yaml.safe_load(settings.read_text(encoding="utf-8")) or {}).get("trainer") or {}
    steps = trainer.get("max_steps")
    return steps if isinstance(steps, int) and steps > 0 else None


def _at_points(curve: Curve, points: np.ndarray) -> np.ndarray:
    """Values between readings; NaN more than a point before the first and after the last one."""
    fractions, values = curve
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(len(points), np.nan)
    fractions, values = fractions[finite], values[finite]
    near = 1 / (NUM_POINTS - 1)
    result = np.interp(points, fractions, values)
    result[(points < fractions[0] - near) | (points > fractions[-1] + near)] = np.nan
    return result


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
