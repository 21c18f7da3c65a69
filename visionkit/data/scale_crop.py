"""Random scale and crop, the augmentation of semantic segmentation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from visionkit.data.transforms import resize, uniform
from visionkit.ops.hashing import mix
from visionkit.structures import Sample, Truth

_SCALE, _PLACE = 10, 11  # streams, see visionkit.data.transforms

Rule = Callable[[tuple[int, int]], tuple[int, int]]  # (height, width) -> (height, width)


def on_top_of(augment: Any, shape: Rule) -> Any:
    """The augmentation told how the model resizes pictures, (height, width) -> (height, width), if it asks for it."""
    return augment.on_top_of(shape) if hasattr(augment, "on_top_of") else augment


def crop_size(augment: Any) -> tuple[int, int] | None:
    """(height, width) of the canvas that an augmentation's windows need; None where it cuts none."""
    if isinstance(augment, ScaleCrop):
        return augment.size[0], augment.size[1]
    found = [size for step in getattr(augment, "steps", ()) if (size := crop_size(step)) is not None]
    return found[-1] if found else None


@dataclass(frozen=True)
class ScaleCrop:
    """The picture at network size times a random factor, and a window of fixed size cut out of it at a random place
    (Chen et al. 2017, "Rethinking Atrous Convolution", sec. 4.1). A picture that is smaller stays so: the batch is
    padded to `size`, see `crop_size`.

    Only the part that is seen is resized: its edges are rounded to whole pixels of the file and then it is brought to
    size, so that it may be off from the two steps by half a pixel of the file. Image, label map, masks, boxes and
    points go through the same window. Boxes are clipped to it, and those that are left without extent go, as points
    outside do.

    Attributes:
        size: (height, width) of the result, at most, and of the batch's canvas; pixels.
        scales: least and largest factor on the network size, drawn evenly.
        shape: how the model resizes, (height, width) -> (height, width); None = not at all. `on_top_of` fills it in.
    """

    size: Sequence[int]
    scales: Sequence[float] = (0.5, 2.0)
    shape: Rule | None = None

    sets_size = True  # what it gives is for the network as it is

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(isinstance(side, int) and side >= 1 for side in self.size):
            raise ValueError(f"size must be a height and a width, whole numbers of at least 1, not {list(self.size)}")
        if len(self.scales) != 2 or not 0 < self.scales[0] <= self.scales[1] < float("inf"):
            raise ValueError(f"scales must be two numbers above 0, the smaller first, not {list(self.scales)}")

    def on_top_of(self, shape: Rule) -> "ScaleCrop":
        return replace(self, shape=shape)

    def __call__(self, sample: Sample) -> Sample:
        height, width = sample.image.shape[:2]
        whole = (height, width) if self.shape is None else self.shape((height, width))
        scale = self.scales[0] + uniform(sample.seed, _SCALE) * (self.scales[1] - self.scales[0])
        edges, taken = [], []
        for axis, (side, network, wanted) in enumerate(zip((height, width), whole, self.size, strict=True)):
            scaled = max(1, round(network * scale))  # the whole side after resizing
            start = mix(sample.seed, _PLACE, axis) % (max(0, scaled - wanted) + 1)
            first = min(round(start * side / scaled), side - 1)
            last = round((start + min(wanted, scaled)) * side / scaled)
            edges.append((first, max(first + 1, min(last, side))))
            taken.append(min(wanted, scaled))
        part = cut(sample, edges[0][0], edges[1][0], edges[0][1], edges[1][1])
        return resize(part, (taken[0], taken[1]))


def cut(sample: Sample, top: int, left: int, bottom: int, right: int) -> Sample:
    """The part of a sample inside of these whole pixels, the last ones not included."""
    truth, window = sample.truth, (slice(top, bottom), slice(left, right))
    size = (sample.image.shape[0], sample.image.shape[1])
    boxes, rows = _cut_boxes(truth.boxes, top, left, bottom, right)
    changed = Truth(
        boxes=boxes,
        labels=truth.labels[rows],
        crowd=truth.crowd[rows],
        masks=None if truth.masks is None else np.ascontiguousarray(truth.masks[rows][:, *window]),
        semantic=None if truth.semantic is None else np.ascontiguousarray(truth.semantic[window]),
        image_label=truth.image_label,
        mixed=truth.mixed,
        points=None if truth.points is None else _cut_points(truth.points, (top, left, bottom, right), size),
    )
    proposals = None
    if sample.proposals is not None:
        proposals = _cut_boxes(sample.proposals, top, left, bottom, right)[0]
    return replace(sample, image=np.ascontiguousarray(sample.image[window]), truth=changed, proposals=proposals)


def _cut_boxes(boxes: np.ndarray, top: int, left: int, bottom: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (G, 4) in the window's pixels, clipped to it, and the rows (G',) of those that keep an extent."""
    limit = np.array([right - left, bottom - top] * 2, np.float32)
    moved = np.clip(boxes - np.array([left, top] * 2, np.float32), 0, limit)
    rows = np.flatnonzero((moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1]))
    return moved[rows], rows


def _cut_points(points: np.ndarray, window: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Points on the line between two windows are in the second; on the picture's own border they are in the last."""
    top, left, bottom, right = window
    x, y = points[:, 0], points[:, 1]
    across = (x >= left) & ((x < right) | (right == size[1]))
    down = (y >= top) & ((y < bottom) | (bottom == size[0]))
    kept = points[across & down]
    return kept - np.array([left, top, 0], np.float32)  # (P', 3)
