"""A CSV file with a line for each object: `file,x,y`."""

import csv as csv_files
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visionkit.data.adaptive_kernels import ADAPTIVE, Kernel
from visionkit.data.checks import listing, require_none_missing
from visionkit.data.held_out import check_fraction, drawn
from visionkit.data.points import CountingData, PointsIndex, join_points, pack_points
from visionkit.data.roots import resolve_root
from visionkit.data.source_images import IMAGE_SUFFIXES
from visionkit.errors import DataError

COLUMNS = ("file", "x", "y")


def points_csv(
    root: str,
    train: str = "points.csv",
    val: str | None = None,
    images: str = ".",
    name: str = "object",
    kernel: Kernel = ADAPTIVE,
    val_fraction: float = 0.2,
    seed: int = 0,
) -> CountingData:
    """The target of `configs/data/points.yaml`.

    Args:
        root: the folder of the files below.
        train, val: CSV files in UTF-8 whose header has the columns file, x and y (there may be others), with a line for
            each object: x and y in pixels from the picture's upper left corner, so that the middle of the first pixel
            is 0.5, 0.5. A picture without objects has a line with nothing in x and y. Without `val`, `val_fraction` of
            the pictures, drawn by `seed`, is held out.
        images: the folder that the file column's paths start from.
        name: what is counted.
        kernel: how widely each object is spread.
    Raises:
        DataError: no such file, no such column, a coordinate that is no number, a picture that does not exist.
        ConfigError: `val_fraction` is not between 0 and 1.
    """
    check_fraction(val_fraction)
    base = resolve_root(root)
    trained = read_points(base / train, base / images, name, kernel)
    if val is not None:
        return _noting_unlisted(
            join_points(trained, read_points(base / val, base / images, name, kernel)), base / images
        )
    if len(trained) < 2:
        raise DataError(f"{trained.source}: one picture alone, and two splits.")
    chosen = np.zeros(len(trained), np.bool_)
    chosen[drawn(np.arange(len(trained)), val_fraction, seed)] = True
    held = replace(trained.select(np.flatnonzero(chosen)), report=[])  # what was put right on reading is said once
    return _noting_unlisted(join_points(trained.select(np.flatnonzero(~chosen)), held), base / images)


def read_points(path: Path, images: Path, name: str, kernel: Kernel) -> PointsIndex:
    """The pictures of one CSV file in the order of their first lines; see `points_csv`."""
    found: dict[str, list[tuple[float, float]]] = {}
    empty: dict[str, int] = {}  # files without objects, and the line that says so
    for line in _lines(path):
        points = found.setdefault(line.file, [])
        if line.x or line.y:
            points.append((_number(line, "x", path), _number(line, "y", path)))
        else:
            empty.setdefault(line.file, line.number)
    for file, number in empty.items():
        if found[file]:
            raise DataError(f"{path}, line {number}: {file} has no object here, and {len(found[file])} in other lines.")
    if not found:
        raise DataError(f"{path} lists no picture.")
    files = [os.path.normpath(images / file) for file in found]
    known: dict[str, frozenset[str]] = {}
    require_none_missing([file for file in files if not _exists(file, known)], str(path), "picture")
    return pack_points(name, str(path), files, [np.array(own).reshape(-1, 2) for own in found.values()], kernel)


class _Line(NamedTuple):
    number: int
    file: str
    x: str
    y: str


def _lines(path: Path) -> Iterator[_Line]:
    """The lines under the header, empty ones left out."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv_files.reader(file, strict=True)  # an open quote would swallow the lines after it
            header = [name.strip() for name in next(reader, [])]
            for column in COLUMNS:
                if column not in header:
                    raise DataError(f"{path} has no column '{column}'; it has {', '.join(header) or 'no header line'}.")
            places = [header.index(column) for column in COLUMNS]
            for row in reader:
                if not any(value.strip() for value in row):
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} values, and the header has {len(header)}; a comma "
                        "inside of a value needs quotes around it."
                    )
                name, x, y = (row[place].strip() for place in places)
                if not name:
                    raise DataError(f"{path}, line {reader.line_num}: the column 'file' is empty.")
                yield _Line(reader.line_num, os.path.normpath(name), x, y)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: a CSV file with the columns file, x and y.") from None
    except (OSError, UnicodeDecodeError, csv_files.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path} cannot be read: {reason}.") from None


def _number(line: _Line, column: str, path: Path) -> float:
    text = line.x if column == "x" else line.y
    try:
        return float(text)
    except ValueError:
        said = f"'{text}' is no number" if text else "is empty, and the other coordinate is not"
        raise DataError(f"{path}, line {line.number}: {column} of {line.file} {said}.") from None


def _exists(path: str, known: dict[str, frozenset[str]]) -> bool:
    """One look into each folder, not one at each file."""
    folder, name = os.path.split(path)
    if folder not in known:
        known[folder] = listing(folder)
    return name in known[folder]


def _noting_unlisted(data: CountingData, images: Path) -> CountingData:
    """A sentence in the report where pictures of the folder are in no line: they may be without objects, and unused."""
    listed = {index.path(i) for index in (data.train, data.val) for i in range(len(index))}
    files = [os.path.normpath(images / name) for name in sorted(listing(str(images)))]
    alone = [file for file in files if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES and file not in listed]
    if alone:
        data.train.report.append(
            f"{images}: {len(alone)} pictures are in no line and were left out, such as {alone[0]}; one without "
            "objects needs a line with nothing in x and y."
        )
    return data
