"""A detection data set as one for localization: pictures with a single object each, and folds for cross-validation."""

from dataclasses import replace

import numpy as np

from visionkit.data.index import DetectionIndex, concatenate
from visionkit.data.ragged import to_offsets
from visionkit.data.sources import DetectionData, join_splits
from visionkit.errors import ConfigError, DataError
from visionkit.ops.hashing import mix


def single(
    detection: DetectionData, keep: str = "single", folds: int | None = None, fold: int = 0, seed: int = 0
) -> DetectionData:
    """The target of `configs/data/raccoon_single.yaml`: every picture of the result has one object.

    Crowds and difficult objects count as no object, and are left out of the pictures that stay.

    Args:
        detection: a detection data set (a node of its own in the configuration).
        keep: "single" keeps the pictures that have one object; "largest" keeps each picture's largest object.
        folds: join both splits and part them anew into so many; None keeps the splits.
        fold: the part that is measured on, 0 ... folds - 1; the others are trained on.
        seed: decides which picture is in which part.
    Raises:
        ConfigError: a setting out of its range.
        DataError: nothing is left of a split.
    """
    if keep not in ("single", "largest"):
        raise ConfigError(f"data.keep={keep}: keep has to be single or largest.")
    if folds is None:
        return join_splits(one_object(detection.train, keep), one_object(detection.val, keep))
    if not _whole(folds) or folds < 2:
        raise ConfigError(f"data.folds={folds}: folds has to be null or a whole number of at least 2.")
    if not _whole(fold) or not 0 <= fold < folds:
        raise ConfigError(f"data.fold={fold}: of {folds} folds, fold has to be 0 to {folds - 1}.")
    joined = one_object(concatenate([detection.train, detection.val]), keep)
    if len(joined) < folds:
        raise DataError(f"{joined.source}: {len(joined)} pictures with one object cannot be parted into {folds} folds.")
    part = fold_of(joined, folds, seed)
    val = replace(joined.select(np.flatnonzero(part == fold)), report=[])  # said once, with the training split
    return join_splits(joined.select(np.flatnonzero(part != fold)), val)


def one_object(index: DetectionIndex, keep: str) -> DetectionIndex:
    """The pictures that have one object ("single"), or those that have any, with their largest one ("largest").

    The result's report says how many pictures and objects were left out.
    """
    image = np.repeat(np.arange(len(index)), np.diff(index.offsets))  # (M,) each object's picture
    sound = ~(index.crowd | index.difficult)  # (M,)
    count = np.bincount(image[sound], minlength=len(index))  # (N,) objects
    rows = np.flatnonzero(count == 1 if keep == "single" else count >= 1)
    sides = index.boxes[:, 2:] - index.boxes[:, :2]
    extent = np.where(sound, sides[:, 0] * sides[:, 1], -1.0)  # (M,) square pixels of the box
    order = np.lexsort((np.arange(len(image)), -extent, image))  # by picture, the largest first, then the first
    first = order[index.offsets[:-1][np.diff(index.offsets) > 0]]  # the object that each picture keeps
    chosen = np.zeros(len(image), np.bool_)
    chosen[first] = sound[first]
    less = _with(index, chosen, np.bincount(image[chosen], minlength=len(index))).select(rows)
    report = list(index.report)
    if left := len(index) - len(rows):
        why = "do not have exactly one object" if keep == "single" else "have no object"
        report.append(f"{index.source}: {left} of {len(index)} pictures {why} and are left out.")
    if keep == "largest" and (others := int(count[rows].sum()) - len(rows)):
        report.append(f"{index.source}: {others} objects beside a larger one are left out.")
    return replace(less, report=report)


def fold_of(index: DetectionIndex, folds: int, seed: int) -> np.ndarray:
    """(N,) int64, the part 0 ... folds - 1 of each picture of an index with one object a picture.

    The pictures of a class, in an order that is a hash of (seed, position), are dealt out in turn, and the next class
    goes on where the last one ended: sizes and classes of the parts differ by one picture at most.
    """
    part = np.zeros(len(index), np.int64)
    keys = np.array([mix(seed, i) for i in range(len(index))], np.int64)
    order = np.lexsort((keys, index.labels))  # by class, then by hash
    part[order] = np.arange(len(index)) % folds
    return part


def mean_box(index: DetectionIndex) -> np.ndarray:
    """(4,) float32: the mean of all boxes in units of their pictures, x1 y1 x2 y2 from 0 to 1; no crowds, no difficult
    objects. What a localizer that never looks at the picture would say. DataError where there is no object."""
    sound = ~(index.crowd | index.difficult)
    if not sound.any():
        raise DataError(f"{index.source}: the training set has no object, so its boxes have no mean.")
    sizes = index.sizes[np.repeat(np.arange(len(index)), np.diff(index.offsets))[sound]]  # (M, 2) height, width
    return (index.boxes[sound] / sizes[:, [1, 0, 1, 0]]).mean(axis=0, dtype=np.float64).astype(np.float32)


def _with(index: DetectionIndex, chosen: np.ndarray, counts: np.ndarray) -> DetectionIndex:
    """All pictures with some of their objects: `chosen` (M,) bool, of which picture i has counts[i]."""
    names = ("boxes", "labels", "crowd", "difficult", "area", "ids")
    rows = {name: getattr(index, name)[chosen] for name in names}
    shapes = None if index.segmentations is None else index.segmentations.select(np.flatnonzero(chosen))
    return replace(index, offsets=to_offsets(counts), segmentations=shapes, **rows)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
