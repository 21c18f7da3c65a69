"""The packed index of a semantic data set: a class for every pixel of each picture."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionkit.data.image import image_size
from visionkit.data.label_maps import IGNORE, JoinedMaps, LabelMaps
from visionkit.data.ragged import Blobs
from visionkit.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class SegmentationIndex:
    """N pictures of one split and their label maps. Nothing in it is ever changed.

    `report` holds one sentence for each kind of thing that was left out or put right on reading; print them.
    """

    names: tuple[str, ...]  # K class names, background included where it is one; labels are positions in it
    colors: np.ndarray  # (K, 3) uint8 RGB, for pictures of label maps
    source: str  # the file or folder that it was read from, for messages
    report: list[str]
    paths: Blobs  # N
    sizes: np.ndarray  # (N, 2) int32, height and width of the upright pictures
    maps: LabelMaps  # N
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

    def semantic(self, i: int) -> np.ndarray:
        """Label map of picture i, (H, W) int64: 0 ... K-1, 255 = ignore. DataError where its size is another one."""
        labels = self.maps.read(i)
        if labels.shape != self.size(i):
            height, width = self.size(i)
            raise DataError(
                f"{self.maps.name(i)} has {labels.shape[0]} x {labels.shape[1]} pixels (height x width), and its "
                f"picture {self.path(i)} {height} x {width}: they have to be the same."
            )
        return labels

    def select(self, rows: Sequence[int] | np.ndarray) -> "SegmentationIndex":
        """The pictures at these positions, in this order."""
        rows = np.asarray(rows, np.int64).reshape(-1)
        return replace(self, paths=self.paths.select(rows), sizes=self.sizes[rows], maps=self.maps.select(rows))

    def rename(self, names: Sequence[str]) -> "SegmentationIndex":
        """The same maps labelled by position in another class list, joined by name.

        DataError for a class that is not in `names`.
        """
        if tuple(names) == self.names:
            return self
        position = {name: k for k, name in enumerate(names)}
        unknown = [name for name in self.names if name not in position]
        if unknown:
            listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise DataError(f"{self.source}: class '{unknown[0]}' is not among the known classes: {listed}.")
        table = np.array([position[name] for name in self.names], np.int64)
        colors = spread_colors(len(names))
        colors[table] = self.colors
        return replace(self, names=tuple(names), colors=colors, maps=self.maps.relabelled(table))


def pack_segmentation(
    names: Sequence[str],
    colors: np.ndarray | None,
    source: str,
    images: Sequence[str],
    maps: LabelMaps,
    sizes: np.ndarray | None = None,
    report: Sequence[str] = (),
) -> SegmentationIndex:
    """The index of N pictures, given their paths, and their N maps.

    Args:
        names, source, report: see `SegmentationIndex`.
        colors: (K, 3) uint8 RGB, or None for `spread_colors`.
        sizes: (N, 2) height and width of the upright pictures; None reads them from the files' headers.
    Raises:
        DataError: a picture that is missing or no picture.
    """
    if sizes is None:
        sizes = np.array([image_size(path) for path in images], np.int32).reshape(-1, 2)
    if not len(images) == len(maps) == len(sizes):
        raise ValueError(f"{source}: {len(images)} pictures, {len(maps)} maps and {len(sizes)} sizes")
    if len(names) > IGNORE:
        raise DataError(f"{source}: {len(names)} classes, and label maps hold {IGNORE} at most.")
    return SegmentationIndex(
        names=tuple(names),
        colors=spread_colors(len(names)) if colors is None else colors,
        source=source,
        report=list(report),
        paths=Blobs.pack([os.fsencode(path) for path in images]),
        sizes=np.asarray(sizes, np.int32),
        maps=maps,
    )


def concatenate_segmentation(indexes: Sequence[SegmentationIndex]) -> SegmentationIndex:
    """One index after the other. All must have the same names; the colours are the first one's."""
    first = indexes[0]
    if len(indexes) == 1:
        return first
    if any(index.names != first.names for index in indexes):
        raise ValueError("concatenate_segmentation: the class names differ; rename them first")
    return replace(
        first,
        source=" + ".join(index.source for index in indexes),
        report=[line for index in indexes for line in index.report],
        paths=Blobs.join([index.paths for index in indexes]),
        sizes=np.concatenate([index.sizes for index in indexes]),
        maps=JoinedMaps.of([index.maps for index in indexes]),
    )


@dataclass(frozen=True)
class SegmentationData:
    """What a segmenter trains on and is measured on; both splits label by position in `names`."""

    train: SegmentationIndex
    val: SegmentationIndex
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train.names == self.val.names == self.names:
            raise ValueError("SegmentationData: train, val and names must agree; use `join_segmentation`")


def join_segmentation(train: SegmentationIndex, val: SegmentationIndex) -> SegmentationData:
    """Both splits under the train split's class names, joined by name.

    DataError: an empty split, or a validation class that the train split lacks.
    """
    for split, index in (("training", train), ("validation", val)):
        if len(index) == 0:
            raise DataError(f"{index.source}: the {split} set is empty.")
    return SegmentationData(train, _note_shared(train, val).rename(train.names), train.names)


def _note_shared(train: SegmentationIndex, val: SegmentationIndex) -> SegmentationIndex:
    """`val` with a sentence in its report where some of its pictures are trained on."""
    trained = {train.paths[i] for i in range(len(train))}
    both = sum(val.paths[i] in trained for i in range(len(val)))
    if not both:
        return val
    sentence = f"{val.source}: {both} of {len(val)} pictures are trained on too: what is measured on them says little."
    return replace(val, report=[*val.report, sentence])


def given_colors(colors: Sequence[Sequence[int]] | None, count: int) -> np.ndarray:
    """What a setting `data.colors` says, (count, 3) uint8 RGB; None gives `spread_colors`.

    ConfigError: not `count` colours of three whole numbers from 0 to 255.
    """
    if colors is None:
        return spread_colors(count)
    if len(colors) != count:
        raise ConfigError(f"data.colors has {len(colors)} colours, and there are {count} classes.")
    for color in colors:
        if len(color) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in color):
            raise ConfigError(f"data.colors: {list(color)} is not a colour: three whole numbers from 0 to 255.")
    return np.array(colors, np.uint8).reshape(-1, 3)


def spread_colors(count: int) -> np.ndarray:
    """VOC's colours, (count, 3) uint8 RGB: bit 3k + c of the label goes to bit 7 - k of channel c, so that near labels
    look far apart; the first is black."""
    values = np.arange(count)
    channels = [sum(((values >> (3 * k + c)) & 1) << (7 - k) for k in range(3)) for c in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)
