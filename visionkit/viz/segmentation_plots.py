"""Plots of a segmentation's numbers: IoU of every class, and which class's pixels were taken for which."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.viz.classification_plots import NAMED, short_name
from visionkit.viz.figure import curve_color, new_figure, save

_WRITTEN = 20  # classes whose shares fit into the cells of a matrix


def plot_class_iou(names: Sequence[str], values: Sequence[float | None], path: str | Path) -> Path:
    """A bar for each class, best first, and their mean; classes without a labelled pixel (None) come last."""
    rows = sorted(zip(names, values, strict=True), key=lambda row: -1.0 if row[1] is None else row[1])
    known = [value for value in values if value is not None]
    figure, axes = new_figure((7, max(2.0, 0.28 * len(rows) + 1)))
    axes.barh(range(len(rows)), [value or 0.0 for _, value in rows], color=curve_color(1))
    axes.set_yticks(range(len(rows)), [short_name(name) for name, _ in rows])
    for y, (_, value) in enumerate(rows):
        axes.text((value or 0.0) + 0.01, y, "n/a (no pixels)" if value is None else f"{value:.3f}", va="center")
    title = "IoU per class"
    if known:
        mean = sum(known) / len(known)
        axes.axvline(mean, color=curve_color(0), linestyle="--")
        title += f", mean {mean:.3f}"
    axes.set(xlim=(0, 1.14), ylim=(-0.6, max(len(rows), 1) - 0.4), xlabel="IoU", title=title)
    return save(figure, path)


def plot_pixel_confusion(names: Sequence[str], confusion: np.ndarray, path: str | Path) -> Path:
    """What share of each class's pixels was taken for which class; the darker, the more.

    Args:
        names: K classes; up to 40 are written at the axes.
        confusion: (K, K), rows are the true classes, columns those found. Rows without pixels are grey.
    """
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    count, total = len(names), confusion.sum(axis=1, keepdims=True)
    shares = np.where(total > 0, confusion / np.maximum(total, 1), np.nan)  # (K, K)
    side = max(4.0, 0.45 * count + 2) if count <= NAMED else 9.0
    figure, axes = new_figure((side + 1, side))
    colors = colormaps["Blues"].with_extremes(bad="#dddddd")
    norm = PowerNorm(0.5, 0, 1)  # the square root: a per cent is seen beside the diagonal
    drawn = axes.imshow(shares, cmap=colors, norm=norm, interpolation="nearest")
    if count > _WRITTEN:
        figure.colorbar(drawn, ax=axes, location="bottom", aspect=40, shrink=0.6, label="share of the true class")
    axes.set(xlabel="found", ylabel="truth", title=f"Pixels of {count} classes, per cent of the true class")
    if count <= NAMED:
        axes.set_xticks(range(count), [short_name(name) for name in names], rotation=90, fontsize="small")
        axes.set_yticks(range(count), [short_name(name) for name in names], fontsize="small")
    if count <= _WRITTEN:
        for truth, found in zip(*np.nonzero(np.nan_to_num(shares) >= 0.005), strict=True):
            ink = "white" if shares[truth, found] > 0.4 else "black"
            text = f"{shares[truth, found] * 100:.0f}"
            axes.text(found, truth, text, ha="center", va="center", color=ink, fontsize="small")
    return save(figure, path)
