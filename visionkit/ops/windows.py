"""Sliding windows: boxes of a few sizes and shapes laid over a picture, whatever it shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from visionkit.ops.hashing import random_keys


class WindowGrid:
    """A search: `search(image)` gives the same windows for all pictures of a size.

    Args:
        scales: sides of the windows, as parts of the root of the picture's area: 0.5 is a quarter of the area.
        ratios: height / width.
        stride: step to the next window, as part of the window's own side; the last one ends at the picture's edge.
        min_side: windows with a shorter side are dropped, pixels.
        seed: of the order, in which any number of first windows is a fair sample of all.
        top: most windows of a picture; None = all.
    """

    method = "windows"

    def __init__(
        self,
        scales: Sequence[float] = (0.1, 0.15, 0.22, 0.33, 0.5, 0.75),
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        stride: float = 0.25,
        min_side: float = 4,
        seed: int = 0,
        top: int | None = None,
    ) -> None:
        for name, value in (("seed", seed), ("top", top)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise ValueError(f"{name} is a whole number, not {value!r}")
        if not scales or not ratios or min(*scales, *ratios) <= 0:
            raise ValueError("windows need scales and ratios above 0")
        if stride <= 0:
            raise ValueError(f"stride is a part of a window's side, above 0, not {stride}")
        self.scales, self.ratios = tuple(map(float, scales)), tuple(map(float, ratios))
        self.stride, self.min_side, self.seed, self.top = stride, min_side, seed, top

    def settings(self) -> dict[str, Any]:
        """What the boxes depend on, as plain values."""
        return {
            "scales": list(self.scales),
            "ratios": list(self.ratios),
            "stride": self.stride,
            "min_side": self.min_side,
            "seed": self.seed,
            "top": self.top,
        }

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (P, 4) float32 and scores (P,) float32 in 0 ... 1, best first, of an image (H, W, 3); P may be 0."""
        boxes = self.boxes((image.shape[0], image.shape[1]))  # (N, 4)
        draws = random_keys(torch.tensor([self.seed]), len(boxes))[0].numpy()
        order = np.argsort(-draws, kind="stable")[: self.top]
        return boxes[order], draws[order]

    def boxes(self, size: tuple[int, int]) -> np.ndarray:
        """The windows of a picture of (height, width): (N, 4) float32, by scale, ratio, row and column."""
        height, width = size
        side = float(np.sqrt(height * width))
        found = [np.zeros((0, 4), np.float32)]
        for scale in self.scales:
            for ratio in self.ratios:
                h = min(scale * side * ratio**0.5, float(height))
                w = min(scale * side / ratio**0.5, float(width))
                if min(h, w) < self.min_side:
                    continue
                top, left = _starts(height, h, self.stride), _starts(width, w, self.stride)
                y, x = (grid.ravel() for grid in np.meshgrid(top, left, indexing="ij"))
                found.append(np.stack((x, y, x + w, y + h), axis=1).astype(np.float32))
        return np.minimum(np.concatenate(found), np.array([width, height, width, height], np.float32))


def _starts(length: int, side: float, stride: float) -> np.ndarray:
    """Even positions from the picture's beginning to where the window ends with it, at most a stride apart."""
    return np.linspace(0, length - side, int(np.ceil((length - side) / (stride * side) - 1e-9)) + 1)
