"""Selective search: boxes of the regions of many hierarchical groupings of a picture.

Uijlings, van de Sande, Gevers, Smeulders, "Selective search for object recognition", IJCV 2013; the proposals of R-CNN
and Fast R-CNN.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from visionkit.ops.color_spaces import COLOR_SPACES
from visionkit.ops.compiled import has_numba
from visionkit.ops.graph_segmentation import segment, sorted_edges
from visionkit.ops.hashing import random_keys
from visionkit.ops.region_features import color_bins, region_features, texture_bins
from visionkit.ops.region_grouping import Mix, group
from visionkit.ops.resize import resize_image, resized_shape


class Mode(NamedTuple):
    """One line of the paper's table 5."""

    color_spaces: tuple[str, ...]
    k: tuple[float, ...]
    mixes: tuple[str, ...]
    top: int | None  # not of the paper, whose fast mode gives 2,147 boxes on average


MODES = MappingProxyType(
    {
        "single": Mode(("hsv",), (100,), ("CTSF",), None),
        "fast": Mode(("hsv", "lab"), (50, 100), ("CTSF", "TSF"), 2500),
        "quality": Mode(
            ("hsv", "lab", "rgi", "hue", "intensity"), (50, 100, 150, 300), ("CTSF", "TSF", "F", "S"), None
        ),
    }
)
REFERENCE = 500  # pixels of the longer side of the pictures that the paper's settings are for
LONGEST = 1000  # larger pictures are searched at this size: the settings know no larger ones, and a camera's 12 million
# pixels would take gigabytes and half a minute


class SelectiveSearch:
    """A search: `search(image)` gives boxes, best first, the same bits at every call and for every number of threads.

    Args:
        mode: "single", "fast" or "quality": how many groupings (1, 8 or 80).
        min_side: boxes with a shorter side are dropped, pixels; in pictures whose longer side is less than 500, in
            proportion to it, so that small pictures keep their small objects.
        k: of the graph segmentations, for colours in 0 ... 255; None = the mode's.
        min_size: smallest region of a segmentation, pixels, in small pictures in proportion to their area; None = k.
        sigma: of the blur before the segmentation, pixels.
        seed: of the random part of the order.
        top: most boxes of a picture, the best ones; None = the mode's: 2,500 in fast mode, else all.
    """

    method = "selective_search"

    def __init__(
        self,
        mode: str = "fast",
        min_side: float = 20,
        k: Sequence[float] | None = None,
        min_size: int | None = None,
        sigma: float = 0.8,
        seed: int = 0,
        top: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
        for name, value in (("min_size", min_size), ("seed", seed), ("top", top)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise ValueError(f"{name} is a whole number, not {value!r}")
        for name, number in (("min_side", min_side), ("sigma", sigma)):
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValueError(f"{name} is a number, not {number!r}")
        if k is not None and (isinstance(k, str) or not isinstance(k, Sequence)):
            raise ValueError(f"k is a list of numbers, such as [50,100], not {k!r}")
        if min_side < 0 or sigma < 0 or (min_size is not None and min_size < 1) or (top is not None and top < 1):
            raise ValueError("min_side and sigma are at least 0, min_size and top at least 1")
        if k is not None and (not k or min(k) < 0):
            raise ValueError(f"k is a list of numbers of at least 0, not {k}")
        self.mode = mode
        self.min_side = min_side
        self.k = tuple(MODES[mode].k if k is None else k)
        self.min_size = min_size
        self.sigma = sigma
        self.seed = seed
        self.top = MODES[mode].top if top is None else top

    def settings(self) -> dict[str, Any]:
        """What the boxes depend on, as plain values."""
        of_mode = MODES[self.mode]
        return {
            "version": 1,
            "color_spaces": list(of_mode.color_spaces),
            "mixes": list(of_mode.mixes),
            "k": list(self.k),
            "min_size": self.min_size,
            "min_side": self.min_side,
            "sigma": self.sigma,
            "seed": self.seed,
            "top": self.top,
        }

    def advice(self) -> str | None:
        """A sentence for whoever has to wait, where that can be helped."""
        if has_numba():
            return None
        return (
            "numba is not installed, so selective search takes some twenty times as long (the boxes are the same): "
            "pip install numba."
        )

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The regions' boxes of one picture.

        Args:
            image: (H, W, 3) uint8 RGB, of a pixel at least; searched at 1,000 pixels where its longer side has more.
        Returns:
            boxes (P, 4) float32 and scores (P,) float32 in 0 ... 1, best first; no box twice. P may be 0.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"selective search takes (H, W, 3) uint8, not {image.shape} {image.dtype}")
        original = image.shape[:2]
        image = resize_image(image, resized_shape((original[0], original[1]), LONGEST, min(LONGEST, max(original))))
        hierarchies = self.hierarchies(image)
        boxes = np.concatenate(hierarchies)  # (N, 4)
        # Position in the hierarchy, 1 = the whole image, times a random number (sec. 3.3): large regions tend to come
        # first, but not all of them before all small ones.
        position = np.concatenate([np.arange(len(one), 0, -1) for one in hierarchies])
        draws = random_keys(torch.tensor([self.seed]), len(boxes))[0].numpy()
        order = np.argsort(position * draws, kind="stable")
        order = order[_large_enough(boxes[order], self.min_side * self._shrink(image))]
        _, first = np.unique(boxes[order], axis=0, return_index=True)
        kept = order[np.sort(first)][: self.top]
        scores = 1 / (1 + position[kept] * draws[kept])
        vertical, horizontal = (a / b for a, b in zip(original, image.shape[:2], strict=True))
        found = boxes[kept] * np.array([horizontal, vertical, horizontal, vertical])
        return found.astype(np.float32), scores.astype(np.float32)

    def hierarchies(self, image: np.ndarray) -> list[np.ndarray]:
        """One (2 R - 1, 4) int64 for each grouping: colour spaces in the outer order, then k, then mixes."""
        area = image.shape[0] * image.shape[1]
        found = []
        for space in MODES[self.mode].color_spaces:
            channels = COLOR_SPACES[space](image)  # (H, W, C)
            edges = sorted_edges(channels, self.sigma)
            colors, textures = color_bins(channels), texture_bins(channels)
            for k in self.k:
                min_size = (k if self.min_size is None else self.min_size) * self._shrink(image) ** 2
                regions = region_features(segment(edges, k, round(min_size)), colors, textures)
                found += [group(regions, Mix.of(mix), area) for mix in MODES[self.mode].mixes]
        return found

    def _shrink(self, image: np.ndarray) -> float:
        """How much smaller a picture is than those of the paper, at most 1."""
        return min(1.0, float(max(image.shape[:2])) / REFERENCE)


def _large_enough(boxes: np.ndarray, min_side: float) -> np.ndarray:
    kept: np.ndarray = (boxes[:, 2:] - boxes[:, :2] >= min_side).all(axis=1)
    return kept
