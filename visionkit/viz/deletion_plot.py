"""Curves of deletion and insertion, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from visionkit.viz.figure import curve_color, new_figure, save


def plot_deletion(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | Path) -> Path:
    """Mean probability against the share of pixels. `curves`: method -> (deletion, insertion), each (steps + 1,); the
    legends give the areas under them, best first. Draws a file and returns its path."""
    figure, grid = new_figure((7, 8), rows=2)
    for which, (axes, title) in enumerate(zip(grid, ("deletion", "insertion"), strict=True)):
        areas = {name: _area(pair[which]) for name, pair in curves.items()}
        order = sorted(curves, key=lambda name: areas[name], reverse=which == 1)
        for name in order:
            values = np.asarray(curves[name][which], float)
            color = curve_color(list(curves).index(name))
            axes.plot(np.linspace(0, 1, len(values)), values, color=color, label=f"{name} {areas[name]:.3f}")
        wanted = "lower is better" if which == 0 else "higher is better"
        axes.set(xlabel="share of pixels", ylabel="probability", xlim=(0, 1), ylim=(0, 1), title=f"{title}: {wanted}")
        axes.grid(alpha=0.3)
        if order:
            axes.legend(fontsize="small")
    return save(figure, path)


def _area(values: Sequence[float]) -> float:
    points = np.asarray(values, float)
    return float((points[1:] + points[:-1]).mean() / 2)
