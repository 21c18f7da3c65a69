"""True against estimated counts."""

from pathlib import Path

import numpy as np

from visionkit.viz.figure import curve_color, new_figure, save


def plot_counts(truth: np.ndarray, found: np.ndarray, path: str | Path) -> Path:
    """A dot for each picture, true count (N,) across and estimate (N,) up; on the line they agree."""
    truth, found = np.asarray(truth, float), np.asarray(found, float)
    figure, axes = new_figure((5.5, 5))
    most = 1.05 * max(1.0, truth.max(initial=0), found.max(initial=0))
    axes.plot([0, most], [0, most], color="0.6", linewidth=1)
    axes.scatter(truth, found, s=14, alpha=0.7, color=curve_color(1))
    error = f"mean absolute error {np.abs(found - truth).mean():.2f}" if len(truth) else "no pictures"
    axes.set(xlabel="true count", ylabel="estimate", xlim=(0, most), ylim=(0, most), title=error)
    return save(figure, path)
