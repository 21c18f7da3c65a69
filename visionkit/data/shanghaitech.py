"""ShanghaiTech's crowds (Zhang et al., MCNN, 2016): pictures, and the points of all heads in .mat files."""

import io
import os
import re
from pathlib import Path

import numpy as np

from visionkit.data.adaptive_kernels import ADAPTIVE, Kernel
from visionkit.data.checks import listing, require_none_missing
from visionkit.data.image import read_bytes
from visionkit.data.points import CountingData, PointsIndex, join_points, pack_points
from visionkit.data.roots import resolve_root
from visionkit.errors import DataError

_PICTURE = re.compile(r"IMG_(\d+)\.jpe?g", re.IGNORECASE)


def shanghaitech(
    root: str,
    part: str = "part_B",
    train: str = "train_data",
    val: str = "test_data",
    kernel: Kernel = ADAPTIVE,
    name: str = "person",
) -> CountingData:
    """The target of `configs/data/shanghaitech.yaml`.

    Below `root/part`, each split has `images/IMG_n.jpg` and `ground_truth/GT_IMG_n.mat`.

    Args:
        part: "part_A" or "part_B"; a folder, so "part_A_final" of other copies goes too.
        train, val: its folders.
        kernel: how widely each head is spread.
        name: what is counted.
    Raises:
        DataError: a missing folder or file, a picture without its points, a .mat file of another layout.
    """
    base = resolve_root(root) / part
    if not base.is_dir():
        parts = ", ".join(sorted(name for name in listing(str(base.parent)) if name.startswith("part"))) or "none"
        raise DataError(f"{base} does not exist: data.part names a folder of {base.parent}, which has {parts}.")
    return join_points(*(_read(base / split, kernel, name) for split in (train, val)))


def read_locations(path: str) -> np.ndarray:
    """The heads in a file of ShanghaiTech's, (P, 2) float64: x and y in pixels from the picture's corner.

    Its `image_info{1,1}` holds a struct with `location` (P, 2) and `number`. MATLAB counts from 1 and means the middle
    of a pixel, so that 1, 1 becomes 0.5, 0.5. DataError when the file is missing, broken or of another layout.
    """
    from scipy.io import loadmat

    data = read_bytes(path)
    try:
        content = loadmat(io.BytesIO(data), variable_names=["image_info"])
        info = content["image_info"][0, 0][0, 0]  # a cell, in it a struct
        location, number = np.asarray(info["location"], np.float64), int(np.asarray(info["number"]).item())
    except Exception as error:  # scipy raises ValueError, TypeError, zlib.error and others for broken files
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise DataError(
            f"{path} is no file of ShanghaiTech's, with image_info{{1,1}}.location and .number ({reason})."
        ) from None
    if location.size == 0:
        location = np.zeros((0, 2))
    if location.ndim != 2 or location.shape[1] != 2:
        raise DataError(f"{path}: location is {location.shape}, and an x and a y for each head are wanted.")
    if len(location) != number:
        raise DataError(f"{path}: number is {number}, and location has {len(location)} heads.")
    return location - 0.5


def _read(folder: Path, kernel: Kernel, name: str) -> PointsIndex:
    images, truths = folder / "images", folder / "ground_truth"
    for wanted in (images, truths):
        if not wanted.is_dir():
            raise DataError(f"{wanted} does not exist: ShanghaiTech's folders are images and ground_truth.")
    numbers = {int(found[1]): file for file in listing(str(images)) if (found := _PICTURE.fullmatch(file))}
    if not numbers:
        raise DataError(f"{images} holds no picture IMG_n.jpg.")
    known, order = listing(str(truths)), sorted(numbers)
    missing = [str(truths / f"GT_IMG_{n}.mat") for n in order if f"GT_IMG_{n}.mat" not in known]
    require_none_missing(missing, str(images), "the file of points")
    others = sorted(listing(str(images)) - set(numbers.values()))
    report = []
    if others:
        report.append(f"{images}: {len(others)} files are no IMG_n.jpg and were left out, such as {others[0]}.")
    points = [read_locations(str(truths / f"GT_IMG_{n}.mat")) for n in order]
    return pack_points(name, str(folder), [os.path.join(images, numbers[n]) for n in order], points, kernel, report)
