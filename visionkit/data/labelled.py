"""The packed index of a classification data set: one class for each picture, or for a part cut out of it.

Flat arrays, for the reason given in `visionkit.data.index`: loading processes share them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionkit.data.pictures import Pictures
from visionkit.errors import DataError


@dataclass(frozen=True, eq=False)
class LabelledIndex:
    """N pictures of one split. Nothing in it is ever changed.

    `report` holds one sentence for each kind of thing that was left out on reading; print them.
    """

    names: tuple[str, ...]  # K class names; labels are positions in it
    source: str  # the file or folder that it was read from, for messages
    report: list[str]
    pictures: Pictures  # N
    labels: np.ndarray  # (N,) int32
    crops: np.ndarray | None = None  # (N, 4) float32 x1 y1 x2 y2: the part that is meant; None = the whole picture
    sizes: np.ndarray | None = None  # (N, 2) int32 height, width of the files that the crops are parts of
    blocks: np.ndarray | None = None  # (N,) int32, ascending: pictures that lie together and are best read together

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def objects(self) -> int:
        """How many labels there are."""
        return len(self.labels)

    def path(self, i: int) -> str:
        """What picture i is called in messages."""
        return self.pictures.name(i)

    def image_id(self, i: int) -> int:
        return i + 1

    def class_counts(self) -> np.ndarray:
        """(K,) pictures of each class."""
        return np.bincount(self.labels, minlength=len(self.names))

    def rename(self, names: Sequence[str]) -> "LabelledIndex":
        """The same pictures labelled by position in another class list, joined by name.

        A class that has pictures here and is not in `names` is a DataError; a class without pictures is fine.
        """
        position = {name: k for k, name in enumerate(names)}
        table = np.array([position.get(name, -1) for name in self.names], np.int32)
        unknown = [self.names[k] for k in np.flatnonzero((table < 0) & (self.class_counts() > 0))]
        if unknown:
            listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise DataError(f"{self.source}: class '{unknown[0]}' is not among the known classes: {listed}.")
        labels = table[self.labels] if len(table) else self.labels
        return replace(self, names=tuple(names), labels=labels)

    def select(self, rows: np.ndarray) -> "LabelledIndex":
        """Some of the pictures, in the order of `rows` (N',)."""
        crops, sizes, blocks = (None if part is None else part[rows] for part in (self.crops, self.sizes, self.blocks))
        chosen = replace(self, pictures=self.pictures.select(rows), labels=self.labels[rows])
        return replace(chosen, crops=crops, sizes=sizes, blocks=blocks)


@dataclass(frozen=True)
class LabelledData:
    """What a classifier trains on and is measured on; both splits label by position in `names`."""

    train: LabelledIndex
    val: LabelledIndex
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train.names == self.val.names == self.names:
            raise ValueError("LabelledData: train, val and names must agree; use `join_labelled`")


def join_labelled(train: LabelledIndex, val: LabelledIndex) -> LabelledData:
    """Both splits under the train split's class names, joined by name.

    DataError: an empty split, or a validation picture whose class the train split lacks.
    """
    for split, index in (("training", train), ("validation", val)):
        if len(index) == 0:
            raise DataError(f"{index.source}: the {split} set is empty.")
    return LabelledData(train, val.rename(train.names), train.names)
