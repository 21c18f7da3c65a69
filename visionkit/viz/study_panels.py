"""Several columns of a study side by side, a panel each: the lecture's training time, test time and mAP."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from visionkit.viz.figure import curve_color, new_figure, save

LOG_FROM = 20  # values this many times apart are drawn on a logarithmic axis

Cell = tuple[float | None, float | None]  # mean, spread over seeds


def plot_panels(names: Sequence[str], columns: Mapping[str, Sequence[Cell]], path: str | Path) -> Path:
    """A bar for each run in each panel, its value beside it; the runs from top to bottom in the order of the table."""
    figure, _ = new_figure((3.6 * len(columns) + 1.2, max(2.2, 0.45 * len(names) + 1.2)))
    figure.clear()
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for i, (axis, (column, cells)) in enumerate(zip(axes, columns.items(), strict=True)):
        known = [mean for mean, _ in cells if mean is not None]
        positive = [value for value in known if value > 0]
        logarithmic = len(positive) == len(known) > 1 and max(positive) > LOG_FROM * min(positive)
        left = min(positive) / 3 if logarithmic else 0.0
        most = max(known, default=1.0) or 1.0
        for y, (mean, spread) in enumerate(cells):
            if mean is not None:
                axis.barh(y, mean - left, left=left, xerr=spread, color=curve_color(i + 1), capsize=3)
            end = left if mean is None else mean + (spread or 0.0)
            text = "n/a" if mean is None else f"{mean:,.0f}" if abs(mean) >= 100 else f"{mean:.3g}"
            axis.annotate(text, (end, y), xytext=(4, 0), textcoords="offset points", va="center")
        if logarithmic:
            axis.set_xscale("log")
        axis.set(xlim=(left or 0.0, most * (8 if logarithmic else 1.35)), xlabel=column)
        axis.set_yticks(range(len(names)), list(names))
        axis.set_ylim(max(len(names), 1) - 0.4, -0.6)
    return save(figure, path)
