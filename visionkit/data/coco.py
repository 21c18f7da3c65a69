"""Reads a COCO instances file. One of the two rooms of pycocotools, which turns polygons and RLE into masks."""

import math
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from visionkit.data.checks import BoxChecks
from visionkit.data.coco_file import by_id, category_name, image_paths, integer, load_coco, stated_size
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
    content = load_coco(annotations)
    entries = by_id(content, "images", annotations)
    categories = by_id(content, "categories", annotations)
    names = [category_name(categories[key], annotations) for key in sorted(categories)]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{annotations}: two categories are called '{twice}'.")
    labels = {key: k for k, key in enumerate(sorted(categories))}
    paths = image_paths(entries, images, annotations)

    by_image: dict[int, list[dict[str, Any]]] = {key: [] for key in entries}
    for key, annotation in by_id(content, "annotations", annotations).items():
        for field, known in (("image_id", by_image), ("category_id", labels)):
            if integer(annotation.get(field)) not in known:
                raise DataError(f"{annotations}: annotation {key}: {field} {annotation.get(field)!r} does not exist.")
        by_image[annotation["image_id"]].append(annotation)

    builder, checks = IndexBuilder(names, annotations, sorted(categories)), BoxChecks(annotations)
    for key, entry in entries.items():
        size = stated_size(entry, annotations) or image_size(paths[key])
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
