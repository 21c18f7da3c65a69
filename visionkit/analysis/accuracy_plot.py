"""Accuracy against multiply-adds, a bubble's area for the parameters: what each network buys with what it costs."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from visionkit.analysis.figure import INK, new_figure, save
from visionkit.analysis.published import Published, published

FAMILIES = {  # by the beginning of a name: the family as the legend has it, and its colour
    "alexnet": ("AlexNet", "#6c757d"),
    "vgg": ("VGG", "#d1495b"),
    "googlenet": ("Inception", "#2a9d8f"),
    "inception": ("Inception", "#2a9d8f"),
    "resnext": ("ResNeXt, wide ResNet", "#3f51b5"),
    "wide": ("ResNeXt, wide ResNet", "#3f51b5"),
    "resnet": ("ResNet", "#1f8bd6"),
    "densenet": ("DenseNet", "#8e5bb5"),
    "squeezenet": ("SqueezeNet", "#a47551"),
    "mobilenet": ("MobileNet, MnasNet", "#e9a11b"),
    "mnasnet": ("MobileNet, MnasNet", "#e9a11b"),
    "shufflenet": ("ShuffleNet", "#7aa82c"),
    "efficientnet": ("EfficientNet", "#e76f51"),
}
AREA = 5  # square points of a million parameters
Box = tuple[float, float, float, float]  # x0 y0 x1 y1 in pixels


def plot_accuracy(path: Path, marked: Collection[str] = ()) -> Path:
    """Draws all published networks; those of `marked` in bold, with the others fainter."""
    networks = sorted(published().values(), key=lambda n: -n.parameters)  # small bubbles on top of large ones
    figure = new_figure(11, 7.5)
    axes = figure.add_axes((0.065, 0.085, 0.915, 0.845))
    axes.set_xscale("log")
    axes.set(xlim=(0.03, 60), ylim=(54.5, 86.5), xlabel="billions of multiply-adds for one image (log scale)",
             ylabel="top-1 accuracy on ImageNet's validation set, per cent")  # fmt: skip
    axes.set_title("Accuracy against cost; the area of a bubble is the number of parameters", fontsize=13, pad=10)
    ticks = (0.03, 0.1, 0.3, 1, 3, 10, 30)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    seen = [n.name for n in networks]
    strong = {name for name in marked if name in seen} or set(seen)
    for network in networks:
        alpha = 0.75 if network.name in strong else 0.22
        axes.scatter(network.multiply_adds_g, network.top1, s=_area(network), color=_family(network.name)[1],
                     alpha=alpha, edgecolor="white", linewidth=0.8, zorder=3)  # fmt: skip
    _legend(axes)
    _write_names(figure, axes, networks, strong)
    figure.text(0.98, 0.012, "torchvision's first weights of each network, at their own crop; training recipes differ",
                ha="right", fontsize=8, color="#777777")  # fmt: skip
    return save(figure, path)


def _area(network: Published) -> float:
    return AREA * network.parameters / 1e6


def _family(name: str) -> tuple[str, str]:
    return next(family for start, family in FAMILIES.items() if name.startswith(start))


def _legend(axes: Any) -> None:
    families = dict(FAMILIES.values())
    marks = [axes.scatter([], [], s=45, color=color, alpha=0.75, label=name) for name, color in families.items()]
    first = axes.legend(handles=marks, loc="lower right", fontsize=9, frameon=False)
    axes.add_artist(first)
    sizes = [axes.scatter([], [], s=AREA * m, color="#bbbbbb", label=f"{m} million") for m in (5, 25, 140)]
    axes.legend(handles=sizes, loc="lower right", fontsize=9, frameon=False, labelspacing=1.3, handletextpad=1.2,
                title="parameters", title_fontsize=9, bbox_to_anchor=(0.77, 0.02))  # fmt: skip


def _write_names(figure: Any, axes: Any, networks: Sequence[Published], strong: Collection[str]) -> None:
    """Each name at the free place nearest to its bubble, the marked ones first; fainter ones without a place go."""
    from matplotlib.legend import Legend

    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    spots = {n.name: axes.transData.transform((n.multiply_adds_g, n.top1)) for n in networks}
    radii = {n.name: scale * (_area(n) / 3.1416) ** 0.5 for n in networks}
    centres = [(x - min(radii[k], 6), y - min(radii[k], 6), x + min(radii[k], 6), y + min(radii[k], 6))
               for k, (x, y) in spots.items()]  # fmt: skip
    taken: list[Box] = [tuple(legend.get_window_extent(renderer).extents) for legend in axes.findobj(Legend)]
    order = sorted(networks, key=lambda n: (n.name not in strong, n.parameters))
    for network in order:
        bold = network.name in strong and len(strong) < len(networks)
        text = axes.text(0, 0, network.name, fontsize=8.5 if bold else 7.5, color=INK,
                         alpha=1 if network.name in strong else 0.55, weight="bold" if bold else "normal",
                         transform=None, zorder=5)  # fmt: skip
        extent = text.get_window_extent(renderer)
        best, least = None, float("inf")
        for k, box in enumerate(_places(spots[network.name], radii[network.name], extent.width, extent.height)):
            inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
            cost = sum(_overlap(box, other) for other in taken) * 5 + sum(_overlap(box, c) for c in centres) + 0.4 * k
            if inside and cost < least:
                best, least = box, cost
        if best is None:
            text.remove()
            continue
        text.set_position((best[0], best[1] - extent.y0))
        taken.append(best)


def _places(spot: Sequence[float], radius: float, width: float, height: float) -> Iterator[Box]:
    """Around a bubble and further and further away from it."""
    x, y = spot
    for gap in (2, 8, 16, 26):
        r = radius + gap
        d = 0.7 * r
        for left, bottom in (
            (x + r, y - height / 2),
            (x - r - width, y - height / 2),
            (x - width / 2, y + r),
            (x - width / 2, y - r - height),
            (x + d, y + d),
            (x + d, y - d - height),
            (x - d - width, y + d),
            (x - d - width, y - d - height),
        ):
            yield left, bottom, left + width, bottom + height


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
