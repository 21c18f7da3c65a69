"""What is known of a data set, packed in arrays: the one form of truth that every evaluator takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from visionkit.errors import DataError
from visionkit.evaluation.files import read_json
from visionkit.evaluation.rle import encode_mask

COORDINATE_LIMIT = 1e5
"""Pixels. COCO's evaluator ignores areas beyond its square, and values like 1e30 pass `isfinite` and still overflow."""


class Index(Protocol):
    """The part of a detection index (`visionkit.data`) that is needed here; evaluation does not import data."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> str: ...
    def __len__(self) -> int: ...
    def image_id(self, i: int) -> int: ...
    def size(self, i: int) -> tuple[int, int]: ...
    def truth(self, i: int) -> Any: ...


@dataclass(frozen=True)
class TruthTable:
    """I images, K classes, G objects in all. An object's image and class are positions in the lists above it."""

    source: str  # the file or data set, for messages
    names: tuple[str, ...]  # K
    category_ids: np.ndarray  # (K,) int64: the number a class has in COCO files
    image_ids: np.ndarray  # (I,) int64
    sizes: np.ndarray  # (I, 2) int64, (height, width); zeros where the file does not say
    image_index: np.ndarray  # (G,) int64
    labels: np.ndarray  # (G,) int64, 0 ... K-1
    boxes: np.ndarray  # (G, 4) float64, x1 y1 x2 y2
    areas: np.ndarray  # (G,) float64, square pixels: of the mask where the file says so, else of the box
    crowd: np.ndarray  # (G,) bool, COCO's iscrowd
    difficult: np.ndarray  # (G,) bool, VOC's flag
    segmentations: tuple[Any, ...] | None = (
        None  # G COCO segmentations (run lengths or polygons), or None without masks
    )

    def __post_init__(self) -> None:
        objects = len(self.labels)
        lengths = {len(v) for v in (self.image_index, self.boxes, self.areas, self.crowd, self.difficult)}
        if lengths != {objects} or self.boxes.shape != (objects, 4):
            raise ValueError("TruthTable: lengths differ")
        if self.segmentations is not None and len(self.segmentations) != objects:
            raise ValueError("TruthTable.segmentations: lengths differ")
        if len(self.category_ids) != len(self.names) or self.sizes.shape != (len(self.image_ids), 2):
            raise ValueError("TruthTable: one category id for each name and one size for each image")

    @property
    def ignored(self) -> np.ndarray:
        """(G,) bool: neither to be found nor wrong to find (a crowd or a difficult object)."""
        return self.crowd | self.difficult

    def object_counts(self) -> np.ndarray:
        """(K,) int64: objects of each class that are to be found."""
        counts: np.ndarray = np.bincount(self.labels[~self.ignored], minlength=len(self.names))
        return counts

    def select_images(self, positions: Sequence[int] | np.ndarray) -> "TruthTable":
        """The same truth on some of the images (positions, in the order given)."""
        positions = np.asarray(positions, dtype=np.int64)
        new = np.full(len(self.image_ids), -1, dtype=np.int64)
        new[positions] = np.arange(len(positions))
        kept = np.flatnonzero(new[self.image_index] >= 0)
        masks = self.segmentations
        return replace(
            self,
            image_ids=self.image_ids[positions],
            sizes=self.sizes[positions],
            image_index=new[self.image_index[kept]],
            labels=self.labels[kept],
            boxes=self.boxes[kept],
            areas=self.areas[kept],
            crowd=self.crowd[kept],
            difficult=self.difficult[kept],
            segmentations=None if masks is None else tuple(masks[i] for i in kept),
        )

    @classmethod
    def from_coco_json(cls, source: str | Path | dict[str, Any]) -> "TruthTable":
        """A COCO instances file, or its parsed content; see `coco_truth.read_coco_truth`."""
        from visionkit.evaluation.coco_truth import read_coco_truth  # it needs this class

        if isinstance(source, dict):
            return read_coco_truth(source, "truth")
        return read_coco_truth(read_json(source), str(source))

    @classmethod
    def from_index(cls, index: Index, with_masks: bool = False) -> "TruthTable":
        """The truth of a detection index, for boxes or, `with_masks`, for masks too.

        Class k has the category id `index.category_ids[k]` where the index has them, else k + 1. DataError naming
        the annotation for a box that is NaN, infinite or out of bounds, or a label out of range.
        """
        truths = [index.truth(i) for i in range(len(index))]
        counts = [len(t.labels) for t in truths]
        classes = len(index.names)
        category_ids = getattr(index, "category_ids", None)
        table = cls(
            source=str(index.source),
            names=tuple(index.names),
            category_ids=np.arange(1, classes + 1)
            if category_ids is None
            else np.asarray(category_ids, dtype=np.int64),
            image_ids=np.array([index.image_id(i) for i in range(len(index))], dtype=np.int64),
            sizes=np.array([index.size(i) for i in range(len(index))], dtype=np.int64).reshape(-1, 2),
            image_index=np.repeat(np.arange(len(index)), counts),
            labels=_join([t.labels for t in truths], np.int64),
            boxes=_join([t.boxes for t in truths], np.float64).reshape(-1, 4),
            areas=_join([t.area for t in truths], np.float64),
            crowd=_join([t.crowd for t in truths], bool),
            difficult=_join([t.difficult for t in truths], bool),
            segmentations=_segmentations(index) if with_masks else None,
        )
        ids = _join([t.ids for t in truths], np.int64)
        bad = np.flatnonzero(~(np.abs(table.boxes) <= COORDINATE_LIMIT).all(axis=1) | ~np.isfinite(table.areas))
        if bad.size:
            raise DataError(
                f"{table.source}: annotation {ids[bad[0]]} has a box or area that is NaN, infinite or beyond "
                f"{COORDINATE_LIMIT:g}."
            )
        wrong = np.flatnonzero((table.labels < 0) | (table.labels >= classes))
        if wrong.size:
            raise DataError(f"{table.source}: annotation {ids[wrong[0]]} has a label outside 0 ... {classes - 1}.")
        return table


def _join(parts: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.asarray(p, dtype=dtype) for p in parts]) if parts else np.zeros(0, dtype=dtype)


def _segmentations(index: Any) -> tuple[Any, ...]:
    """The file's own polygons or run lengths; the index's filled box for an object that has none."""
    found: list[Any] = []
    for i in range(len(index)):
        own = index.segmentation(i)
        if any(s is None for s in own):
            own = [encode_mask(mask) if s is None else s for s, mask in zip(own, index.masks(i), strict=True)]
        found += own
    return tuple(found)
