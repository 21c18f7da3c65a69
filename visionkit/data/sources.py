"""From a data set's folder to its two splits. These functions are the targets of `configs/data/*.yaml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visionkit.data.coco import read_coco
from visionkit.data.index import DetectionIndex, concatenate
from visionkit.data.roots import resolve_root
from visionkit.data.voc import read_voc
from visionkit.errors import ConfigError, DataError


@dataclass(frozen=True)
class DetectionData:
    """What a run trains on and is measured on; both splits label their objects by position in `names`."""

    train: DetectionIndex
    val: DetectionIndex
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train.names == self.val.names == self.names:
            raise ValueError("DetectionData: train, val and names must agree; use `join_splits`")


def join_splits(train: DetectionIndex, val: DetectionIndex, keep_empty: bool = True) -> DetectionData:
    """Both splits under the train split's class names, joined by name.

    `keep_empty=False` drops the training images without objects (they are good negatives, so the default keeps them).
    DataError: no training image, no validation image, or a validation object whose class the train split lacks.
    """
    if not keep_empty:
        train = train.with_objects()
    for split, index in (("training", train), ("validation", val)):
        if len(index) == 0:
            raise DataError(f"{index.source}: the {split} set is empty.")
    if not train.names:
        raise DataError(f"{train.source}: the training set names no class.")
    return DetectionData(train, val.rename(train.names), train.names)


def coco(root: str, train: Mapping[str, str], val: Mapping[str, str], keep_empty: bool = True) -> DetectionData:
    """A COCO tree. `train` and `val` each give `annotations` (a JSON file) and `images` (a folder) under `root`."""
    base = resolve_root(root)
    return join_splits(_coco_split(base, "train", train), _coco_split(base, "val", val), keep_empty=keep_empty)


def _coco_split(base: Path, name: str, split: Mapping[str, str]) -> DetectionIndex:
    if set(split) != {"annotations", "images"}:
        raise ConfigError(f"data.{name} needs the keys annotations and images, not {', '.join(map(str, split))}.")
    return read_coco(str(base / split["annotations"]), str(base / split["images"]))


def voc(
    root: str,
    train: str | Sequence[str],
    val: str | Sequence[str],
    names: Sequence[str] | None = None,
    keep_empty: bool = True,
) -> DetectionData:
    """One or more VOC trees. A split is a name of `ImageSets/Main` ("trainval"), or "tree/name" where `root` holds
    several trees ("VOC2012/trainval"). Without `names` the classes are those of the train split, sorted."""
    base = resolve_root(root)
    trained = _voc_splits(base, train, names)
    return join_splits(trained, _voc_splits(base, val, trained.names), keep_empty=keep_empty)


def _voc_splits(base: Path, splits: str | Sequence[str], names: Sequence[str] | None) -> DetectionIndex:
    wanted = [splits] if isinstance(splits, str) else list(splits)
    if not wanted:
        raise DataError(f"{base}: no split is named.")
    parts = []
    for split in wanted:
        tree, _, name = split.rpartition("/")
        parts.append(read_voc(str(base / tree), name, names))
    if names is None:
        names = sorted({name for part in parts for name in part.names})
    return concatenate([part.rename(names) for part in parts])
