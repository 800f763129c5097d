"""Curves of runs as SVG: a small panel for each quantity, over the band of healthy runs."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 8, 24  # margins of the plot
MOST_POINTS = 240  # of a line; more are averaged
LOG_RATIO = 50  # largest over smallest value from which on an axis is logarithmic

Curve = Mapping[int, float]  # by step


class Line(NamedTuple):
    name: str
    curve: Curve
    colour: str
    dashed: bool = False


class Band(NamedTuple):
    """Healthy runs at several steps."""

    steps: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray


def panel(title: str, caption: str, lines: Sequence[Line], steps: int, band: Band | None = None) -> str:
    """A figure of HTML with an SVG plot from step 0 to `steps`, its title and what the quantity means."""
    steps = max(1, steps)
    drawn = [(line, *_thinned(line.curve)) for line in lines]
    values = np.concatenate([each for _, _, each in drawn] + ([] if band is None else [band.low, band.high]))
    values = values[np.isfinite(values)]
    last = ", ".join(_number(line.curve[max(line.curve)]) for line in lines if line.curve)
    head = f'<figcaption><b>{escape(title)}</b> <span class="last">{last}</span><br>{escape(caption)}</figcaption>'
    if not len(values):
        return f'<figure class="panel"><p class="none">no finite value</p>{head}</figure>'
    axis = _Axis(values)
    parts = [axis.grid(steps)]
    if band is not None:
        inside = np.isfinite(band.low) & np.isfinite(band.high) & (band.steps <= steps * 1.001)
        x = _x(band.steps[inside], steps)
        if len(x) > 1:
            around = [*_points(x, axis.y(band.high[inside])), *_points(x, axis.y(band.low[inside]))[::-1]]
            parts.append(f'<polygon class="band" points="{" ".join(around)}"/>')
            parts.append(f'<polyline class="median" points="{" ".join(_points(x, axis.y(band.median[inside])))}"/>')
    for line, at, each in drawn:
        known = np.isfinite(each)
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        points = _points(_x(at[known], steps), axis.y(each[known]))
        if len(points) == 1:
            left, top = points[0].split(",")
            parts.append(f'<circle cx="{left}" cy="{top}" r="3" fill="{line.colour}"/>')
        style = f'fill="none" stroke="{line.colour}" stroke-width="1.6"{dash}'
        parts.append(f'<polyline points="{" ".join(points)}" {style}><title>{escape(line.name)}</title></polyline>')
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f'<figure class="panel">{head}{svg}</figure>'


class _Axis:
    """Values to pixels, linear, or logarithmic where they span several orders of magnitude."""

    def __init__(self, values: np.ndarray):
        low, high = float(values.min()), float(values.max())
        self.is_log = low > 0 and high / low > LOG_RATIO
        if self.is_log:
            self.low, self.high = math.log10(low), math.log10(high)
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            shown = [10.0**each for each in decades if self.low - 0.02 <= each <= self.high + 0.02]
            self.ticks = shown[:: -(-len(shown) // 5)] if shown else [low, high]
        else:
            if high - low < 1e-9 * max(1.0, abs(high)):
                low, high = low - max(0.5, abs(low) / 2), high + max(0.5, abs(high) / 2)
            step = _round_step((high - low) / 4)
            self.low, self.high = low, high
            first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
            self.ticks = [step * number for number in range(first, last + 1)]

    def y(self, values: np.ndarray) -> np.ndarray:
        given = np.log10(np.maximum(values, 1e-300)) if self.is_log else values
        return TOP + (self.high - given) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def grid(self, steps: float) -> str:
        parts = []
        for tick in self.ticks:
            y = float(self.y(np.array([tick]))[0])
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
            parts.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{_number(tick)}</text>')
        for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
            x = LEFT + part * (WIDTH - LEFT - RIGHT)
            text = f"{round(steps * part):,}" + (" steps" if part == 1 else "")
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 7}" text-anchor="{anchor}">{text}</text>')
        return "".join(parts)


def _x(at: np.ndarray, steps: float) -> np.ndarray:
    return LEFT + at / steps * (WIDTH - LEFT - RIGHT)


def _points(x: np.ndarray, y: np.ndarray) -> list[str]:
    return [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]


def _thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values in their order, means of neighbours where there are too many to see."""
    steps = np.array(sorted(curve), dtype=float)
    values = np.array([curve[int(step)] for step in steps], dtype=float)
    if len(steps) <= MOST_POINTS:
        return steps, values
    parts = np.array_split(np.arange(len(steps)), MOST_POINTS)
    return np.array([steps[part].mean() for part in parts]), np.array([values[part].mean() for part in parts])


def _round_step(size: float) -> float:
    """The next of 1, 2, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * 0.999)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 10000 and abs(value) < 1e7 else f"{value:.3g}"
