"""The pointing game: does the strongest place of a map lie on the object? (Zhang et al., "Top-down Neural Attention by
Excitation Backprop", 2016, sec. 4.1)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from visionkit.ops.boxes import area

TOLERANCE = 15.0  # pixels, sec. 4.1 of the paper
HARD_SHARE = 0.25  # of the picture's area, likewise


@dataclass(frozen=True)
class Shot:
    """Where a map points, asked for one class in one picture.

    Attributes:
        label: the class, 0 ... K-1.
        distance: pixels of the network's image from the strongest pixel to the class's nearest box, 0 inside.
        hard: the class covers little of the picture and not its middle; see `hard`.
        single: the picture has no other object.
    """

    label: int
    distance: float
    hard: bool
    single: bool = False

    def hits(self, tolerance: float = TOLERANCE) -> bool:
        """Whether the class is hit. `tolerance`: so many pixels beside it are as good."""
        return self.distance <= tolerance


def strongest(found: Tensor) -> tuple[int, int]:
    """(x, y) of a map's (H, W) largest value; among equals the first, row by row. NaN is larger than all else."""
    place = int(found.flatten().argmax())
    width = found.shape[1]
    return place % width, place // width


def distance(point: tuple[int, int], boxes: Tensor) -> float:
    """From the middle of a pixel (x, y) to the nearest of the boxes (N, 4): pixels, 0 inside, infinite without any."""
    if len(boxes) == 0:
        return math.inf
    middle = torch.tensor(point, dtype=torch.float64) + 0.5  # (2,)
    outside = torch.maximum(boxes[:, :2].double().cpu() - middle, middle - boxes[:, 2:].double().cpu())  # (N, 2)
    return float(outside.clamp(min=0).norm(dim=1).min())


def hard(boxes: Tensor, size: tuple[int, int]) -> bool:
    """Whether the boxes (N, 4) of a class together cover less than a quarter of a picture of (height, width), and none
    holds its middle, where most photographs have their object.

    The paper's difficult set has the first condition, and wants other classes in the picture for the second.
    """
    height, width = size
    inside = (boxes[:, 0] <= width / 2) & (boxes[:, 1] <= height / 2)
    inside &= (boxes[:, 2] >= width / 2) & (boxes[:, 3] >= height / 2)  # (N,)
    return float(area(boxes).sum()) < HARD_SHARE * height * width and not bool(inside.any())


def point_at(found: Tensor, boxes: Tensor, label: int, single: bool = False) -> Shot:
    """A map (H, W) asked for a class with these boxes (N, 4), in pixels of the map."""
    size = (found.shape[0], found.shape[1])
    return Shot(label, distance(strongest(found), boxes), hard(boxes, size), single)


def accuracy(shots: list[Shot], tolerance: float = TOLERANCE) -> float | None:
    """The share of hits, 0 ... 1; None without shots."""
    return sum(shot.hits(tolerance) for shot in shots) / len(shots) if shots else None


def class_accuracies(shots: list[Shot], tolerance: float = TOLERANCE) -> dict[int, float]:
    """By class that was asked for: the share of hits. The paper's number is the mean of these."""
    by_class: dict[int, list[Shot]] = {}
    for shot in shots:
        by_class.setdefault(shot.label, []).append(shot)
    return {label: accuracy(own, tolerance) or 0.0 for label, own in sorted(by_class.items())}
