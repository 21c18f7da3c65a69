"""From a COCO instances file to a `TruthTable`, refusing what pycocotools drops or misreads in silence."""

from typing import Any, NoReturn

import numpy as np

from visionkit.errors import DataError
from visionkit.evaluation.truth import COORDINATE_LIMIT, TruthTable


def read_coco_truth(content: Any, source: str) -> TruthTable:
    """Parsed COCO JSON -> table, classes in the order of their category ids.

    Annotation ids are of no account here (pycocotools takes id 0 for "unmatched"); a missing `iscrowd` is 0 and a
    missing `area` the box's. DataError naming the file and the annotation for a missing key, for an annotation whose
    image or category is not in the file, and for numbers that are NaN, infinite or out of bounds.
    """
    if not isinstance(content, dict) or any(not isinstance(content.get(k), list) for k in _LISTS):
        raise DataError(f"{source}: is not a COCO instances file (it needs the lists {', '.join(_LISTS)}).")
    images, annotations = content["images"], content["annotations"]
    categories = content["categories"]
    image_at = _positions(images, "image", source)
    _positions(categories, "category", source)
    categories = sorted(categories, key=lambda c: c["id"])
    label_of = {c["id"]: k for k, c in enumerate(categories)}
    for category in categories:
        if "name" not in category:
            raise DataError(f"{source}: category {category['id']} has no 'name'.")

    count = len(annotations)
    image_index, labels = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    xywh, areas = np.zeros((count, 4)), np.zeros(count)  # (G, 4), (G,)
    crowd, difficult = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    for i, annotation in enumerate(annotations):
        try:
            image_index[i] = image_at[annotation["image_id"]]
            labels[i] = label_of[annotation["category_id"]]
            x, y, w, h = xywh[i] = annotation["bbox"]
            areas[i] = w * h if annotation.get("area") is None else annotation["area"]
            crowd[i] = bool(annotation.get("iscrowd", 0))
            difficult[i] = bool(annotation.get("difficult", 0))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            _explain(annotation, i, image_at, label_of, source)
    bad = ~(np.abs(xywh) <= COORDINATE_LIMIT).all(axis=1) | ~np.isfinite(areas)  # also True for NaN
    if bad.any():
        name = _name(annotations[int(np.argmax(bad))], int(np.argmax(bad)))
        raise DataError(f"{source}: {name} has a box or area that is NaN, infinite or beyond {COORDINATE_LIMIT:g}.")
    negative = (xywh[:, 2:] < 0).any(axis=1)
    if negative.any():
        name = _name(annotations[int(np.argmax(negative))], int(np.argmax(negative)))
        raise DataError(f"{source}: {name} has a box of negative width or height.")
    masks = tuple(a.get("segmentation") for a in annotations)
    return TruthTable(
        source=source,
        names=tuple(str(c["name"]) for c in categories),
        category_ids=np.array([c["id"] for c in categories], dtype=np.int64),
        image_ids=np.array([i["id"] for i in images], dtype=np.int64),
        sizes=np.array([_size(i, source) for i in images], dtype=np.int64).reshape(-1, 2),
        image_index=image_index,
        labels=labels,
        boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),  # (G, 4)
        areas=areas,
        crowd=crowd,
        difficult=difficult,
        segmentations=masks if any(masks) else None,
    )


_LISTS = ("images", "annotations", "categories")


def _positions(entries: list[Any], kind: str, source: str) -> dict[int, int]:
    positions: dict[int, int] = {}
    for i, entry in enumerate(entries):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int) or isinstance(number, bool):
            raise DataError(f"{source}: {kind} at position {i} has no whole number as 'id'.")
        if number in positions:
            raise DataError(f"{source}: {kind} id {number} is there twice.")
        positions[number] = i
    return positions


def _size(image: dict[str, Any], source: str) -> tuple[int, int]:
    size = image.get("height", 0), image.get("width", 0)
    if not all(isinstance(side, int) and 0 <= side <= COORDINATE_LIMIT for side in size):
        raise DataError(f"{source}: image {image['id']} has an impossible height or width {size}.")
    return size


def _name(annotation: Any, position: int) -> str:
    if isinstance(annotation, dict) and "id" in annotation:
        return f"annotation {annotation['id']}"
    return f"annotation at position {position}"


def _explain(annotation: Any, position: int, images: dict[int, int], labels: dict[int, int], source: str) -> NoReturn:
    """The sentence for an annotation that could not be read; slow and rare, so apart from the loop."""
    name = _name(annotation, position)
    if not isinstance(annotation, dict):
        raise DataError(f"{source}: {name} is not an object.") from None
    for key in ("image_id", "category_id", "bbox"):
        if key not in annotation:
            raise DataError(f"{source}: {name} has no '{key}'.") from None
    for key, known in (("image_id", images), ("category_id", labels)):
        if not isinstance(annotation[key], int) or annotation[key] not in known:
            raise DataError(
                f"{source}: {name} has the {key} {annotation[key]!r}, which the file does not list."
            ) from None
    raise DataError(f"{source}: {name} has a bbox or area that is not made of numbers.") from None
