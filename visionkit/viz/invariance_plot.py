"""How far each layer follows and ignores motions of the picture: a column for each kind, a line for each layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionkit.viz.figure import curve_color, new_figure, save

Curve = Sequence[tuple[float, float | None]]  # amount of motion, distance

UNITS = {"shift": "pixels to the right", "rotate": "degrees", "scale": "times as large"}
CEILING = 1.3


def plot_invariance(
    follows: Mapping[str, Mapping[str, Curve]], ignores: Mapping[str, Mapping[str, Curve]], path: str | Path
) -> Path:
    """Above what the maps do when they are moved along, below what changes.

    Args:
        follows, ignores: by kind of motion, by layer in the order of execution: the distance at every amount, 0 = equal
            and 1 = as far as two different pictures; None where it cannot be told. A kind with a single amount is drawn
            as bars.
    """
    kinds = list(dict.fromkeys((*follows, *ignores)))
    layers = list(dict.fromkeys(layer for by_kind in (follows, ignores) for of in by_kind.values() for layer in of))
    one = [all(len(curve) <= 1 for curve in ignores.get(kind, {}).values()) for kind in kinds]
    figure, _ = new_figure((sum(2.6 if bars else 4.2 for bars in one) + 1.6, 6.4))
    figure.clear()
    ratios = [0.6 if bars else 1.0 for bars in one]
    axes = figure.subplots(2, max(1, len(kinds)), squeeze=False, width_ratios=ratios or None)
    colors = {layer: _color(layers, layer) for layer in layers}
    for row, (title, found) in enumerate((("follows the motion", follows), ("ignores the motion", ignores))):
        for column, kind in enumerate(kinds):
            axis = axes[row][column]
            _draw(axis, found.get(kind, {}), colors, one[column])
            axis.axhline(1, color="#888888", linestyle=":")
            axis.set(ylim=(0, CEILING), title=kind if row == 0 else "")
            axis.set_xlabel(UNITS.get(kind, "") if not one[column] and row else "")
            axis.grid(alpha=0.3)
            if column == 0:
                axis.set_ylabel(f"{title}\n0 = exactly, 1 = as different pictures")
    handles = [figure.gca().plot([], [], color=color, linewidth=2, label=layer)[0] for layer, color in colors.items()]
    figure.legend(handles=handles, loc="outside right upper", fontsize="small")
    return save(figure, path)


def _draw(axis: Any, curves: Mapping[str, Curve], colors: Mapping[str, Any], bars: bool) -> None:
    if bars:
        heights = [(layer, curve[0][1]) for layer, curve in curves.items() if curve and curve[0][1] is not None]
        axis.bar([layer for layer, _ in heights], [h for _, h in heights], color=[colors[name] for name, _ in heights])
        axis.tick_params(axis="x", rotation=90)
        return
    for layer, curve in curves.items():
        known = [(amount, distance) for amount, distance in curve if distance is not None]
        dashed = layer in ("vector", "probabilities")
        axis.plot(
            [amount for amount, _ in known],
            [distance for _, distance in known],
            color=colors[layer],
            linestyle="--" if dashed else "-",
            marker="." if len(known) < 30 else None,
        )


def _color(layers: Sequence[str], layer: str) -> Any:
    """Maps from light to dark by depth; what has no places in colours of its own."""
    from matplotlib import colormaps

    flat = [name for name in layers if name in ("vector", "probabilities")]
    if layer in flat:
        return curve_color((0, 5)[flat.index(layer) % 2])
    maps = [name for name in layers if name not in flat]
    return colormaps["viridis_r"]((maps.index(layer) + 1) / (len(maps) + 0.5))
