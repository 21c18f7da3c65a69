"""VOC's label maps: `ImageSets/Segmentation/SPLIT.txt`, `JPEGImages/ID.jpg`, `SegmentationClass/ID.png`; and SBD's."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visionkit.data.checks import listing, require_none_missing
from visionkit.data.class_names import given_names
from visionkit.data.label_maps import IndexMaps, LabelMaps, index_table
from visionkit.data.ragged import Blobs
from visionkit.data.roots import resolve_root
from visionkit.data.sbd_maps import SbdMaps
from visionkit.data.segmentation import (
    SegmentationData,
    SegmentationIndex,
    concatenate_segmentation,
    join_segmentation,
    pack_segmentation,
)
from visionkit.data.source_images import IMAGE_SUFFIXES
from visionkit.data.voc_names import VOC_NAMES
from visionkit.errors import ConfigError, DataError

_EXTRA = ("root", "lists", "images", "labels")


class _Kind(NamedTuple):
    """What all label maps of the data set have in common."""

    names: tuple[str, ...]
    table: np.ndarray  # (256,) int64


def voc_segmentation(
    root: str,
    train: str | Sequence[str],
    val: str | Sequence[str],
    extra: Mapping[str, str | Sequence[str]] | None = None,
    drop_shared_from: str = "extra",
    names: str | Sequence[str] | None = None,
) -> SegmentationData:
    """The target of `configs/data/{voc11,voc12}_segmentation.yaml`: one or more VOC trees.

    Args:
        root, train, val: a split is a name of `ImageSets/Segmentation`, or "tree/name" where `root` holds several
            trees ("VOC2012/train"). `train` may be empty where `extra` is given.
        extra: further pictures to train on, as SBD has them: `root`, a folder of its own; `lists`, one or more text
            files with the name of a picture in each line (or "/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png");
            `images` and `labels`, folders. Labels are PNG files like VOC's (SegmentationClassAug), or SBD's .mat files.
            Pictures that `train` has too are left out, since VOC's own label maps are the finer ones.
        drop_shared_from: what pictures are taken from that are in both `extra` and `val`: "extra", which measures on
            all of `val`; or "val", which trains on all of `extra`, as FCN's paper does.
        names: background first, in the order of the labels; None = VOC's 21. 255 is void.
    Raises:
        DataError: a missing list or file, a picture that is listed twice.
        ConfigError: other keys or values than these.
    """
    if drop_shared_from not in ("extra", "val"):
        raise ConfigError(f"data.drop_shared_from={drop_shared_from}: extra or val is wanted.")
    base = resolve_root(root)
    known = VOC_NAMES if names is None else given_names(names, base)
    assert known is not None
    kind = _Kind(known, index_table(range(len(known))))
    trained, measured = _splits(base, train, kind), _splits(base, val, kind)
    if measured is None:
        raise DataError(f"{base}: data.val names no split.")
    if extra is not None:
        further = _read_extra(extra, kind)
        if trained is not None:
            further = _without(further, trained, "are in data.train too, and its label maps were taken")
        if drop_shared_from == "extra":
            further = _without(further, measured, "are measured on (data.val), and were left out of the training set")
        else:
            measured = _without(measured, further, "are trained on (data.extra), and were left out of the measurement")
        trained = further if trained is None else concatenate_segmentation([trained, further])
    if trained is None:
        raise DataError(f"{base}: data.train names no split.")
    return join_segmentation(trained, measured)


def _splits(base: Path, splits: str | Sequence[str], kind: _Kind) -> SegmentationIndex | None:
    wanted = [splits] if isinstance(splits, str) else list(splits)
    parts = []
    for split in wanted:
        tree, _, name = split.rpartition("/")
        parts.append(_read_split(base / tree, name, kind))
    return concatenate_segmentation(parts) if parts else None


def _read_split(tree: Path, split: str, kind: _Kind) -> SegmentationIndex:
    path = tree / "ImageSets" / "Segmentation" / f"{split}.txt"
    stems, labels = _read_list(path), tree / "SegmentationClass"
    files = [str(labels / f"{stem}.png") for stem in stems]
    _require(files, str(path), "label map")
    return _pack(stems, tree / "JPEGImages", IndexMaps(_packed(files), kind.table), str(path), kind)


def _read_extra(extra: Mapping[str, str | Sequence[str]], kind: _Kind) -> SegmentationIndex:
    if set(extra) != set(_EXTRA):
        raise ConfigError(f"data.extra needs the keys {', '.join(_EXTRA)}, not {', '.join(map(str, extra))}.")
    base = resolve_root(str(extra["root"]))
    lists = [extra["lists"]] if isinstance(extra["lists"], str) else list(extra["lists"])
    stems = list(dict.fromkeys(stem for name in lists for stem in _read_list(base / name)))
    labels, source = base / str(extra["labels"]), f"{base} ({', '.join(lists)})"
    present = listing(str(labels))
    suffix = ".mat" if any(f"{stem}.mat" in present for stem in stems) else ".png"
    files = [str(labels / f"{stem}{suffix}") for stem in stems]
    _require(files, source, "label map")
    packed = _packed(files)
    maps: LabelMaps = SbdMaps(packed, kind.table) if suffix == ".mat" else IndexMaps(packed, kind.table)
    return _pack(stems, base / str(extra["images"]), maps, source, kind)


def _read_list(path: Path) -> list[str]:
    """The names of a list, without folders and suffixes."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: a list with the name of a picture in each line.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"{path} cannot be read: {reason}.") from None
    names = [line.split()[0].rpartition("/")[2] for line in lines if line.strip()]
    stems = [os.path.splitext(name)[0] if name.lower().endswith(_SUFFIXES) else name for name in names]
    seen: set[str] = set()
    for number, stem in enumerate(stems, start=1):
        if stem in seen:
            raise DataError(f"{path}: '{stem}' (entry {number}) is listed twice.")
        seen.add(stem)
    return stems


_SUFFIXES = tuple(sorted(IMAGE_SUFFIXES))  # a name may hold other dots


def _pack(stems: Sequence[str], images: Path, maps: LabelMaps, source: str, kind: _Kind) -> SegmentationIndex:
    found = {os.path.splitext(file)[0]: file for file in listing(str(images)) if file.lower().endswith(_SUFFIXES)}
    require_none_missing([str(images / f"{stem}.jpg") for stem in stems if stem not in found], source, "image")
    return pack_segmentation(kind.names, None, source, [str(images / found[stem]) for stem in stems], maps)


def _packed(files: Sequence[str]) -> Blobs:
    return Blobs.pack([os.fsencode(file) for file in files])


def _require(files: Sequence[str], source: str, what: str) -> None:
    folder = os.path.dirname(files[0]) if files else ""
    present = listing(folder)
    require_none_missing([file for file in files if os.path.basename(file) not in present], source, what)


def _without(index: SegmentationIndex, other: SegmentationIndex, what: str) -> SegmentationIndex:
    """The index less the pictures whose names are in the other, with a sentence that says how many."""
    names = {_stem(other, i) for i in range(len(other))}
    kept = [i for i in range(len(index)) if _stem(index, i) not in names]
    if len(kept) == len(index):
        return index
    sentence = f"{index.source}: {len(index) - len(kept)} of {len(index)} pictures {what}."
    return replace(index.select(kept), report=[*index.report, sentence])


def _stem(index: SegmentationIndex, i: int) -> str:
    return os.path.splitext(os.path.basename(index.path(i)))[0]
