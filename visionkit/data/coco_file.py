"""What all of COCO's JSON files share: lists of images and categories with ids, and where the pictures are."""

import json
import os
from collections.abc import Iterator
from typing import Any

from visionkit.data.checks import listing, require_none_missing
from visionkit.errors import DataError


def load_coco(path: str, kind: str = "instances") -> dict[str, Any]:
    """The whole file, a mapping with the lists images, annotations and categories. DataError where it is not; `kind`
    says in the message what it should be."""
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
        raise DataError(f"{path} is not a COCO {kind} file: it needs the lists {', '.join(lists)}.")
    return content


def integer(value: Any) -> int | None:
    """The value where it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def by_id(content: dict[str, Any], key: str, source: str) -> dict[int, dict[str, Any]]:
    """One of the lists by the entries' ids. DataError: an entry without, or two with one id."""
    found: dict[int, dict[str, Any]] = {}
    for position, entry in enumerate(content[key]):
        number = integer(entry.get("id")) if isinstance(entry, dict) else None
        if number is None:
            raise DataError(f"{source}: {key}[{position}] has no integer id.")
        if number in found:
            raise DataError(f"{source}: two {key} have the id {number}.")
        found[number] = entry
    return found


def category_name(category: dict[str, Any], source: str) -> str:
    """DataError where it has none."""
    name = category.get("name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{source}: category {category['id']} has no name.")
    return name


def stated_size(entry: dict[str, Any], source: str) -> tuple[int, int] | None:
    """(height, width) of an entry of images, or None where it does not say. DataError: impossible ones."""
    height, width = entry.get("height"), entry.get("width")
    if not height or not width:
        return None
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        raise DataError(f"{source}: image {entry['id']} has the size {height!r} x {width!r}.")
    return height, width


def image_paths(entries: dict[int, dict[str, Any]], folder: str, source: str) -> dict[int, str]:
    """The picture of each image id; `file_name` may name a folder below `folder`. DataError: a missing picture."""
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
