"""The picture of label efficiency: accuracy by labels, a curve for each number of unlabelled clips."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.evaluation.figures import require_matplotlib, save_figure
from vjepa.evaluation.label_efficiency.label_efficiency import Curve, LabelEfficiency

BLUES = (0.95, 0.45)  # of the colour map, from the most unlabelled clips to the fewest


def draw_label_efficiency(result: LabelEfficiency, headline: int, picture: Path) -> None:
    """Means over seeds with their standard deviation; an arrow at the amount of labels of this number."""
    plt = require_matplotlib()
    figure, axis = plt.subplots(figsize=(9, 6), constrained_layout=True)
    shades = plt.get_cmap("Blues")(np.linspace(*BLUES, len(result.pretrained))[::-1])
    for curve, colour in zip(result.pretrained, shades, strict=True):
        _draw(axis, result, curve, color=colour, marker="o", linewidth=2.2)
    _draw(axis, result, result.supervised, color="tab:red", marker="s", linewidth=2.2)
    _draw(axis, result, result.untrained, color="grey", marker="^", linewidth=1.2, linestyle="--")
    axis.axhline(100 * result.chance, color="grey", linewidth=0.8, linestyle=":")
    axis.text(result.labels[0], 100 * result.chance + 0.6, "chance", color="grey", fontsize=9)
    _draw_arrow(axis, result, headline)
    axis.set_xscale("log")
    axis.set_xticks(result.labels, [f"{round(count)}" for count in result.labels])
    axis.minorticks_off()
    axis.set_xlabel("labelled clips of each class", fontsize=12)
    axis.set_ylabel("accuracy on test clips, %", fontsize=12)
    axis.set_title(title(result, headline), fontsize=13)
    axis.set_ylim(0, None)
    axis.set_xlim(0.85 * result.labels[0], result.labels[-1] * (result.labels[-1] / result.labels[0]) ** 0.4)
    axis.spines[["top", "right"]].set_visible(False)  # names of curves are there
    axis.grid(alpha=0.3)
    _name_curves(axis, result, [*shades, "dimgrey", "tab:red"])
    save_figure(figure, picture)


def title(result: LabelEfficiency, headline: int) -> str:
    """The number of the picture, in a sentence."""
    saved = result.saved(result.pretrained[-1], headline).mean
    seeds = f" (mean of {len(result.seeds)} seeds)" if len(result.seeds) > 1 else ""
    return (
        f"{round(result.labels[headline])} labels per class after pretraining\n"
        f"are worth {saved.words} × as many without it{seeds}"
    )


def _draw(axis: Any, result: LabelEfficiency, curve: Curve, **style: Any) -> None:
    values = 100 * np.array([curve.at(number) for number in range(len(result.labels))])  # (amounts, seeds)
    mean = values.mean(axis=1)
    axis.plot(result.labels, mean, **style)
    if values.shape[1] > 1:
        std = values.std(axis=1, ddof=1)
        axis.fill_between(result.labels, mean - std, mean + std, color=style["color"], alpha=0.15, linewidth=0)


def _draw_arrow(axis: Any, result: LabelEfficiency, headline: int) -> None:
    """From the probe to where the better line without pretraining has the same accuracy, or beyond its end."""
    best = result.pretrained[-1]
    used, height = result.labels[headline], 100 * float(np.mean(best.at(headline)))
    saved = result.saved(best, headline).mean
    needed = used * saved.number
    if saved.number <= 1:
        return
    arrow = {"arrowstyle": "->", "color": "black", "linewidth": 1.4, "shrinkA": 7, "shrinkB": 0}
    axis.annotate("", xy=(needed, height), xytext=(used, height), arrowprops=arrow, zorder=5)
    mark = {"": "", ">": "> ", "<": "< "}[saved.bound]
    axis.text(
        (used * needed) ** 0.5,
        height - 1,
        f"{mark}{saved.shown} × fewer labels",
        ha="center",
        va="top",
        fontsize=12,
        fontweight="bold",
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
        zorder=6,
    )


def _name_curves(axis: Any, result: LabelEfficiency, colours: list[Any]) -> None:
    """Beside their last points, moved apart where they are too near to be read."""
    heights = np.array([100 * float(np.mean(curve.at(-1))) for curve in result.curves])
    order = np.argsort(heights)
    low, high = axis.get_ylim()
    least = 0.042 * (high - low)
    places = heights.copy()
    for below, above in pairwise(order.tolist()):
        places[above] = max(places[above], places[below] + least)
    places -= max(0.0, float(places.max()) - (high - 0.5 * least))
    for curve, colour, height, place in zip(result.curves, colours, heights, places, strict=True):
        axis.annotate(
            curve.name,
            xy=(result.labels[-1], height),
            xytext=(1.12 * result.labels[-1], place),
            color=colour,
            fontsize=10,
            va="center",
            fontweight="bold",
        )
