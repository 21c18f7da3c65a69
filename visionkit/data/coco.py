"""Reads a COCO instances file. One of the two rooms of pycocotools, which turns polygons and RLE into masks."""

import json
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from visionkit.data.checks import BoxChecks, listing, require_none_missing
from visionkit.data.image import image_size
from visionkit.data.index import DetectionIndex, IndexBuilder
from visionkit.data.rle import checked_segmentation
from visionkit.errors import DataError


def read_coco(annotations: str, images: str) -> DetectionIndex:
    """The file `annotations` over the pictures in the folder `images`, in the order of the file's image list.

    Names are the categories sorted by id (gaps are fine), labels the positions in them; image and annotation ids are
    COCO's own. A missing `iscrowd` is 0, a missing `area` that of the mask, else of the box; a missing size is read
    from the picture. DataError names the file and the annotation: broken JSON, duplicate ids, an annotation of an
    image or category that is not there, a missing picture, an impossible box or mask (`visionkit.data.checks` says
    which boxes are dropped or clipped instead).
    """
    content = _load(annotations)
    entries = _by_id(content, "images", annotations)
    categories = _by_id(content, "categories", annotations)
    names = [_name(categories[key], annotations) for key in sorted(categories)]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{annotations}: two categories are called '{twice}'.")
    labels = {key: k for k, key in enumerate(sorted(categories))}
    paths = _paths(entries, images, annotations)

    by_image: dict[int, list[dict[str, Any]]] = {key: [] for key in entries}
    for key, annotation in _by_id(content, "annotations", annotations).items():
        for field, known in (("image_id", by_image), ("category_id", labels)):
            if _integer(annotation.get(field)) not in known:
                raise DataError(f"{annotations}: annotation {key}: {field} {annotation.get(field)!r} does not exist.")
        by_image[annotation["image_id"]].append(annotation)

    builder, checks = IndexBuilder(names, annotations, sorted(categories)), BoxChecks(annotations)
    for key, entry in entries.items():
        size = _size(entry, annotations) or image_size(paths[key])
        builder.add_image(paths[key], key, size)
        for annotation in by_image[key]:
            _add(builder, annotation, size, labels[annotation["category_id"]], checks)
    return builder.build(checks.report())


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, from a checked list of polygons (their union) or an RLE, compressed or not."""
    if isinstance(segmentation, list):
        code = rle_tools.merge(rle_tools.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        code = rle_tools.frPyObjects(segmentation, *size)
    else:
        code = segmentation
    return np.asarray(rle_tools.decode(code)).astype(bool)


def _add(builder: IndexBuilder, entry: dict[str, Any], size: tuple[int, int], label: int, checks: BoxChecks) -> None:
    culprit = f"annotation {entry['id']}"
    box, area = entry.get("bbox"), entry.get("area")
    if not isinstance(box, list) or len(box) != 4:
        raise checks.error(culprit, f"bbox is {box!r}, not four numbers")
    checks.finite(box, culprit)
    inside = checks.inside((box[0], box[1], box[0] + box[2], box[1] + box[3]), size, culprit)
    segmentation = checked_segmentation(entry.get("segmentation"), size, culprit, checks)
    if inside is None:
        return
    if area is None:
        area = box[2] * box[3] if segmentation is None else float(decode_segmentation(segmentation, size).sum())
    elif not isinstance(area, int | float) or not math.isfinite(area) or area < 0:
        raise checks.error(culprit, f"the area is {area!r}")
    builder.add_object(
        inside, label, crowd=bool(entry.get("iscrowd", 0)), area=area, object_id=entry["id"], segmentation=segmentation
    )


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise DataError(f"annotation file {path} does not exist.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in lists):
        raise DataError(f"{path} is not a COCO instances file: it needs the lists {', '.join(lists)}.")
    return content


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _by_id(content: dict[str, Any], key: str, source: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for position, entry in enumerate(content[key]):
        number = _integer(entry.get("id")) if isinstance(entry, dict) else None
        if number is None:
            raise DataError(f"{source}: {key}[{position}] has no integer id.")
        if number in found:
            raise DataError(f"{source}: two {key} have the id {number}.")
        found[number] = entry
    return found


def _name(category: dict[str, Any], source: str) -> str:
    name = category.get("name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{source}: category {category['id']} has no name.")
    return name


def _size(entry: dict[str, Any], source: str) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    if not height or not width:
        return None
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        raise DataError(f"{source}: image {entry['id']} has the size {height!r} x {width!r}.")
    return height, width


def _paths(entries: dict[int, dict[str, Any]], folder: str, source: str) -> dict[int, str]:
    """The picture of each image id. `file_name` may name a folder below `folder`."""
    if not os.path.isdir(folder):
        raise DataError(f"image folder {folder} does not exist.")
    paths: dict[int, str] = {}
    for key, entry in entries.items():
        if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            raise DataError(f"{source}: image {key} has no file_name.")
        paths[key] = os.path.join(folder, entry["file_name"])
    require_none_missing(list(_absent(paths)), source, "image")
    return paths


def _absent(paths: dict[int, str]) -> Iterator[str]:
    present: dict[str, frozenset[str]] = {}
    for path in paths.values():
        parent, name = os.path.split(path)
        if parent not in present:
            present[parent] = listing(parent)
        if name not in present[parent]:
            yield path
