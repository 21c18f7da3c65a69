"""The regions of a training image that R-CNN's fits look at: its objects and its proposals, and how they overlap."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from visionkit.data.index import DetectionIndex
from visionkit.errors import DataError
from visionkit.ops.boxes import intersection_over_area, iou

ON_CROWD = 0.5  # share of a region inside a crowd or a difficult object from which it is no background


@dataclass(frozen=True, eq=False)
class ImageRegions:
    """R regions of one image in pixels of its file: the objects first, then the proposals, best first."""

    boxes: np.ndarray  # (R, 4) float32
    labels: np.ndarray  # (R,) int64: the class of an object; -1 for a proposal
    overlap: np.ndarray  # (R, K) float32: IoU with the nearest object of each class
    matched: np.ndarray  # (R, 4) float32: the nearest object of any class (zeros where there is none)
    matched_labels: np.ndarray  # (R,) int64: its class, -1 where there is none
    best: np.ndarray  # (R,) float32: IoU with it
    on_crowd: np.ndarray  # (R,) bool: neither positive nor background

    def pairs(self, least: float) -> np.ndarray:
        """Rows that overlap an object by more than `least`, (p,) int64; the objects themselves are among them."""
        return np.flatnonzero(self.best > least)

    def background(self, label: int, low: float) -> np.ndarray:
        """(R,) bool: overlaps every object of that class by less than `low`. Objects of other classes are background
        too."""
        return (self.overlap[:, label] < low) & ~self.on_crowd


class TrainingRegions:
    """`ImageRegions` of every image of an index that has proposals; computed when asked for.

    Args:
        index: with `proposals`.
        top: most proposals taken of an image.
        pair_overlap: IoU above which a region and its object are a pair for the box regressors.
    Raises:
        DataError: the index has no proposals, or not a single one.
    """

    def __init__(self, index: DetectionIndex, top: int, pair_overlap: float = 0.6) -> None:
        if index.proposals is None:
            raise DataError(f"{index.source}: the images come without proposals, which the SVMs learn from.")
        if len(index.proposals.scores) == 0:
            raise DataError(f"{index.source}: there is not a single proposal in {len(index)} images; nothing to learn.")
        self.index, self.top, self.pair_overlap = index, top, pair_overlap

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[ImageRegions]:
        return (self[i] for i in range(len(self)))

    def boxes(self, i: int) -> np.ndarray:
        """(R, 4) float32: the objects of image i that count, then its proposals."""
        assert self.index.proposals is not None
        truth = self.index.truth(i)
        objects = truth.boxes[~(truth.crowd | truth.difficult)]
        return np.concatenate([objects, self.index.proposals.proposed(i)[0][: self.top]])

    def __getitem__(self, i: int) -> ImageRegions:
        truth = self.index.truth(i)
        crowd = truth.crowd | truth.difficult
        objects, classes = truth.boxes[~crowd], truth.labels[~crowd]  # (G, 4), (G,)
        boxes = self.boxes(i)  # (R, 4)
        count, own = len(boxes), len(objects)
        ious = iou(torch.from_numpy(boxes), torch.from_numpy(objects)).numpy()  # (R, G)
        ious[np.arange(own), np.arange(own)] = 1  # the same box, whatever its rounding
        overlap = np.zeros((count, len(self.index.names)), np.float32)  # (R, K)
        for label in np.unique(classes):
            overlap[:, label] = ious[:, classes == label].max(axis=1)
        labels = np.full(count, -1, np.int64)
        labels[:own] = classes
        nearest = ious.argmax(axis=1) if own else np.zeros(count, np.int64)  # (R,)
        inside = intersection_over_area(torch.from_numpy(boxes), torch.from_numpy(truth.boxes[crowd])).numpy()
        on_crowd: np.ndarray = np.any(inside > ON_CROWD, axis=1)  # (R,)
        on_crowd[:own] = False
        return ImageRegions(
            boxes,
            labels,
            overlap,
            objects[nearest] if own else np.zeros((count, 4), np.float32),
            classes[nearest] if own else np.full(count, -1, np.int64),
            ious.max(axis=1) if own else np.zeros(count, np.float32),
            on_crowd,
        )
