"""Pictures of what a classifier takes for what, and of how well it knows how sure it may be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.viz.figure import curve_color, new_figure, save

NAMED = 40  # classes whose names fit beside the matrix
COUNTED = 20  # classes whose counts fit into its cells
CELLS = 250  # cells a side beyond which single ones cannot be seen
LETTERS = 24  # of a class name


def plot_confusion(names: Sequence[str], counts: np.ndarray, path: str | Path, pairs: Sequence[str] = ()) -> Path:
    """The confusion matrix, each row as shares of its class's pictures; the darker, the more.

    Args:
        names: K classes. Up to 40 are written at the axes; of more, the most confused pairs stand beside the matrix.
        counts: (K, K), rows are the true classes, columns the found ones. Rows without pictures are grey.
        pairs: lines of text, the most confused pairs, worst first; of names that `short_name` gave.
    """
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    total = counts.sum(axis=1, keepdims=True)  # (K, 1)
    shares = np.where(total > 0, counts / np.maximum(total, 1), np.nan)  # (K, K)
    few, count = len(names) <= NAMED, len(names)
    side = max(4.0, 0.4 * count + 2) if few else 8.0
    figure, axes = new_figure((side + (1.0 if few else 4.0), side))
    colors = colormaps["Blues"].with_extremes(bad="#dddddd")
    shown, block = _coarse(shares)
    norm = PowerNorm(0.5, 0, 1)  # the square root: single mistakes are seen beside the diagonal
    end = block * len(shown) - 0.5
    drawn = axes.imshow(shown, cmap=colors, norm=norm, interpolation="nearest", extent=(-0.5, end, end, -0.5))
    if count > COUNTED:
        figure.colorbar(drawn, ax=axes, location="bottom", aspect=40, shrink=0.6, label="share of the true class")
    title = f"Confusion of {count} classes, {int(counts.sum())} pictures"
    axes.set(xlabel="found", ylabel="truth", title=title, xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    if few:
        short = [short_name(name) for name in names]
        axes.set_xticks(range(count), short, rotation=90, fontsize="small")
        axes.set_yticks(range(count), short, fontsize="small")
        if count <= COUNTED:
            _write_counts(axes, counts, shares)
    else:
        text = "\n".join(["most often taken for another class", *(f"  {pair}" for pair in pairs)])
        if block > 1:
            text += f"\n\none cell is {block} x {block} classes,\nas dark as the darkest of them"
        axes.text(1.04, 1.0, text, transform=axes.transAxes, va="top", fontsize=8, family="monospace")
    return save(figure, path)


def plot_reliability(
    counts: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray, path: str | Path, error: float | None
) -> Path:
    """Accuracy against confidence, and how many pictures there are of each confidence (Guo et al. 2017, fig. 1).

    Args:
        counts, confidence, accuracy: (M,) of bins of equal width over 0 ... 1; means of empty ones are NaN.
        error: the expected calibration error, for the title.
    """
    bins = len(counts)
    middles, filled = (np.arange(bins) + 0.5) / bins, counts > 0
    figure, (upper, lower) = new_figure((5, 7), rows=2)
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", label="right as often as sure")
    upper.bar(middles[filled], accuracy[filled], 1 / bins, color=curve_color(1), edgecolor="white", label="accuracy")
    low, high = np.minimum(accuracy, confidence)[filled], np.maximum(accuracy, confidence)[filled]
    look = {"facecolor": "none", "edgecolor": curve_color(0), "hatch": "///", "label": "gap to confidence"}
    upper.bar(middles[filled], high - low, 1 / bins, low, **look)
    shown = "n/a" if error is None else f"{error:.3f}"
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"Reliability, calibration error {shown}")
    upper.legend(fontsize="small", loc="upper left")
    lower.bar(middles, counts, 1 / bins, color=curve_color(1), edgecolor="white")
    lower.set(xlim=(0, 1), xlabel="confidence: probability of the best class", ylabel="pictures")
    return save(figure, path)


def short_name(name: str) -> str:
    """A class name that leaves room for the picture beside it."""
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def _coarse(shares: np.ndarray) -> tuple[np.ndarray, int]:
    """(K, K) -> at most `CELLS` a side: the largest share of each block of classes; and the side of a block."""
    block = max(1, -(-len(shares) // CELLS))
    if block == 1:
        return shares, 1
    padding = -len(shares) % block
    padded = np.pad(shares, (0, padding), constant_values=np.nan)
    blocks = padded.reshape(len(padded) // block, block, -1, block)
    with np.errstate(invalid="ignore"):
        return np.fmax.reduce(np.fmax.reduce(blocks, axis=3), axis=1), block  # NaN where all are


def _write_counts(axes: Any, counts: np.ndarray, shares: np.ndarray) -> None:
    for truth, found in zip(*np.nonzero(counts), strict=True):
        ink = "white" if shares[truth, found] > 0.4 else "black"
        axes.text(found, truth, str(counts[truth, found]), ha="center", va="center", color=ink, fontsize="small")
