"""How alike maps stay while the weights of a network are replaced, layer by layer."""

from collections.abc import Sequence
from pathlib import Path

from visionkit.viz.figure import curve_color, new_figure, save


def plot_randomisation(
    points: Sequence[tuple[str, str, float | None]], path: str | Path, measure: str = "rank correlation"
) -> Path:
    """A curve for each method over the cascade. `points`: (method, the layer that was replaced last, likeness), in the
    order of the cascade; None: unknown, the curve has a gap. Draws a file and returns its path."""
    steps = list(dict.fromkeys(step for _, step, _ in points))
    figure, axes = new_figure((9, 5))
    for k, method in enumerate(dict.fromkeys(method for method, _, _ in points)):
        own = {step: value for name, step, value in points if name == method and value is not None}
        values = [1.0, *(own.get(step, float("nan")) for step in steps)]
        axes.plot(range(len(values)), values, color=curve_color(k), marker="o", markersize=4, label=method)
    names = ["trained", *(step.removeprefix("backbone.") for step in steps)]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set(ylim=(-0.5, 1.05), xlabel="fresh weights down to", ylabel=measure)
    axes.set_title("Maps that stay alike do not explain the network")
    axes.grid(alpha=0.3)
    if points:
        axes.legend(fontsize="small")
    return save(figure, path)
