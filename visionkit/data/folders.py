"""A folder per class: `ROOT/train/cat/*.jpg`, `ROOT/val/cat/*.jpg`, or class folders alone, split by chance."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from visionkit.data.held_out import check_fraction, hold_out
from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.pictures import Files
from visionkit.data.ragged import Blobs
from visionkit.data.roots import resolve_root
from visionkit.data.source_images import IMAGE_SUFFIXES
from visionkit.errors import DataError


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
    check_fraction(val_fraction)
    base = resolve_root(root)
    if (base / train).is_dir():
        return join_labelled(read_folders(base / train), read_folders(base / val))
    return hold_out(read_folders(base), val_fraction, seed)


def read_folders(root: Path) -> LabelledIndex:
    """Every picture below each folder of `root`; the folders' names, sorted, are the classes."""
    if not root.is_dir():
        raise DataError(f"{root} does not exist: a folder with a folder of pictures for each class is wanted.")
    classes = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(f"{root} has no folders: one for each class is wanted.")
    parts: list[Blobs] = []  # packed class by class: a million paths as Python objects would be heavy
    others: list[str] = []
    for directory in classes:
        found = [path for path in list_files(str(directory)) if _is_picture(path, others)]
        if not found:
            raise DataError(f"{directory}: the class {directory.name!r} has no pictures.")
        parts.append(Blobs.pack([os.fsencode(path) for path in found]))
    report = [f"{root}: {len(others)} files that are no pictures were left out, such as {others[0]}."] if others else []
    labels = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    return LabelledIndex(tuple(path.name for path in classes), str(root), report, Files(Blobs.join(parts)), labels)


def list_files(directory: str) -> list[str]:
    """The files below a folder, sorted by the parts of their paths. What is hidden is nobody's."""
    return sorted(_walk(directory), key=lambda path: path.split(os.sep))


def _walk(directory: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.is_file():
                yield entry.path


def _is_picture(path: str, others: list[str]) -> bool:
    """By the suffix; what is none goes to `others`."""
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
        return True
    others.append(path)
    return False
