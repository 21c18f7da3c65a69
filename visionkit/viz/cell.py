"""A cell as boxes and arrows, and the rewards of a search as curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.viz.figure import curve_color, new_figure, save

Cell = Sequence[Sequence[str | int]]  # each node [operation, map, operation, map]; maps 0 and 1 are the inputs

_WIDTH, _HEIGHT = 1.5, 0.5  # of a box
_COLUMN, _ROW = 3.6, 1.9  # from one node to the next
_INK = "#333333"


def draw_cell(cell: Cell, path: str | Path, title: str = "") -> Path:
    """Draws the cell from the maps of the two cells before it, bottom left, to its output at the top.

    Each map runs to the right from its box as a line of its own colour; the operations applied to it stand on arrows
    that leave the line. So nothing is drawn over a box, and lines meet at right angles only.
    """
    uses = [[(str(a), int(i)), (str(b), int(j))] for a, i, b, j in cell]
    used = {source for pair in uses for _, source in pair}
    places = [(0.0, 0.0), (2.1, 0.9)]  # of each map's box: each has its own column and its own height
    places += [(2.1 + _COLUMN * (i + 0.9), 0.9 + _ROW * (i + 1)) for i in range(len(uses))]
    right, top = places[-1][0] + 1.8, places[-1][1] + 1.2
    figure, axes = new_figure((0.55 * (right + 1), 0.55 * (top + 1.3)))
    axes.set(xlim=(-1, right), ylim=(-0.5, top + 0.5), aspect="equal")
    axes.set_title(title, fontsize=11)
    axes.axis("off")
    for i, (x, y) in enumerate(places):
        _box(axes, x, y, ("previous", "current")[i] if i < 2 else f"+  map {i}", curve_color(i))
        for side, (name, source) in zip((-1, 1), uses[i - 2] if i >= 2 else (), strict=False):
            over, height = x + side * 0.85, y - 0.95
            start, line = places[source]
            axes.plot([start, over], [line, line], color=curve_color(source), linewidth=1.8, zorder=1)
            _arrow(axes, (over, line), (over, height - _HEIGHT / 2), curve_color(source))
            _arrow(axes, (over, height), (x + side * 0.3, y - _HEIGHT / 2), _INK)
            _box(axes, over, height, name, "#f2f2f2", _INK)
        if i not in used:
            _arrow(axes, (x, y), (x, top - _HEIGHT / 2), curve_color(i))
    loose = [place[0] for i, place in enumerate(places) if i not in used]
    span = (loose[0] + loose[-1]) / 2, loose[-1] - loose[0] + _WIDTH
    _box(axes, span[0], top, "output", "white", _INK, width=span[1])
    return save(figure, path)


def plot_rewards(runs: Mapping[str, Sequence[Sequence[float]]], path: str | Path, window: int = 10) -> Path:
    """Reward over samples. `runs`: method -> each seed's rewards; lines are means over seeds, dots single cells."""
    figure, axes = new_figure((8, 4.5))
    for k, (method, seeds) in enumerate(runs.items()):
        rewards = np.array(seeds, dtype=float)  # (S, N)
        steps, color = np.arange(1, rewards.shape[1] + 1), curve_color(k)
        sums = np.cumsum(np.pad(rewards, ((0, 0), (1, 0))), axis=1)  # (S, N + 1)
        first = np.maximum(steps - window, 0)
        running = (sums[:, steps] - sums[:, first]) / (steps - first)  # (S, N)
        best = np.maximum.accumulate(rewards, axis=1)
        axes.plot(np.tile(steps, len(rewards)), rewards.ravel(), ".", color=color, alpha=0.3, markersize=4)
        axes.plot(steps, running.mean(axis=0), color=color, label=f"{method}: mean of the last {window}")
        axes.plot(steps, best.mean(axis=0), color=color, linestyle="--", label=f"{method}: best so far")
    axes.set(xlabel="cells sampled", ylabel="reward (accuracy after a brief training)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return save(figure, path)


def _box(axes: Any, x: float, y: float, text: str, fill: Any, edge: Any = "none", width: float = _WIDTH) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.12"
    corner = (x - width / 2, y - _HEIGHT / 2)
    axes.add_patch(FancyBboxPatch(corner, width, _HEIGHT, boxstyle=style, facecolor=fill, edgecolor=edge, zorder=3))
    light = edge != "none"
    axes.text(x, y, text, ha="center", va="center", zorder=4, color=_INK if light else "white", fontsize=10)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], color: Any) -> None:
    shape = {"arrowstyle": "-|>", "color": color, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=shape, zorder=2)
