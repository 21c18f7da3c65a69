"""Folders of pictures and of label maps of the same names, with a file of the classes: a data set of one's own."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from visionkit.data.class_file import ClassFile, read_class_file
from visionkit.data.folders import list_files
from visionkit.data.held_out import check_fraction, drawn
from visionkit.data.ragged import Blobs
from visionkit.data.roots import resolve_root
from visionkit.data.segmentation import SegmentationData, SegmentationIndex, join_segmentation, pack_segmentation
from visionkit.data.source_images import IMAGE_SUFFIXES
from visionkit.errors import ConfigError, DataError


def mask_folders(
    root: str,
    train: Mapping[str, str],
    val: Mapping[str, str] | None,
    classes: str = "classes.csv",
    void: Sequence[str] = (),
    image_suffix: str = "",
    mask_suffix: str = "",
    val_fraction: float = 0.2,
    seed: int = 0,
) -> SegmentationData:
    """The target of `configs/data/image_masks.yaml`.

    Args:
        root: the folder of everything below.
        train, val: two folders each, `images` and `masks`. A picture and its label map have the same path below them,
            suffix of the file aside. Without the folders of `val`, or with None, `val_fraction` of the pictures, drawn
            by `seed`, is held out.
        classes, void: what the label maps hold; see `visionkit.data.class_file.read_class_file`.
        image_suffix, mask_suffix: what the names of pictures and label maps end with where they differ: "_leftImg8bit",
            "_gtFine_labelIds". Files that do not end so are left out.
    Raises:
        DataError: a missing folder, a picture without its label map or the other way round, two pictures of one name,
            a broken file of classes.
        ConfigError: impossible settings.
    """
    check_fraction(val_fraction)
    base = resolve_root(root)
    known = read_class_file(base / classes, void)
    for name, split in (("train", train), ("val", val)):
        if split is not None and set(split) != {"images", "masks"}:
            raise ConfigError(f"data.{name} needs the keys images and masks, not {', '.join(map(str, split))}.")
    suffixes = (image_suffix, mask_suffix)
    trained = _read(base, train, known, suffixes)
    if val is not None and any((base / folder).is_dir() for folder in val.values()):
        return join_segmentation(trained, _read(base, val, known, suffixes))
    if len(trained) < 2:
        raise DataError(f"{trained.source}: one picture alone, and two splits.")
    chosen = np.zeros(len(trained), np.bool_)
    chosen[drawn(np.arange(len(trained)), val_fraction, seed)] = True
    missing = "" if val is None else f"{base / val['images']} does not exist: "
    sentence = f"{missing}{chosen.sum()} of {len(trained)} pictures are held out for validation."
    held = replace(trained.select(np.flatnonzero(chosen)), report=[sentence])
    return join_segmentation(trained.select(np.flatnonzero(~chosen)), held)


def _read(base: Path, split: Mapping[str, str], known: ClassFile, suffixes: tuple[str, str]) -> SegmentationIndex:
    folders = (base / split["images"], base / split["masks"])
    together = os.path.normpath(folders[0]) == os.path.normpath(folders[1])
    if together and suffixes[0] == suffixes[1]:
        raise ConfigError(
            f"{folders[0]}: pictures and label maps are in one folder, so data.mask_suffix or data.image_suffix has to "
            "say how their names differ."
        )
    report: list[str] = []
    images = _by_name(folders[0], suffixes[0], suffixes[1] if together else "", report)
    masks = _by_name(folders[1], suffixes[1], suffixes[0] if together else "", report)
    for here, there, folder, what in (
        (images, masks, folders[1], "label map"),
        (masks, images, folders[0], "picture"),
    ):
        alone = [name for name in here if name not in there]
        if alone:
            more = f" ({len(alone)} of {len(here)} lack one)" if len(alone) > 1 else ""
            raise DataError(f"{here[alone[0]]} has no {what} in {folder}{more}.")
    if not images:
        raise DataError(f"{folders[0]} holds no picture (looked for {', '.join(sorted(IMAGE_SUFFIXES))}).")
    maps = known.maps(Blobs.pack([os.fsencode(masks[name]) for name in images]))
    return pack_segmentation(
        known.names, known.colors, str(folders[0]), list(images.values()), maps, report=list(dict.fromkeys(report))
    )


def _by_name(folder: Path, suffix: str, other: str, report: list[str]) -> dict[str, str]:
    """The pictures below a folder by their paths in it, without `suffix` and the file's own; those that end with
    `other` are none of them."""
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: a folder with pictures is wanted.")
    found: dict[str, str] = {}
    left_out: list[str] = []
    for path in list_files(str(folder)):
        stem, kind = os.path.splitext(os.path.relpath(path, folder))
        if other and stem.endswith(other):
            continue
        if kind.lower() not in IMAGE_SUFFIXES or not stem.endswith(suffix):
            left_out.append(path)
            continue
        stem = stem.removesuffix(suffix)
        if stem in found:
            raise DataError(f"{found[stem]} and {path} have one name: which of them is meant?")
        found[stem] = path
    if left_out:
        what = f"pictures with names ending in '{suffix}'" if suffix else "pictures"
        report.append(f"{folder}: {len(left_out)} files that are no {what} were left out, such as {left_out[0]}.")
    return found
