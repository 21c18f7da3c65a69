"""Drawings for the lectures: what a filter does to a picture, how it slides, and the gradient of a shared weight.

Every number drawn is computed here by torch; the picture is one that the kit generates.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from visionkit.analysis.accuracy_plot import plot_accuracy
from visionkit.analysis.figure import ACCENT, INK, WARM, new_figure, save
from visionkit.data.scene_picture import draw
from visionkit.data.scene_settings import SceneSettings

KERNELS: dict[str, Tensor] = {
    "blur": torch.full((7, 7), 1 / 49),
    "sharpen": torch.tensor([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
    "edges": torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]),
    "vertical edges": torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "emboss": torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]]),
}


def draw_all(folder: Path) -> list[Path]:
    """All drawings into a folder; their paths."""
    return [
        draw_kernels(folder / "kernels.png"),
        draw_sliding(folder / "sliding.png"),
        draw_shared_weight(folder / "shared_weight.png"),
        plot_accuracy(folder / "accuracy.png"),
    ]


SIDE = 180  # pixels of the picture, and inches / 100 of its place in the drawing: shown one to one


def scene() -> Tensor:
    """A generated picture (3, SIDE, SIDE), 0 ... 1."""
    settings = SceneSettings(image_size=(SIDE, SIDE), objects=(3, 5), object_size=(50, 100), background_texture=5,
                             fill_texture=0.1, noise=0, clutter=(0, 2), distractors=(0, 0))  # fmt: skip
    return torch.from_numpy(draw(settings, "train", 4).image).permute(2, 0, 1) / 255  # (3, H, W)


def filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel of (C, H, W) by itself, borders repeated; the same size."""
    margin = kernel.shape[0] // 2
    padded = F.pad(image[:, None], (margin,) * 4, mode="replicate")  # (C, 1, H + 2 margin, W + 2 margin)
    return F.conv2d(padded, kernel[None, None])[:, 0]  # (C, H, W)


def draw_kernels(path: Path) -> Path:
    """The picture, and what five fixed filters make of it (the last three of its brightness), with their numbers."""
    image = scene()
    gray = image.mean(0, keepdim=True)
    width, height = 9, 4.3
    figure = new_figure(width, height)
    for i, (name, kernel) in enumerate({"the picture": None, **KERNELS}.items()):
        row, column = divmod(i, 3)
        left, bottom = 0.1 + column * 3.0, 2.23 - row * 2.15  # inches
        axes = figure.add_axes((left / width, bottom / height, SIDE / 100 / width, SIDE / 100 / height))
        shown = image
        if kernel is not None:
            shown = filtered(image if row == 0 else gray, kernel)
            if name == "edges":
                shown = shown.abs()
            elif name == "vertical edges":  # brighter or darker to the right; grey is no change
                shown = shown * 0.7 + 0.5
            _numbers(
                figure.add_axes(((left + 1.85) / width, (bottom + 0.45) / height, 0.9 / width, 0.9 / height)), kernel
            )
        axes.imshow(shown.expand(3, -1, -1).clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(name, fontsize=11, color=INK, loc="left", pad=4)
        axes.set_axis_off()
    return save(figure, path, colors=256)


def _numbers(axes: Any, kernel: Tensor) -> None:
    """A kernel as a small table; a large one of equal numbers as one of them."""
    axes.set_axis_off()
    size = kernel.shape[0]
    if size > 3:
        axes.text(0.5, 0.5, f"{size} x {size},\neach 1/{size * size}", ha="center", va="center", fontsize=10, color=INK)
        return
    limit = float(kernel.abs().max())
    axes.imshow(kernel.numpy(), cmap="RdBu_r", vmin=-2.2 * limit, vmax=2.2 * limit)
    for y in range(size):
        for x in range(size):
            axes.text(x, y, f"{kernel[y, x]:g}".replace("-", "−"), ha="center", va="center", fontsize=10, color=INK)


INPUT = torch.tensor([[1.0, 2, 0, 1], [0, 1, 3, 1], [2, 1, 0, 2], [1, 0, 1, 3]])
FILTER = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])


def draw_sliding(path: Path) -> Path:
    """A 3x3 filter on 4x4 cells: above, where it lies at each step; below, the output so far."""
    result = F.conv2d(INPUT[None, None], FILTER[None, None])[0, 0]  # (2, 2)
    figure = new_figure(11, 5.1)
    axes = figure.add_axes((0.01, 0.5, 0.14, 0.36))
    _table(axes, FILTER, shade=FILTER)
    axes.set_title("the filter", fontsize=11, color=INK, pad=6)
    for step in range(4):
        y, x = divmod(step, 2)
        left = 0.19 + step * 0.205
        axes = figure.add_axes((left, 0.45, 0.185, 0.46))
        _table(axes, INPUT, window=(y, x, 3))
        axes.set_title(f"step {step + 1}", fontsize=11, color=INK, pad=6)
        patch = INPUT[y : y + 3, x : x + 3]
        terms = [f"{a:g}·{w:g}" for a, w in zip(patch.flatten(), FILTER.flatten(), strict=True) if w]
        text = " + ".join(terms[:3]) + "\n+ " + " + ".join(terms[3:]) + f"\n= {result[y, x]:g}"
        figure.text(left + 0.0925, 0.425, text.replace("-", "−"), ha="center", va="top", fontsize=8.5, color=INK)
        axes = figure.add_axes((left + 0.045, 0.03, 0.095, 0.235))
        done = torch.full((2, 2), float("nan"))
        done.view(-1)[: step + 1] = result.flatten()[: step + 1]
        _table(axes, done, window=(y, x, 1))
    figure.text(0.08, 0.145, "the output,\ncell by cell", ha="center", va="center", fontsize=11, color=INK)
    figure.text(
        0.08, 0.955, "4 x 4 cells, stride 1:\n(4 − 3) / 1 + 1 = 2", ha="center", va="center", fontsize=9, color=INK
    )
    return save(figure, path)


