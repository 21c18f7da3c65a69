"""Figures of matplotlib without a screen and without pyplot's global state."""

from pathlib import Path
from typing import Any

from visionkit.viz.palette import class_color


def new_figure(size: tuple[float, float], rows: int = 1) -> tuple[Any, Any]:
    """A figure of (width, height) inches and its axes, one for each row."""
    from matplotlib.figure import Figure  # no pyplot: a Figure of its own draws with Agg and leaves nothing behind

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows)


def curve_color(k: int) -> tuple[float, ...]:
    """The k-th colour, red, green, blue in 0 ... 1."""
    return tuple(c / 255 for c in class_color(k))


def save(figure: Any, path: str | Path) -> Path:
    """Writes the picture and returns its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
