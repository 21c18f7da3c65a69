"""Accuracy against the angle by which pictures were turned."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from visionkit.viz.figure import curve_color, new_figure, save


def plot_angles(
    angles: Sequence[float], curves: Mapping[str, Sequence[tuple[float, float]]], path: str | Path, chance: float
) -> Path:
    """A line for each network, with a band of its spread.

    Args:
        angles: degrees.
        curves: by name, the mean and the spread at every angle, accuracies in 0 ... 1.
        chance: accuracy of guessing, a dotted line.
    """
    figure, axes = new_figure((8.5, 4.6))
    for k, (name, cells) in enumerate(curves.items()):
        means = [mean for mean, _ in cells]
        low, high = ([mean + sign * spread for mean, spread in cells] for sign in (-1, 1))
        axes.plot(angles, means, color=curve_color(k), marker="o", markersize=3, label=name)
        axes.fill_between(angles, low, high, color=curve_color(k), alpha=0.2, linewidth=0)
    axes.axhline(chance, color="#888888", linestyle=":", label="guessing")
    axes.set(xlabel="pictures turned by, degrees", ylabel="accuracy", ylim=(0, 1.02), xticks=range(0, 361, 45))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return save(figure, path)
