"""Writes a data set as tar shards of the WebDataset layout. The same pictures always give the same bytes."""

import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from visionkit.data.classification import labelled_sample
from visionkit.data.labelled import LabelledIndex
from visionkit.data.progress import Progress
from visionkit.data.tar_shards import CLASSES
from visionkit.errors import ConfigError, DataError
from visionkit.ops.hashing import mix, random_keys

_SUFFIXES = {b"\xff\xd8": "jpg", b"\x89P": "png", b"BM": "bmp", b"GI": "gif", b"II": "tif", b"MM": "tif", b"RI": "webp"}


def write_shards(index: LabelledIndex, folder: Path, shard_size: int, shuffle: bool, seed: int = 0) -> Path:
    """`folder/000000.tar` ... with `classes.txt`: `KEY.jpg` and `KEY.cls` of each picture, `shard_size` pictures a tar.

    A picture's file is copied as it is; where there is none (an array, a part that is cut out), a PNG is made.
    `shuffle` puts the pictures in an order drawn by `seed`; without, they come in the index's, which is class by class
    for folders: right for validation, wrong for training in the order of blocks.

    The folder appears when all is written. ConfigError: a shard size below 1. DataError: the folder exists and is not
    empty, or a picture cannot be read.
    """
    if isinstance(shard_size, bool) or not isinstance(shard_size, int) or shard_size < 1:
        raise ConfigError(f"shard_size={shard_size}: a whole number of at least 1 is wanted.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not empty: remove it, or choose another output.")
    order = _shuffled(len(index), seed) if shuffle else np.arange(len(index))
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a call that was interrupted
    part.mkdir(parents=True)
    digits = max(8, len(str(len(index))))
    try:
        with Progress(f"writing {folder}", len(index), "images") as progress:
            for number, first in enumerate(range(0, len(order), shard_size)):
                with tarfile.open(part / f"{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as packed:
                    for place in range(first, min(first + shard_size, len(order))):
                        i, key = int(order[place]), f"{place:0{digits}d}"
                        data = _file(index, i)
                        _add(packed, f"{key}.{_suffix(data)}", data)
                        _add(packed, f"{key}.cls", str(int(index.labels[i])).encode())
                        progress.advance()
        (part / CLASSES).write_text("".join(f"{name}\n" for name in index.names), encoding="utf-8")
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _file(index: LabelledIndex, i: int) -> bytes:
    data = None if index.crops is not None else index.pictures.encoded(i)
    if data is None:
        buffer = io.BytesIO()
        Image.fromarray(labelled_sample(index, i).image).save(buffer, "PNG")
        data = buffer.getvalue()
    return data


def _suffix(data: bytes) -> str:
    """By the first bytes; a file that is no picture keeps its bytes, and `show_data check=true` names it later."""
    return _SUFFIXES.get(data[:2], "jpg")


def _add(packed: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time, no owner: the same bytes each time
    info.size = len(data)
    packed.addfile(info, io.BytesIO(data))


def _shuffled(count: int, seed: int) -> np.ndarray:
    order: np.ndarray = torch.argsort(random_keys(torch.tensor([mix(seed, count)]), count)[0], stable=True).numpy()
    return order
