"""A data set in tar shards: `ROOT/train/000000.tar ...`, `ROOT/val/...`, with `classes.txt` beside them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.data.class_names import given_names, read_names
from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.roots import resolve_root
from visionkit.data.shard_index import index_shards
from visionkit.data.shard_names import find_shards
from visionkit.data.tar_pictures import TarPictures
from visionkit.data.tar_scan import Shard
from visionkit.errors import ConfigError, DataError

CLASSES = "classes.txt"
_ORDERS = ("blocks", "all")


def shards(
    root: str,
    train: str = "train",
    val: str = "val",
    names: str | Sequence[str] | None = None,
    order: str = "blocks",
) -> LabelledData:
    """The target of `configs/data/shards.yaml`.

    Args:
        root: the folder of the splits.
        train, val: folders of tar files under `root`, or patterns for them (`visionkit.data.shard_names`).
        names: the classes (`visionkit.data.class_names`); None = `classes.txt` beside the tars, or in `root`.
        order: "blocks": an epoch takes the shards in random order and shuffles a few at a time, so that a disk is read
            in long runs; "all": an epoch shuffles all pictures.
    Raises:
        ConfigError: another order.
        DataError: no tars, no classes; and see `visionkit.data.tar_scan`.
    """
    if order not in _ORDERS:
        raise ConfigError(f"data.order={order}: {' or '.join(_ORDERS)} is wanted.")
    base = resolve_root(root)
    given = given_names(names, base)
    splits = (read_shards(find_shards(base, split), given, base, order == "blocks") for split in (train, val))
    return join_labelled(*splits)


def read_shards(paths: Sequence[Path], names: tuple[str, ...] | None, base: Path, blocks: bool) -> LabelledIndex:
    """One split. 20 bytes a picture: 24 MB for the 1.2 million of ImageNet."""
    known = _classes(paths[0].parent, base) if names is None else names
    found, report = index_shards(paths, known)
    index = join_shards([str(path) for path in paths], found, known, blocks)
    others, example = sum(shard.others for shard in found), next((shard.other for shard in found if shard.other), "")
    if others:
        report.append(f"{index.source}: {others} members are neither picture nor class, such as '{example}'; left out.")
    index.report.extend(report)
    return index


def join_shards(paths: Sequence[str], found: Sequence[Shard], names: tuple[str, ...], blocks: bool) -> LabelledIndex:
    """The index of several shards, in their order."""
    shard = np.repeat(np.arange(len(found), dtype=np.int32), [len(part.label) for part in found])
    offset, length, label = (
        np.concatenate([getattr(part, field) for part in found]) for field in ("offset", "length", "label")
    )
    pictures = TarPictures(tuple(paths), shard, offset, length)
    source = str(Path(paths[0]).parent)
    return LabelledIndex(names, source, [], pictures, label, blocks=shard if blocks else None)


def _classes(folder: Path, base: Path) -> tuple[str, ...]:
    for place in (folder, base):
        if (place / CLASSES).is_file():
            return read_names(place / CLASSES)
    raise DataError(f"{folder / CLASSES} does not exist: a class name a line, in the order of the classes' numbers.")