def _table(axes: Any, values: Tensor, window: tuple[int, int, int] | None = None, shade: Tensor | None = None) -> None:
    """Numbers in cells; `window` (y, x, side) is coloured and framed, cells that are not a number stay empty."""
    from matplotlib.patches import Rectangle

    rows, columns = values.shape
    for y in range(rows):
        for x in range(columns):
            inside = window is not None and 0 <= y - window[0] < window[2] and 0 <= x - window[1] < window[2]
            color = "#cfe3f5" if inside else "white"
            if shade is not None:
                color = "#f7d9dc" if shade[y, x] < 0 else "#cfe3f5" if shade[y, x] > 0 else "white"
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=color, edgecolor="#b8bec7", linewidth=1))
            if not values[y, x].isnan():
                number = f"{values[y, x]:g}".replace("-", "−")
                axes.text(x + 0.5, y + 0.5, number, ha="center", va="center", fontsize=12, color=INK)
    if window is not None:
        y, x, side = window
        axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=ACCENT, linewidth=2.5))
    axes.set(xlim=(-0.06, columns + 0.06), ylim=(rows + 0.06, -0.06), aspect="equal")
    axes.set_axis_off()


class SharedGradient(NamedTuple):
    """A 2x2 filter on 4x4 cells, which lies at 3x3 positions, and what each position adds to its gradient."""

    image: Tensor  # (4, 4)
    upstream: Tensor  # (3, 3): dL/dout
    shares: Tensor  # (2, 2, 3, 3): of weight (i, j) at position (y, x)
    autograd: Tensor  # (2, 2): the gradient as torch has it


def shared_gradient(seed: int = 3) -> SharedGradient:
    """dL/dw[i, j] is the sum over all positions (y, x) of dL/dout[y, x] * in[y + i, x + j]."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(-2, 4, (4, 4), generator=generator).float()
    upstream = torch.randint(-2, 3, (3, 3), generator=generator).float()
    weight = torch.zeros(1, 1, 2, 2, requires_grad=True)
    with torch.enable_grad():
        out = F.conv2d(image[None, None], weight)[0, 0]  # (3, 3)
        (gradient,) = torch.autograd.grad((out * upstream).sum(), weight)
    patches = image.unfold(0, 3, 1).unfold(1, 3, 1)  # (2, 2, 3, 3): in[y + i, x + j]
    return SharedGradient(image, upstream, patches * upstream, gradient[0, 0])


def draw_shared_weight(path: Path) -> Path:
    """Each of the four weights: its share at every position, as a map and as bars, and the sum beside autograd's."""
    shared = shared_gradient()
    figure = new_figure(11, 5.2)
    rule = (
        "A 2x2 filter is used at 3x3 positions. At each, a weight's share of the gradient is the input under it "
        "times the gradient of the output there; they add up."
    )
    figure.text(0.015, 0.945, rule, fontsize=9.5, color=INK)
    for bottom, values, title in ((0.47, shared.image, "input"), (0.06, shared.upstream, "gradient of the output")):
        axes = figure.add_axes((0.015, bottom, 0.15, 0.36 if bottom > 0.4 else 0.28))
        _table(axes, values)
        axes.set_title(title, fontsize=10, color=INK, pad=4)
    reach = 1.25 * float(shared.shares.sum(dim=(2, 3)).abs().max())
    for i in range(2):
        for j in range(2):
            left, bottom = 0.225 + j * 0.395, 0.515 - i * 0.455
            _shares(figure.add_axes((left, bottom, 0.145, 0.31)), shared.shares[i, j], float(shared.shares.abs().max()))
            figure.text(left, bottom + 0.325, f"weight ({i}, {j}): shares by position", fontsize=10, color=INK)
            bars = figure.add_axes((left + 0.165, bottom + 0.01, 0.2, 0.29))
            _bars(bars, shared.shares[i, j], float(shared.autograd[i, j]), reach)
    return save(figure, path)


def _shares(axes: Any, share: Tensor, limit: float) -> None:
    axes.imshow(share.numpy(), cmap="RdBu_r", vmin=-1.6 * limit, vmax=1.6 * limit)
    for y in range(3):
        for x in range(3):
            axes.text(x, y, _signed(share[y, x]), ha="center", va="center", fontsize=11, color=INK)
    axes.set_axis_off()


def _bars(axes: Any, share: Tensor, autograd: float, reach: float) -> None:
    """Nine shares and their sum, which autograd's gradient is."""
    total = float(share.sum())
    values = [*share.flatten().tolist(), total]
    colors = [WARM if value > 0 else ACCENT for value in values]
    axes.bar(range(9), values[:9], color=colors[:9], alpha=0.5, width=0.75)
    axes.bar(10.2, total, color=colors[9], width=0.9)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set(xlim=(-0.7, 11.2), ylim=(-reach, reach))
    above = total >= 0
    axes.text(11.2, total + (0.05 if above else -0.05) * reach, f"sum {_signed(total)}", ha="right", fontsize=10,
              va="bottom" if above else "top", color=INK, weight="bold")  # fmt: skip
    axes.text(0, 0.98, f"autograd: {_signed(autograd)}", transform=axes.transAxes, fontsize=10, color=INK, va="top")
    axes.set_axis_off()


def _signed(value: Any) -> str:
    return f"{float(value) + 0.0:g}".replace("-", "−")  # no minus before a zero
