"""COCO with a class for every pixel: panoptic PNG files with their JSON, and the label maps of COCO-Stuff."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.checks import listing, require_none_missing
from visionkit.data.coco_file import by_id, category_name, image_paths, integer, load_coco, stated_size
from visionkit.data.image import image_size
from visionkit.data.label_maps import IndexMaps, index_table
from visionkit.data.panoptic_maps import PanopticMaps
from visionkit.data.ragged import Blobs, to_offsets
from visionkit.data.roots import resolve_root
from visionkit.data.segmentation import SegmentationData, SegmentationIndex, join_segmentation, pack_segmentation
from visionkit.errors import ConfigError, DataError

_KEYS = ("annotations", "images", "masks")


def coco_panoptic(root: str, train: Mapping[str, str], val: Mapping[str, str]) -> SegmentationData:
    """The target of `configs/data/coco_panoptic.yaml`.

    `train` and `val` give, under `root`: `annotations`, a panoptic JSON file; `images`, the folder of the pictures;
    `masks`, that of the PNG files. Every segment has the class of its category, things and stuff alike, groups too;
    labels are positions in the categories sorted by id, and void pixels are ignored.

    Raises:
        DataError: a broken JSON file, an annotation of an image or category that is not there, two for one image, a
            missing file. Images without an annotation are left out and counted.
        ConfigError: other keys than these.
    """
    base = resolve_root(root)
    return join_segmentation(*(_read_panoptic(base, *split) for split in (("train", train), ("val", val))))


def coco_stuff(
    root: str,
    train: Mapping[str, str | Sequence[str]],
    val: Mapping[str, str | Sequence[str]],
    first_value: int = 0,
    void: Sequence[str] = ("other",),
) -> SegmentationData:
    """The target of `configs/data/coco_stuff.yaml`: a PNG file of one channel for each picture.

    Args:
        root, train, val: `images` and `masks` are folders under `root`; `annotations` is one or more JSON files, of
            which the first lists the pictures, and all together have the categories (COCO's instances file those of
            things, the stuff file the others).
        first_value: what a pixel of the category with id 1 holds. The released `stuffthingmaps` have 0, ids less one;
            the `stuff_*_pixelmaps` have 1, the ids themselves. 255 is unlabelled in both, and so is every value that
            is no category's where `first_value` leaves room below it (0 of the pixelmaps).
        void: names of categories whose pixels do not count. Those that the files lack are passed over.
    Raises:
        DataError: a broken JSON file, two names for one id, a missing file.
        ConfigError: other keys than these.
    """
    base = resolve_root(root)
    return join_segmentation(
        *(_read_stuff(base, *split, first_value, void) for split in (("train", train), ("val", val)))
    )


def _read_panoptic(base: Path, name: str, split: Mapping[str, str]) -> SegmentationIndex:
    _check_keys(name, split)
    source = str(base / split["annotations"])
    content = load_coco(source, "panoptic")
    entries, categories = by_id(content, "images", source), by_id(content, "categories", source)
    labels = {key: k for k, key in enumerate(sorted(categories))}
    annotations = _by_image(content["annotations"], entries, source)
    paths = image_paths({key: entries[key] for key in annotations}, str(base / split["images"]), source)
    masks = base / split["masks"]
    files = [str(masks / _file_name(annotation, source)) for annotation in annotations.values()]
    _require(files, source)
    segments = [_segments(annotation, labels, source) for annotation in annotations.values()]
    flat = np.array([pair for pairs in segments for pair in pairs], np.int64).reshape(-1, 2)
    maps = PanopticMaps(
        Blobs.pack([os.fsencode(file) for file in files]),
        flat[:, 0].astype(np.int32),
        flat[:, 1].astype(np.uint8),
        to_offsets(np.array([len(pairs) for pairs in segments], np.int64)),
    )
    missing = len(entries) - len(annotations)
    report = [f"{source}: {missing} of {len(entries)} images have no annotation and were left out."] if missing else []
    names = [category_name(categories[key], source) for key in sorted(categories)]
    return pack_segmentation(
        _unique(names, source),
        _colors([categories[key] for key in sorted(categories)]),
        source,
        list(paths.values()),
        maps,
        _sizes({key: entries[key] for key in annotations}, paths, source),
        report,
    )


def _by_image(found: list[Any], entries: Mapping[int, Any], source: str) -> dict[int, dict[str, Any]]:
    """The annotations by image, in the order of the images."""
    owned: dict[int, dict[str, Any]] = {}
    for position, annotation in enumerate(found):
        key = integer(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if key is None or key not in entries:
            raise DataError(f"{source}: annotations[{position}]: there is no image of its image_id, {key}.")
        if key in owned:
            raise DataError(f"{source}: two annotations are of the image {key}.")
        owned[key] = annotation
    return {key: owned[key] for key in entries if key in owned}


def _file_name(annotation: dict[str, Any], source: str) -> str:
    name = annotation.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{source}: the annotation of image {annotation['image_id']} has no file_name.")
    return name


def _segments(annotation: dict[str, Any], labels: Mapping[int, int], source: str) -> list[tuple[int, int]]:
    """(number, label) of every segment of a picture, ascending."""
    pairs: dict[int, int] = {}
    infos = annotation.get("segments_info")
    if not isinstance(infos, list):
        raise DataError(f"{source}: the annotation of image {annotation['image_id']} has no list segments_info.")
    for info in infos:
        number = integer(info.get("id")) if isinstance(info, dict) else None
        culprit = f"{source}: image {annotation['image_id']}, segment {number}"
        if number is None or not 0 < number < 256**3 or number in pairs:
            raise DataError(f"{culprit}: every segment needs a number of its own, 1 ... {256**3 - 1:,}.")
        if info.get("category_id") not in labels:
            raise DataError(f"{culprit}: category_id {info.get('category_id')!r} does not exist.")
        pairs[number] = labels[info["category_id"]]
    return sorted(pairs.items())


def _colors(categories: Sequence[dict[str, Any]]) -> np.ndarray | None:
    """(K, 3) uint8 RGB where every category has a colour, as panoptic files have."""
    found = [category.get("color") for category in categories]
    if not all(isinstance(c, list) and len(c) == 3 and all(v in range(256) for v in c) for c in found):
        return None
    return np.array(found, np.uint8).reshape(-1, 3)


def _read_stuff(
    base: Path, name: str, split: Mapping[str, str | Sequence[str]], first_value: int, void: Sequence[str]
) -> SegmentationIndex:
    _check_keys(name, split)
    given = split["annotations"]
    sources = [str(base / file) for file in ([given] if isinstance(given, str) else given)]
    if not sources:
        raise ConfigError(f"data.{name}.annotations is an empty list.")
    if first_value not in (0, 1):
        raise ConfigError(f"data.first_value={first_value}: 0 (ids less one) or 1 (the ids) is wanted.")
    entries: dict[int, dict[str, Any]] = {}
    names: dict[int, str] = {}
    for position, source in enumerate(sources):
        content = load_coco(source, "instances or stuff")
        entries = by_id(content, "images", source) if position == 0 else entries
        for key, category in by_id(content, "categories", source).items():
            known = names.setdefault(key, category_name(category, source))
            if known != category["name"]:
                raise DataError(f"{source}: category {key} is '{category['name']}' here and '{known}' elsewhere.")
    classes = [key for key in sorted(names) if names[key] not in void]
    ignored = [key for key in sorted(names) if names[key] in void]
    table = index_table([key - 1 + first_value for key in classes], [key - 1 + first_value for key in ignored])
    table[:first_value] = 255
    paths = image_paths(entries, str(base / str(split["images"])), sources[0])
    files = [str(base / str(split["masks"]) / f"{Path(path).stem}.png") for path in paths.values()]
    _require(files, sources[0])
    return pack_segmentation(
        _unique([names[key] for key in classes], sources[-1]),
        None,
        sources[0],
        list(paths.values()),
        IndexMaps(Blobs.pack([os.fsencode(file) for file in files]), table),
        _sizes(entries, paths, sources[0]),
    )


def _check_keys(name: str, split: Mapping[str, Any]) -> None:
    if set(split) != set(_KEYS):
        raise ConfigError(f"data.{name} needs the keys {', '.join(_KEYS)}, not {', '.join(map(str, split))}.")


def _require(files: Sequence[str], source: str) -> None:
    known = {folder: listing(folder) for folder in {os.path.dirname(file) for file in files}}
    missing = [file for file in files if os.path.basename(file) not in known[os.path.dirname(file)]]
    require_none_missing(missing, source, "label map")


def _sizes(entries: Mapping[int, dict[str, Any]], paths: Mapping[int, str], source: str) -> np.ndarray:
    sizes = [stated_size(entry, source) or image_size(paths[key]) for key, entry in entries.items()]
    return np.array(sizes, np.int32).reshape(-1, 2)


def _unique(names: Sequence[str], source: str) -> Sequence[str]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{source}: two categories are called '{twice}'.")
    return names
