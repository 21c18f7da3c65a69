"""Reads a PASCAL VOC tree: `ImageSets/Main/SPLIT.txt`, `Annotations/ID.xml`, `JPEGImages/ID.jpg` (or another type)."""

import os
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from visionkit.data.checks import BoxChecks, listing, require_none_missing
from visionkit.data.image import image_size
from visionkit.data.index import DetectionIndex, IndexBuilder
from visionkit.errors import DataError

_TYPES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".tif", ".tiff", ".webp")


def read_voc(root: str, split: str, names: Sequence[str] | None = None) -> DetectionIndex:
    """One split as an index. Image ids are position + 1 in the split; `names` defaults to the classes found, sorted.

    VOC's pixels are 1-based and inclusive, so a box becomes `x1 - 1, y1 - 1, x2, y2`. The picture is found by its id:
    the files' own `filename` and `path` often point elsewhere.
    DataError names the file, and the object where it can: a missing or broken file, a class not in `names`, an
    impossible box (`visionkit.data.checks` says which are dropped or clipped instead).
    """
    ids = _read_split(os.path.join(root, "ImageSets", "Main", f"{split}.txt"), os.path.join(root, "Annotations"))
    images, checks = listing(os.path.join(root, "JPEGImages")), BoxChecks(f"{root} ({split})")
    files = [next((name + t for t in _TYPES if name + t in images), "") for name in ids]
    absent = [os.path.join(root, "JPEGImages", n + ".jpg") for n, f in zip(ids, files, strict=True) if not f]
    require_none_missing(absent, f"{root} ({split})", "image")

    annotations = [os.path.join(root, "Annotations", f"{name}.xml") for name in ids]
    trees = [_parse(path) for path in annotations]
    if names is None:
        names = sorted(
            {_text(o, "name", path, k) for t, path in zip(trees, annotations, strict=True) for k, o in _objects(t)}
        )
    labels = {name: k for k, name in enumerate(names)}
    builder = IndexBuilder(names, f"{root} ({split})")
    for position, (tree, path, file) in enumerate(zip(trees, annotations, files, strict=True), start=1):
        picture = os.path.join(root, "JPEGImages", file)
        size = _size(tree) or image_size(picture)
        builder.add_image(picture, position, size)
        for k, element in _objects(tree):
            name = _text(element, "name", path, k)
            if name not in labels:
                raise DataError(
                    f"{path}: object {k}: class '{name}' is not among the known classes: {', '.join(names)}."
                )
            x1, y1, x2, y2 = (_number(element, f"bndbox/{side}", path, k) for side in ("xmin", "ymin", "xmax", "ymax"))
            culprit = f"object {k} ('{name}') of {path}"
            checks.finite((x1, y1, x2, y2), culprit)
            if x2 <= x1 or y2 <= y1:  # before the "- 1": such a box is a slip of the mouse, not one pixel
                checks.note("without extent dropped", culprit)
                continue
            box = checks.inside((x1 - 1, y1 - 1, x2, y2), size, culprit)
            if box is not None:
                builder.add_object(box, labels[name], difficult=(element.findtext("difficult") or "0").strip() == "1")
    return builder.build(checks.report())


def _read_split(path: str, annotations: str) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file if line.strip()]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: no such split, or not a VOC tree.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    present = listing(annotations)
    # Names may hold blanks; VOC's per-class lists hold a second column (-1, 0, 1).
    ids = [line if f"{line}.xml" in present else line.split()[0] for line in lines]
    missing = [os.path.join(annotations, f"{name}.xml") for name in ids if f"{name}.xml" not in present]
    require_none_missing(missing, path, "annotation")
    seen: set[str] = set()
    for number, name in enumerate(ids, start=1):
        if name in seen:
            raise DataError(f"{path}: '{name}' (entry {number}) is listed twice.")
        seen.add(name)
    return ids


def _parse(path: str) -> Any:
    try:
        return parse(path).getroot()
    except ParseError as error:
        raise DataError(f"{path} is not valid XML: {error}.") from None
    except DefusedXmlException:
        raise DataError(f"{path} holds XML entities or a DTD, which are refused.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _objects(tree: Any) -> list[tuple[int, Any]]:
    return list(enumerate(tree.findall("object"), start=1))


def _size(tree: Any) -> tuple[int, int] | None:
    """(height, width), or None where the file does not say (some tools write 0)."""
    try:
        height, width = int(float(tree.findtext("size/height"))), int(float(tree.findtext("size/width")))
    except (TypeError, ValueError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _text(element: Any, key: str, path: str, number: int) -> str:
    text = (element.findtext(key) or "").strip()
    if not text:
        raise DataError(f"{path}: object {number} has no <{key.replace('/', '><')}>.")
    return text


def _number(element: Any, key: str, path: str, number: int) -> float:
    text = _text(element, key, path, number)
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{path}: object {number}: <{key.rpartition('/')[2]}> is '{text}', not a number.") from None
