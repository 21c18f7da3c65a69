"""Curves of what proposals cover, over the number of proposals (Hosang et al., TPAMI 2016, fig. 8)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from visionkit.viz.figure import curve_color, new_figure, save

Curve = tuple[np.ndarray, np.ndarray]  # (C,) proposals an image, (C,) recall


def plot_recall(panels: Mapping[str, Mapping[str, Curve]], path: str | Path) -> Path:
    """One panel for each title, such as "IoU 0.5"; in it, name -> curve. Points without a number (NaN) are left out."""
    figure, grid = new_figure((7.5, 4 * len(panels)), rows=len(panels))
    for axes, (title, curves) in zip(np.atleast_1d(grid), panels.items(), strict=True):
        for k, (name, (counts, recall)) in enumerate(curves.items()):
            shown = (np.asarray(counts) > 0) & np.isfinite(recall)
            axes.plot(
                np.asarray(counts)[shown],
                np.asarray(recall)[shown],
                color=curve_color(k),
                marker="o",
                markersize=3,
                label=name,
            )
        axes.set_xscale("log")
        axes.set(xlabel="proposals an image", ylabel="recall", ylim=(0, 1.02), title=f"recall at {title}")
        axes.grid(alpha=0.3)
        if curves:
            axes.legend(fontsize="small")
    return save(figure, path)
