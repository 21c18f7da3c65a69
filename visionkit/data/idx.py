"""The idx files of MNIST and its kin: a header and bytes, plain or gzipped."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.data.array_pictures import ArrayPictures
from visionkit.data.class_names import given_names
from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.roots import resolve_root
from visionkit.errors import DataError

_DIGITS = tuple("0123456789")
_BYTES = 8  # the code of "unsigned byte" in the third byte of the header


def mnist(
    root: str,
    names: str | Sequence[str] = _DIGITS,
    train_images: str = "train-images-idx3-ubyte",
    train_labels: str = "train-labels-idx1-ubyte",
    val_images: str = "t10k-images-idx3-ubyte",
    val_labels: str = "t10k-labels-idx1-ubyte",
) -> LabelledData:
    """The target of `configs/data/mnist.yaml` and `fashion_mnist.yaml`.

    Args:
        root: the folder of the four files, each as it is named here or with `.gz` added. Plain ones are mapped and
            read picture by picture; zipped ones are unpacked into memory once (MNIST: 47 MB).
        names: the classes, in the order of the labels.
    Raises:
        DataError: a missing, damaged or foreign file, pictures and labels of different number, a label outside the
            list of names.
    """
    base = resolve_root(root)
    known = given_names(names, base) or _DIGITS
    return join_labelled(_split(base, train_images, train_labels, known), _split(base, val_images, val_labels, known))


def _split(base: Path, images: str, labels: str, names: tuple[str, ...]) -> LabelledIndex:
    image_file, label_file = _plain_or_gz(base / images), _plain_or_gz(base / labels)
    pixels, classes = read_idx(image_file, 3), read_idx(label_file, 1)
    if len(pixels) != len(classes):
        raise DataError(f"{image_file} has {len(pixels)} pictures, and {label_file} {len(classes)} labels.")
    wrong = np.flatnonzero(classes >= len(names))
    if len(wrong):
        raise DataError(
            f"{label_file}[{wrong[0]}]: the label {classes[wrong[0]]} is outside the list of {len(names)} classes."
        )
    pictures = ArrayPictures.join([pixels], [str(image_file)])
    return LabelledIndex(names, str(image_file), [], pictures, classes.astype(np.int32))


def _plain_or_gz(path: Path) -> Path:
    zipped = path.with_name(f"{path.name}.gz")
    if not path.exists() and not zipped.exists():
        raise DataError(f"{path} does not exist, nor does {zipped.name}.")
    return path if path.exists() else zipped


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An idx file of unsigned bytes with so many dimensions, uint8. DataError: another kind, too short, too long."""
    try:
        content = _unpacked(path) if path.suffix == ".gz" else np.memmap(path, np.uint8, "r")
    except (OSError, EOFError, ValueError, zlib.error) as error:  # ValueError: an empty file cannot be mapped
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read: {reason}.") from None
    start = 4 + 4 * dimensions
    found = bytes(content[:4]).hex()
    if found != f"0000{_BYTES:02x}{dimensions:02x}":
        raise DataError(
            f"{path} is no idx file of bytes with {dimensions} dimensions: it begins with 0x{found}, "
            f"not with 0x0000{_BYTES:02x}{dimensions:02x}."
        )
    shape = tuple(np.frombuffer(bytes(content[4:start]).ljust(4 * dimensions, b"\0"), ">u4").tolist())
    promised = start + int(np.prod(shape, dtype=np.int64))
    if len(content) != promised:
        raise DataError(f"{path} holds {len(content)} bytes, and its header promises {promised}: it is damaged.")
    return content[start:].reshape(shape)


def _unpacked(path: Path) -> np.ndarray:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8)
