"""Where the truth of a semantic index lies: one picture of class numbers or colours for each image."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from PIL import Image

from visionkit.data.image import read_bytes, with_image
from visionkit.data.ragged import Blobs
from visionkit.errors import ConfigError, DataError

IGNORE = 255  # of a pixel whose class is not known, or does not count


class LabelMaps(Protocol):
    """N maps of labels that can be read in any order by any process."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> np.ndarray:
        """Map i, (H, W) int64: labels 0 ... K-1, 255 = ignore. DataError that names the file when it cannot be read, or
        holds a value that stands for no class."""

    def name(self, i: int) -> str:
        """What a person calls it: its path."""

    def select(self, rows: np.ndarray) -> Self:
        """Some of the maps, in the order of `rows` (N',)."""

    def relabelled(self, table: np.ndarray) -> Self:
        """The same maps with other labels: `table` (K,) gives the new label of each, 255 = ignore."""


@dataclass(frozen=True, eq=False)
class IndexMaps:
    """Files with one channel, gray or with a palette, whose values stand for classes."""

    paths: Blobs  # N
    table: np.ndarray  # (256,) int64: the label of every value; 255 = ignore, -1 = no class

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        return os.fsdecode(self.paths[i])

    def read(self, i: int) -> np.ndarray:
        return apply_table(read_index_picture(self.name(i)), self.table, self.name(i))

    def select(self, rows: np.ndarray) -> "IndexMaps":
        return replace(self, paths=self.paths.select(rows))

    def relabelled(self, table: np.ndarray) -> "IndexMaps":
        return replace(self, table=relabel(self.table, table))


@dataclass(frozen=True, eq=False)
class JoinedMaps:
    """Maps of several kinds as one."""

    parts: tuple[LabelMaps, ...]
    places: np.ndarray  # (N, 2) int32: which part, and which of its maps

    @staticmethod
    def of(parts: Sequence[LabelMaps]) -> "JoinedMaps":
        """All maps of each part, one part after the other."""
        places = [np.stack([np.full(len(part), k), np.arange(len(part))], axis=1) for k, part in enumerate(parts)]
        return JoinedMaps(tuple(parts), np.concatenate(places).astype(np.int32))

    def __len__(self) -> int:
        return len(self.places)

    def name(self, i: int) -> str:
        part, place = self.places[i].tolist()
        return self.parts[part].name(place)

    def read(self, i: int) -> np.ndarray:
        part, place = self.places[i].tolist()
        return self.parts[part].read(place)

    def select(self, rows: np.ndarray) -> "JoinedMaps":
        return replace(self, places=self.places[rows])

    def relabelled(self, table: np.ndarray) -> "JoinedMaps":
        return replace(self, parts=tuple(part.relabelled(table) for part in self.parts))


def relabel(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Labels of any shape with `table` (K,) applied to those that are classes; 255 and -1 stay."""
    known = (labels >= 0) & (labels != IGNORE)
    changed = labels.copy()
    changed[known] = np.asarray(table, np.int64)[labels[known]]
    return changed


def apply_table(values: np.ndarray, table: np.ndarray, name: str) -> np.ndarray:
    """Values (H, W) uint8 -> labels (H, W) int64, by a table (256,) that has -1 where a value stands for no class:
    DataError for such a pixel of the file `name`."""
    labels = table[values]  # (H, W)
    if labels.min(initial=0) < 0:
        wrong = np.unique(values[labels < 0]).tolist()
        listed = ", ".join(map(str, wrong[:8])) + (f" and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise DataError(
            f"{name}: the value{'s' if len(wrong) > 1 else ''} {listed} stand{'' if len(wrong) > 1 else 's'} for no "
            f"class ({(labels < 0).sum():,} pixels)."
        )
    return labels


def index_table(values: Sequence[int], void: Sequence[int] = ()) -> np.ndarray:
    """A table for `IndexMaps`: `values[k]` stands for label k, `void` and, unless it is a class, 255 for ignore.

    ConfigError: a value that is not 0 ... 255, or that stands for two things.
    """
    table = np.full(256, -1, np.int64)
    for kind, given in (("a class", values), ("void", void)):
        for k, value in enumerate(given):
            if not isinstance(value, int) or not 0 <= value <= 255:
                raise ConfigError(f"label maps hold values from 0 to 255, so {value!r} cannot stand for {kind}.")
            if table[value] >= 0:
                raise ConfigError(f"the value {value} of the label maps stands for two things; the second is {kind}.")
            table[value] = IGNORE if kind == "void" else k
    if table[255] < 0:
        table[255] = IGNORE
    return table


def read_index_picture(path: str) -> np.ndarray:
    """A file of one channel as it is, (H, W) uint8: a palette's positions are kept, and not turned into colours.

    Three equal channels are taken for one, and 16 bits as they are, up to 255. DataError when the file is missing or
    broken, or has colours.
    """
    return with_image(io.BytesIO(read_bytes(path)), path, lambda picture: _one_channel(picture, path))


def _one_channel(picture: Image.Image, path: str) -> np.ndarray:
    if picture.mode in ("P", "L", "1"):
        return np.array(picture, np.uint8)  # (H, W)
    values = np.asarray(picture)  # (H, W) or (H, W, channels)
    if values.ndim == 3:
        own = values[..., : 1 if picture.mode == "LA" else 3]  # alpha says nothing of classes
        if picture.mode not in ("LA", "RGB", "RGBA") or (own != own[..., :1]).any():
            raise DataError(
                f"{path} has colours ({picture.mode}), and class numbers are wanted: one channel or a palette."
            )
        values = own[..., 0]
    if values.max(initial=0) > 255 or values.min(initial=0) < 0 or values.dtype.kind == "f":
        raise DataError(f"{path} holds numbers up to {values.max():,}, and label maps hold whole ones, 0 ... 255.")
    return values.astype(np.uint8)
