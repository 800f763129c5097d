"""Figures drawn with matplotlib, an optional dependency."""

from pathlib import Path
from types import ModuleType
from typing import Any

from vjepa.data.atomic_file import new_file


def require_matplotlib() -> ModuleType:
    """`matplotlib.pyplot`, without a display. Raises ValueError where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise ValueError("pictures need matplotlib; install it with `pip install matplotlib`") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save_figure(figure: Any, file: Path) -> None:
    """Write a figure as PNG and close it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with new_file(file) as temporary:
        figure.savefig(temporary, format="png", dpi=80)
    require_matplotlib().close(figure)
