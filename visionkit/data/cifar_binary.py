"""The binary batches of CIFAR-10 and CIFAR-100: label bytes and 3,072 bytes of colour planes, again and again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.data.array_pictures import ArrayPictures
from visionkit.data.class_names import read_names
from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.roots import resolve_root
from visionkit.errors import DataError

_PIXELS = 3 * 32 * 32
_TRAIN10 = tuple(f"data_batch_{k}.bin" for k in range(1, 6))


def cifar10(root: str) -> LabelledData:
    """The target of `configs/data/cifar10.yaml`: `root` has the batches and `batches.meta.txt`.

    The files are mapped: a picture is read when it is asked for. DataError: a missing or damaged file, a label outside
    the list of names.
    """
    return _read(resolve_root(root), _TRAIN10, ("test_batch.bin",), "batches.meta.txt", labels=1, column=0)


def cifar100(root: str, coarse: bool = False) -> LabelledData:
    """The target of `configs/data/cifar100.yaml`: 100 classes, or with `coarse` the 20 that they belong to."""
    kind, column = ("coarse", 0) if coarse else ("fine", 1)
    return _read(resolve_root(root), ("train.bin",), ("test.bin",), f"{kind}_label_names.txt", labels=2, column=column)


def _read(base: Path, train: Sequence[str], val: Sequence[str], names: str, labels: int, column: int) -> LabelledData:
    known = read_names(base / names)
    splits = [_split([base / file for file in files], known, labels, column) for files in (train, val)]
    return join_labelled(*splits)


def _split(files: Sequence[Path], names: tuple[str, ...], labels: int, column: int) -> LabelledIndex:
    """`labels` label bytes stand before each picture; that at `column` is its class."""
    pictures, classes = [], []
    for file in files:
        records = _records(file, labels + _PIXELS)
        found = np.array(records[:, column], np.int32)
        wrong = np.flatnonzero(found >= len(names))
        if len(wrong):
            raise DataError(f"{file}[{wrong[0]}]: the label {found[wrong[0]]} is outside the list of {len(names)}.")
        planes = records[:, labels:].reshape(-1, 3, 32, 32)  # a view: the label bytes stay where they are
        pictures.append(planes.transpose(0, 2, 3, 1))  # (N, 32, 32, 3)
        classes.append(found)
    source = ", ".join([str(files[0]), *(file.name for file in files[1:])])
    array = ArrayPictures.join(pictures, [str(file) for file in files])
    return LabelledIndex(names, source, [], array, np.concatenate(classes))


def _records(file: Path, length: int) -> np.ndarray:
    """(N, length) uint8, mapped."""
    try:
        content = np.memmap(file, np.uint8, "r")
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        reason = error.strerror if isinstance(error, OSError) else "it is empty"
        raise DataError(f"{file} cannot be read: {reason}.") from None
    if len(content) % length:
        raise DataError(f"{file} holds {len(content)} bytes, no multiple of the {length} of a picture: it is damaged.")
    return content.reshape(-1, length)
