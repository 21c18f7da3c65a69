"""A folder per class: `ROOT/train/cat/*.jpg`, `ROOT/val/cat/*.jpg`, or class folders alone, split by chance."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.ragged import Blobs
from visionkit.data.roots import resolve_root
from visionkit.data.source_images import IMAGE_SUFFIXES
from visionkit.errors import ConfigError, DataError
from visionkit.ops.hashing import mix


def folder(root: str, train: str = "train", val: str = "val", val_fraction: float = 0.2, seed: int = 0) -> LabelledData:
    """The target of `configs/data/folder.yaml`.

    Args:
        root: has a folder for each split with a folder for each class in it; or, without a folder `train`, the class
            folders themselves, of which `val_fraction` of each class, drawn by `seed`, is held out for validation.
        train, val: the splits' folders under `root`.
    Raises:
        ConfigError: `val_fraction` is not between 0 and 1.
        DataError: no such folder, no classes, a class without pictures.
    """
    if not 0 < val_fraction < 1:
        raise ConfigError(f"data.val_fraction={val_fraction}: a number between 0 and 1 is wanted.")
    base = resolve_root(root)
    if (base / train).is_dir():
        return join_labelled(read_folders(base / train), read_folders(base / val))
    index = read_folders(base)
    held_out = _held_out(index, val_fraction, seed)
    return join_labelled(index.select(np.flatnonzero(~held_out)), index.select(np.flatnonzero(held_out)))


def read_folders(root: Path) -> LabelledIndex:
    """Every picture below each folder of `root`; the folders' names, sorted, are the classes."""
    if not root.is_dir():
        raise DataError(f"{root} does not exist: a folder with a folder of pictures for each class is wanted.")
    classes = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(f"{root} has no folders: one for each class is wanted.")
    paths: list[bytes] = []
    labels: list[int] = []
    others: list[Path] = []
    for label, directory in enumerate(classes):
        found = list(_pictures(directory, others))
        if not found:
            raise DataError(f"{directory}: the class {directory.name!r} has no pictures.")
        paths += [os.fsencode(path) for path in found]
        labels += [label] * len(found)
    report = [f"{root}: {len(others)} files that are no pictures were left out, such as {others[0]}."] if others else []
    names = tuple(path.name for path in classes)
    return LabelledIndex(names, str(root), report, Blobs.pack(paths), np.array(labels, np.int32))


def _pictures(directory: Path, others: list[Path]) -> Iterator[Path]:
    """The pictures below a folder, sorted; what else there is goes to `others`. What is hidden is nobody's."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                yield path
            else:
                others.append(path)


def _held_out(index: LabelledIndex, fraction: float, seed: int) -> np.ndarray:
    """(N,) bool: of each class the given share, at least one and never all, chosen by (seed, position)."""
    chosen = np.zeros(len(index), np.bool_)
    for label, count in enumerate(index.class_counts()):
        rows = np.flatnonzero(index.labels == label)
        if count < 2:
            raise DataError(f"{index.source}: the class {index.names[label]!r} has one picture alone, and two splits.")
        order = sorted(rows.tolist(), key=lambda i: mix(seed, i))
        chosen[order[: min(count - 1, max(1, round(fraction * count)))]] = True
    return chosen
