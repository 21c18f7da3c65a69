"""The packed index: all images and objects of a split in a few numpy arrays.

A list of Python objects is copied page by page into every forked worker, because reading an object changes its
reference count. Flat arrays are only read, so the workers share them and memory does not grow with their number.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from visionkit.data.ragged import Blobs, select_rows, to_offsets
from visionkit.errors import DataError, some_of

if TYPE_CHECKING:
    from visionkit.data.proposals import ProposalSet


@dataclass(frozen=True, eq=False)
class IndexTruth:
    """The objects of one image, in pixels of the upright file. G may be 0."""

    boxes: np.ndarray  # (G, 4) float32, x1 y1 x2 y2, inside the image, of positive extent
    labels: np.ndarray  # (G,) int64, 0 ... K-1
    crowd: np.ndarray  # (G,) bool, COCO's iscrowd
    difficult: np.ndarray  # (G,) bool, VOC's difficult
    area: np.ndarray  # (G,) float64, square pixels; of the mask where the file says so
    ids: np.ndarray  # (G,) int64, the file's own (COCO; may be 0) or position + 1 in the split (VOC)


@dataclass(frozen=True, eq=False)
class DetectionIndex:
    """N images and M objects of one split. Made by `IndexBuilder`; nothing in it is ever changed.

    `report` holds one sentence for each kind of object that was dropped or clipped on reading; print them.
    """

    names: tuple[str, ...]  # K class names; labels are positions in it
    category_ids: np.ndarray  # (K,) int64, the classes' numbers in COCO's files; position + 1 elsewhere
    source: str  # the file or folder that it was read from, for messages
    report: list[str]
    paths: Blobs  # N
    image_ids: np.ndarray  # (N,) int64
    sizes: np.ndarray  # (N, 2) int32, height and width
    offsets: np.ndarray  # (N + 1,) int64: the objects of image i are offsets[i] ... offsets[i + 1]
    boxes: np.ndarray  # (M, 4) float32
    labels: np.ndarray  # (M,) int32
    crowd: np.ndarray  # (M,) bool
    difficult: np.ndarray  # (M,) bool
    area: np.ndarray  # (M,) float64
    ids: np.ndarray  # (M,) int64
    segmentations: Blobs | None  # M JSON texts (COCO's polygons or RLE; "null" = none); None = no object has any
    proposals: "ProposalSet | None" = None  # of the N images, for models that look at given regions

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def objects(self) -> int:
        """How many objects there are in all."""
        return len(self.labels)

    @property
    def has_masks(self) -> bool:
        return self.segmentations is not None

    def path(self, i: int) -> str:
        return self.paths[i].decode()

    def image_id(self, i: int) -> int:
        return int(self.image_ids[i])

    def size(self, i: int) -> tuple[int, int]:
        """(height, width) of the upright image."""
        return int(self.sizes[i, 0]), int(self.sizes[i, 1])

    def aspect(self, i: int) -> float:
        """width / height."""
        return float(self.sizes[i, 1] / self.sizes[i, 0])

    def truth(self, i: int) -> IndexTruth:
        """The objects of image i as fresh arrays."""
        part = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return IndexTruth(
            boxes=self.boxes[part].copy(),
            labels=self.labels[part].astype(np.int64),
            crowd=self.crowd[part].copy(),
            difficult=self.difficult[part].copy(),
            area=self.area[part].copy(),
            ids=self.ids[part].copy(),
        )

    def segmentation(self, i: int) -> list[Any]:
        """COCO segmentations of image i's objects: polygon lists, RLE dicts, or None where an object has none."""
        if self.segmentations is None:
            raise DataError(f"{self.source}: the annotations hold no masks.")
        return [json.loads(self.segmentations[k]) for k in range(int(self.offsets[i]), int(self.offsets[i + 1]))]

    def masks(self, i: int) -> np.ndarray:
        """(G, H, W) bool. An object without a segmentation gets its filled box. DataError if there are none at all."""
        from visionkit.data.coco import decode_segmentation  # here: that module imports this one

        boxes = self.boxes[int(self.offsets[i]) : int(self.offsets[i + 1])]
        masks = np.zeros((len(boxes), *self.size(i)), bool)
        for mask, box, segmentation in zip(masks, boxes, self.segmentation(i), strict=True):
            if segmentation is None:
                x1, y1, x2, y2 = np.round(box).astype(int)
                x1, y1 = min(x1, mask.shape[1] - 1), min(y1, mask.shape[0] - 1)
                mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True  # at least one pixel
            else:
                mask[:] = decode_segmentation(segmentation, mask.shape)
        return masks

    def class_counts(self) -> np.ndarray:
        """(K,) int64, objects of each class."""
        return np.bincount(self.labels, minlength=len(self.names)).astype(np.int64)

    def with_objects(self) -> "DetectionIndex":
        """Only the images that hold an object."""
        return self.select(np.flatnonzero(np.diff(self.offsets) > 0))

    def select(self, indices: Sequence[int] | np.ndarray) -> "DetectionIndex":
        """The images at these positions, in this order."""
        rows = np.asarray(indices, np.int64).reshape(-1)
        flat, offsets = select_rows(self.offsets, rows)
        return replace(
            self,
            paths=self.paths.select(rows),
            image_ids=self.image_ids[rows],
            sizes=self.sizes[rows],
            offsets=offsets,
            boxes=self.boxes[flat],
            labels=self.labels[flat],
            crowd=self.crowd[flat],
            difficult=self.difficult[flat],
            area=self.area[flat],
            ids=self.ids[flat],
            segmentations=None if self.segmentations is None else self.segmentations.select(flat),
            proposals=None if self.proposals is None else self.proposals.select(rows),
        )

    def rename(self, names: Sequence[str]) -> "DetectionIndex":
        """The same objects labelled by position in another class list, joined by name.

        A class that has objects here and is not in `names` is a DataError; a class of `names` without objects is fine.
        Category ids go with their names; a class that is new here gets a free one.
        """
        position = {name: k for k, name in enumerate(names)}
        table = np.array([position.get(name, -1) for name in self.names], np.int32)
        unknown = [self.names[k] for k in np.flatnonzero((table < 0) & (self.class_counts() > 0))]
        if unknown:
            raise DataError(f"{self.source}: class '{unknown[0]}' is not among the known classes: {some_of(names)}.")
        labels = table[self.labels] if len(table) else self.labels
        own = dict(zip(self.names, self.category_ids.tolist(), strict=True))
        free = itertools.count(max(own.values(), default=0) + 1)
        numbers = [own[name] if name in own else next(free) for name in names]
        return replace(self, names=tuple(names), category_ids=np.array(numbers, np.int64), labels=labels)


