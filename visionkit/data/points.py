"""The packed index of a counting data set: a point for each object of every picture."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionkit.data.adaptive_kernels import Kernel
from visionkit.data.checks import BOUND
from visionkit.data.image import image_size
from visionkit.data.ragged import Blobs, select_rows, to_offsets
from visionkit.errors import DataError
from visionkit.structures import Truth

ROUNDING = 1.0  # pixels that a point may lie outside of its picture and still be meant for its border


@dataclass(frozen=True, eq=False)
class PointsIndex:
    """N pictures of one split and M objects in them. Nothing in it is ever changed.

    `report` holds one sentence for each kind of thing that was left out or put right on reading; print them.
    """

    names: tuple[str, ...]  # what is counted: one class
    source: str  # the file or folder that it was read from, for messages
    report: list[str]
    paths: Blobs  # N
    sizes: np.ndarray  # (N, 2) int32, height and width of the upright pictures
    offsets: np.ndarray  # (N + 1,) int64: the objects of picture i are offsets[i] ... offsets[i + 1]
    points: np.ndarray  # (M, 2) float32: x, y in pixels, the upper left corner of the picture being 0, 0
    sigmas: np.ndarray  # (M,) float32, deviation of each one's kernel, pixels
    proposals: None = None  # what boxes may have and these have not

    def __len__(self) -> int:
        return len(self.sizes)

    def path(self, i: int) -> str:
        return os.fsdecode(self.paths[i])

    def image_id(self, i: int) -> int:
        return i + 1

    def size(self, i: int) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        return int(self.sizes[i, 0]), int(self.sizes[i, 1])

    @property
    def counts(self) -> np.ndarray:
        """(N,) int64, objects of each picture."""
        return np.diff(self.offsets)

    def truth(self, i: int) -> Truth:
        """The objects of picture i, as `Truth.points`."""
        rows, none = slice(self.offsets[i], self.offsets[i + 1]), np.zeros(0, np.int64)
        points = np.concatenate([self.points[rows], self.sigmas[rows, None]], axis=1)  # (P, 3)
        return Truth(np.zeros((0, 4), np.float32), none, none.astype(np.bool_), points=points)

    def select(self, rows: Sequence[int] | np.ndarray) -> "PointsIndex":
        """The pictures at these positions, in this order."""
        rows = np.asarray(rows, np.int64).reshape(-1)
        flat, offsets = select_rows(self.offsets, rows)
        return replace(
            self,
            paths=self.paths.select(rows),
            sizes=self.sizes[rows],
            offsets=offsets,
            points=self.points[flat],
            sigmas=self.sigmas[flat],
        )

    def rename(self, names: Sequence[str]) -> "PointsIndex":
        """Itself, if this is what `names` means. DataError for another class than the one that is counted here."""
        if tuple(names) != self.names:
            known = ", ".join(names)
            raise DataError(f"{self.source}: '{self.names[0]}' is counted here, and the known classes are: {known}.")
        return self


def pack_points(
    name: str,
    source: str,
    images: Sequence[str],
    points: Sequence[np.ndarray],
    kernel: Kernel,
    report: Sequence[str] = (),
) -> PointsIndex:
    """The index of N pictures, given their paths and the points (P, 2) of each, x and y in pixels from the corner.

    Points more than a pixel outside of their picture are dropped, nearer ones put on its border; the report says how
    many. Kernels are found among the points that are left.

    Raises:
        DataError: a picture that is missing or no picture, a coordinate that is no possible one.
    """
    sizes = [image_size(path) for path in images]
    kept: list[np.ndarray] = []
    dropped, moved = _Note("dropped, being outside of the picture"), _Note("moved to the border")
    for path, size, own in zip(images, sizes, points, strict=True):
        own = np.asarray(own, np.float64).reshape(-1, 2)
        wrong = own[~np.isfinite(own).all(axis=1) | (np.abs(own) > BOUND).any(axis=1)]
        if len(wrong):
            raise DataError(f"{source}: {path}: {wrong[0].tolist()} is not a possible point.")
        limit = np.array([size[1], size[0]], np.float64)
        outside = ((own < -ROUNDING) | (own > limit + ROUNDING)).any(axis=1)
        dropped.add(int(outside.sum()), path)
        own = own[~outside]
        inside = np.clip(own, 0, limit)
        moved.add(int((inside != own).any(axis=1).sum()), path)
        kept.append(inside.astype(np.float32))
    sigmas = [kernel(own) for own in kept]
    return PointsIndex(
        names=(name,),
        source=source,
        report=[*report, *dropped.sentence(source), *moved.sentence(source)],
        paths=Blobs.pack([os.fsencode(path) for path in images]),
        sizes=np.array(sizes, np.int32).reshape(-1, 2),
        offsets=to_offsets(np.array([len(own) for own in kept], np.int64)),
        points=np.concatenate([np.zeros((0, 2), np.float32), *kept]),
        sigmas=np.concatenate([np.zeros(0, np.float32), *sigmas]),
    )


class _Note:
    """How often something was put right, and where first."""

    def __init__(self, what: str) -> None:
        self.what, self.count, self.first = what, 0, ""

    def add(self, count: int, path: str) -> None:
        self.first = self.first or (path if count else "")
        self.count += count

    def sentence(self, source: str) -> list[str]:
        noun = "point was" if self.count == 1 else "points were"
        return [f"{source}: {self.count} {noun} {self.what}, first in {self.first}."] if self.count else []


@dataclass(frozen=True)
class CountingData:
    """What a counter trains on and is measured on."""

    train: PointsIndex
    val: PointsIndex
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train.names == self.val.names == self.names or len(self.names) != 1:
            raise ValueError("CountingData: train, val and names must agree on one class; use `join_points`")


def join_points(train: PointsIndex, val: PointsIndex) -> CountingData:
    """Both splits as one data set; what they share is noted in the report of `val`.

    DataError: an empty split, a training split without a single object, or splits that count different things.
    """
    for split, index in (("training", train), ("validation", val)):
        if len(index) == 0:
            raise DataError(f"{index.source}: the {split} set is empty.")
    if len(train.points) == 0:
        raise DataError(f"{train.source}: there is no object in any training picture, so nothing can be learnt.")
    trained = {train.paths[i] for i in range(len(train))}
    both = sum(val.paths[i] in trained for i in range(len(val)))
    if both:
        said = f"{val.source}: {both} of {len(val)} pictures are trained on too: what is measured on them says little."
        val = replace(val, report=[*val.report, said])
    return CountingData(train, val.rename(train.names), train.names)
