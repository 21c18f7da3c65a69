"""Windows of one size on an image pyramid (OverFeat, Sermanet et al. 2013, sec. 3.3): where they lie on every level.

A level is the picture at one scale with zeros around it. A window is what the network sees at one of its positions
there, `view` pixels a side; its box is the middle `side` pixels, so that the object has surroundings. The zeros are
as wide as those surroundings: the first box of a level begins in the picture's corner, and a picture smaller than a
window has one all the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class WindowPyramid:
    """Order of windows: (level, row, column).

    Args:
        scales: of the levels, above 0; 2 = the picture enlarged twice. No scale twice.
        view: side of what the network sees of a window, pixels of the level.
        side: side of a window's box in its middle, pixels of the level; `view` - `side` is even.
        step: pixels of the level from one window to the next, the stride of the network.
        margin: zeros beyond those, pixels of the level, a multiple of `step`; for networks that pad their maps, whose
            cells then depend on their distance from the border no longer.
    Raises:
        ValueError: one of them is out of its range.
    """

    scales: tuple[float, ...]
    view: int
    side: int
    step: int
    margin: int = 0

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0 or len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales are numbers above 0, each once, not {list(self.scales)}")
        if not 1 <= self.side <= self.view or (self.view - self.side) % 2 or self.step < 1:
            raise ValueError(f"a box of {self.side} px does not fit the middle of {self.view} px, step {self.step}")
        if self.margin < 0 or self.margin % self.step:
            raise ValueError(f"margin={self.margin} is no multiple of the step of {self.step} px")

    def grid(self, canvas: Sequence[int], scale: float) -> tuple[int, int]:
        """(rows, columns) of windows on the level of a canvas (height, width): those whose middle lies on it, at least
        one each."""
        rows, columns = (max(1, math.ceil((side * scale - self.side / 2) / self.step)) for side in canvas)
        return rows, columns

    def boxes(self, canvas: Sequence[int], device: torch.device | str | None = None) -> Tensor:
        """The boxes (N, 4) of all windows, in pixels of a canvas (height, width). Those at the border stick out."""
        found = []
        for scale in self.scales:
            rows, columns = self.grid(canvas, scale)
            y = torch.arange(rows, device=device, dtype=torch.float32) * (self.step / scale)  # (rows,)
            x = torch.arange(columns, device=device, dtype=torch.float32) * (self.step / scale)  # (columns,)
            y, x = torch.meshgrid(y, x, indexing="ij")
            corner = torch.stack((x, y), dim=-1).flatten(0, 1)  # (rows * columns, 2)
            found.append(torch.cat((corner, corner + self.side / scale), dim=1))
        return torch.cat(found)  # (N, 4)

    def on_image(self, boxes: Tensor, sizes: Tensor) -> Tensor:
        """Which boxes (N, 4) count for images of sizes (B, 2), as (B, N) bool: the middle lies on the image, or is the
        first of its level along that axis."""
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2) x, y
        beyond = (middle[None] >= sizes.flip(1)[:, None]) & (boxes[None, :, :2] > 0)  # (B, N, 2)
        return ~beyond.any(dim=-1)

    def positions(self, boxes: Tensor, canvas: Sequence[int]) -> Tensor:
        """Boxes (R, 4) as `boxes` made them -> their places (R,) int64 in that list."""
        scales = boxes.new_tensor(self.scales)  # (L,)
        grids = [self.grid(canvas, scale) for scale in self.scales]
        firsts = [sum(rows * columns for rows, columns in grids[:i]) for i in range(len(grids))]
        facts = torch.tensor([(*grid, first) for grid, first in zip(grids, firsts, strict=True)], device=boxes.device)
        width = (boxes[:, 2] - boxes[:, 0]).clamp(min=1e-6)  # (R,)
        level = (width.log()[:, None] - (self.side / scales).log()).abs().argmin(dim=1)  # (R,)
        rows, columns, first = facts[level].unbind(1)
        cells = (boxes[:, :2] * (scales[level] / self.step)[:, None]).round().long().clamp(min=0)  # (R, 2) x, y
        return first + cells[:, 1].minimum(rows - 1) * columns + cells[:, 0].minimum(columns - 1)

    def level(self, images: Tensor, sizes: Tensor, scale: float) -> Tensor:
        """Normalised images (B, C, H, W), zero outside their sizes (B, 2), as a level (B, C, h, w), whose windows begin
        at `margin` pixels and every `step` pixels from there."""
        grid = self.grid(images.shape[-2:], scale)
        around = (self.view - self.side) // 2 + self.margin
        resized = resize_level(images, sizes, scale)
        high, wide = (2 * self.margin + self.view + (n - 1) * self.step for n in grid)
        # A negative number cuts off: at most what no window reaches.
        return F.pad(resized, (around, wide - around - resized.shape[-1], around, high - around - resized.shape[-2]))


def resize_level(images: Tensor, sizes: Tensor, scale: float) -> Tensor:
    """Images at a scale, bilinear, antialiased when shrunk: (B, C, H, W) -> (B, C, ceil(H * scale), ceil(W * scale)).

    Pixel i shows the point (i + 0.5) / scale, and is 0 when that is outside the image. An image's pixels depend on its
    own size alone, not on the canvas around it.

    Args:
        images: float, 0 outside their sizes.
        sizes: (B, 2) int64, (height, width).
        scale: above 0.
    """
    if scale == 1:
        return images
    height, width = (math.ceil(side * scale) for side in images.shape[-2:])
    # Zeros beyond the canvas too, as far as an output pixel reaches: the border is the same with and without padding.
    extra = math.ceil(2 / scale) + 1
    resized = F.interpolate(
        F.pad(images, (0, extra, 0, extra)),
        scale_factor=scale,
        mode="bilinear",
        align_corners=False,
        antialias=scale < 1,
        recompute_scale_factor=False,
    )[..., :height, :width]
    y = (torch.arange(height, device=images.device) + 0.5) < sizes[:, :1] * scale  # (B, height)
    x = (torch.arange(width, device=images.device) + 0.5) < sizes[:, 1:] * scale  # (B, width)
    return resized * (y[:, None, :, None] & x[:, None, None, :])