def concatenate(indexes: Sequence[DetectionIndex]) -> DetectionIndex:
    """One index after the other. All must have the same names; image and object ids become position + 1."""
    if len(indexes) == 1:
        return indexes[0]
    first = indexes[0]
    if any(index.names != first.names for index in indexes):
        raise ValueError("concatenate: the class names differ; rename them first")

    def join(field: str) -> np.ndarray:
        return np.concatenate([getattr(index, field) for index in indexes])

    objects = sum(index.objects for index in indexes)
    masks = [index.segmentations for index in indexes if index.segmentations is not None]
    return DetectionIndex(
        names=first.names,
        category_ids=first.category_ids,
        source=" + ".join(index.source for index in indexes),
        report=[line for index in indexes for line in index.report],
        paths=Blobs.join([index.paths for index in indexes]),
        image_ids=np.arange(1, sum(map(len, indexes)) + 1),
        sizes=join("sizes"),
        offsets=to_offsets(np.concatenate([np.diff(index.offsets) for index in indexes])),
        boxes=join("boxes"),
        labels=join("labels"),
        crowd=join("crowd"),
        difficult=join("difficult"),
        area=join("area"),
        ids=np.arange(1, objects + 1),
        segmentations=Blobs.join(masks) if len(masks) == len(indexes) else None,
    )


class IndexBuilder:
    """Collects images and objects one by one, then packs them. Objects belong to the image added last."""

    def __init__(self, names: Sequence[str], source: str, category_ids: Sequence[int] | None = None) -> None:
        self._names, self._source = tuple(names), source
        self._category_ids = range(1, len(self._names) + 1) if category_ids is None else category_ids
        self._images: list[tuple[bytes, int, tuple[int, int]]] = []
        self._counts: list[int] = []
        self._objects: list[tuple[tuple[float, float, float, float], int, bool, bool, float, int]] = []
        self._segmentations: list[bytes] = []

    def add_image(self, path: str, image_id: int, size: tuple[int, int]) -> None:
        """`size` is (height, width)."""
        self._images.append((path.encode(), image_id, size))
        self._counts.append(0)

    def add_object(
        self,
        box: tuple[float, float, float, float],
        label: int,
        crowd: bool = False,
        difficult: bool = False,
        area: float | None = None,
        object_id: int | None = None,
        segmentation: Any = None,
    ) -> None:
        """`box` is x1 y1 x2 y2, already checked (see `visionkit.data.checks`); `area` defaults to the box's."""
        area = (box[2] - box[0]) * (box[3] - box[1]) if area is None else area
        object_id = len(self._objects) + 1 if object_id is None else object_id
        self._objects.append((box, label, crowd, difficult, area, object_id))
        self._segmentations.append(json.dumps(segmentation, separators=(",", ":")).encode())
        self._counts[-1] += 1

    def build(self, report: Sequence[str] = ()) -> DetectionIndex:
        count, objects = len(self._objects), self._objects
        any_mask = any(text != b"null" for text in self._segmentations)
        return DetectionIndex(
            names=self._names,
            category_ids=np.array(self._category_ids, np.int64),
            source=self._source,
            report=list(report),
            paths=Blobs.pack([image[0] for image in self._images]),
            image_ids=np.array([image[1] for image in self._images], np.int64),
            sizes=np.array([image[2] for image in self._images], np.int32).reshape(-1, 2),
            offsets=to_offsets(np.array(self._counts, np.int64)),
            boxes=np.array([o[0] for o in objects], np.float32).reshape(-1, 4),
            labels=np.fromiter((o[1] for o in objects), np.int32, count),
            crowd=np.fromiter((o[2] for o in objects), np.bool_, count),
            difficult=np.fromiter((o[3] for o in objects), np.bool_, count),
            area=np.fromiter((o[4] for o in objects), np.float64, count),
            ids=np.fromiter((o[5] for o in objects), np.int64, count),
            segmentations=Blobs.pack(self._segmentations) if any_mask else None,
        )
