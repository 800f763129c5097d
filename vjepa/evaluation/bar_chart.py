"""A chart of scores beside a table, as SVG: horizontal bars with their intervals."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

# Of series; the run card gives runs the same.
COLOURS = ("#1f6fb4", "#d9541e", "#2e8b57", "#8e4bb8", "#b8860b", "#c2185b")
WIDTH, LEFT, RIGHT = 760, 180, 50  # room for names and numbers
THICKNESS, PITCH, TITLE = 12, 16, 52
STYLE = "text{font:11px system-ui,sans-serif;fill:#333}.title{font-size:13px;font-weight:600}"


class Bar(NamedTuple):
    name: str  # of its column, which has a colour
    value: float  # 0 to 1, as the next two
    low: float
    high: float


def bar_over_seeds(name: str, values: Sequence[float]) -> Bar:
    """The mean of two scores or more, with one standard deviation to both sides within 0 and 1."""
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    return Bar(name, mean, max(0.0, mean - deviation), min(1.0, mean + deviation))


class BarRow(NamedTuple):
    name: str
    bars: Sequence[Bar]


class Chart(NamedTuple):
    title: str
    rows: Sequence[BarRow]
    chance: float | None = None


def bar_charts(charts: Sequence[Chart]) -> str:
    """Charts below each other, as the text of an SVG file; values are shown in %."""
    parts, top = [], 0.0
    for chart in charts:
        drawn, height = _chart(chart)
        parts.append(f'<g transform="translate(0 {top:.0f})">{drawn}</g>')
        top += height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(charts[0].title)}"><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{top:.0f}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _chart(chart: Chart) -> tuple[str, float]:
    names = list(dict.fromkeys(bar.name for row in chart.rows for bar in row.bars))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    bottom = TITLE + sum(PITCH * len(row.bars) + 10 for row in chart.rows)
    parts = [f'<text x="8" y="16" class="title">{escape(chart.title)}</text>']
    x = float(LEFT)
    for name in names if len(names) > 1 else ():
        parts.append(f'<rect x="{x:.0f}" y="24" width="10" height="10" fill="{colours[name]}"/>')
        parts.append(f'<text x="{x + 14:.0f}" y="33">{escape(name)}</text>')
        x += 30 + 6.5 * len(name)
    for tick in range(0, 101, 20):
        parts.append(_vertical(_x(tick / 100), bottom, "#e3e3e3"))
        parts.append(f'<text x="{_x(tick / 100):.1f}" y="{bottom + 13:.0f}" text-anchor="middle">{tick} %</text>')
    y = float(TITLE)
    for row in chart.rows:
        middle = y + len(row.bars) * PITCH / 2 + 2
        parts.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(row.name)}</text>')
        for bar in row.bars:
            width, line = _x(bar.value) - LEFT, y + THICKNESS / 2
            parts.append(
                f'<rect x="{LEFT}" y="{y:.0f}" width="{width:.1f}" height="{THICKNESS}" fill="{colours[bar.name]}"/>'
                f'<path d="M{_x(bar.low):.1f} {line}H{_x(bar.high):.1f}" stroke="#222"/>'
                f'<text x="{_x(max(bar.value, bar.high)) + 5:.1f}" y="{y + 10:.0f}">{100 * bar.value:.1f}</text>'
            )
            y += PITCH
        y += 10
    if chart.chance is not None:
        parts.append(_vertical(_x(chart.chance), bottom, "#888", ' stroke-dasharray="3 3"'))
        parts.append(f'<text x="{_x(chart.chance) + 3:.1f}" y="{TITLE - 6}">chance</text>')
    return "".join(parts), bottom + 24


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)


def _vertical(x: float, bottom: float, colour: str, more: str = "") -> str:
    return f'<path d="M{x:.1f} {TITLE - 4}V{bottom:.0f}" stroke="{colour}"{more}/>'
