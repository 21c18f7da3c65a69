"""The curve of a learning-rate sweep."""

from collections.abc import Sequence
from pathlib import Path

from visionkit.viz.figure import curve_color, new_figure, save


def plot_lr(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    path: str | Path,
    marks: Sequence[tuple[str, float]] = (),
) -> Path:
    """Loss against learning rate on a logarithmic axis. `marks`: rates to mark with a line, and what they are."""
    figure, axes = new_figure((8, 5))
    axes.plot(rates, losses, color=curve_color(0), alpha=0.3, label="loss of a step")
    axes.plot(rates, smoothed, color=curve_color(0), label="smoothed")
    for k, (name, rate) in enumerate(marks, 1):
        axes.axvline(rate, color=curve_color(k), linestyle="--", label=f"{name}: {rate:.2e}")
    low, high = min(losses, default=0.0), max(smoothed, default=1.0)  # single losses leave at the top
    room = 0.15 * (high - low) or 1.0
    axes.set(xscale="log", ylim=(low - room, high + room), xlabel="learning rate", ylabel="loss")
    axes.set_title("Learning-rate sweep")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    return save(figure, path)
