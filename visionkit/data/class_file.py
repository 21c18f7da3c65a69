"""The file that says what the values or colours of label maps stand for."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit.data.color_maps import ColorMaps
from visionkit.data.label_maps import IGNORE, IndexMaps, LabelMaps, index_table
from visionkit.data.ragged import Blobs
from visionkit.data.segmentation import spread_colors
from visionkit.errors import ConfigError, DataError

_HEADERS = (("name",), ("name", "id"), ("name", "r", "g", "b"), ("name", "id", "r", "g", "b"))
_VALUES = ("id", "r", "g", "b")


@dataclass(frozen=True, eq=False)
class ClassFile:
    """K classes and what stands for them.

    `names` and `colors` are of the K classes alone, in the file's order; `ids` and `map_colors` have void lines too,
    which come after the classes. One of the last two is None.
    """

    names: tuple[str, ...]
    colors: np.ndarray  # (K, 3) uint8 RGB, to draw with
    ids: tuple[int, ...] | None  # of K classes, then of V void lines: label maps hold numbers
    map_colors: np.ndarray | None  # (K + V, 3) uint8: label maps hold colours

    def maps(self, paths: Blobs) -> LabelMaps:
        """The label maps in these files."""
        count = len(self.names)
        if self.map_colors is None:
            assert self.ids is not None
            return IndexMaps(paths, index_table(self.ids[:count], self.ids[count:]))
        labels = np.arange(len(self.map_colors))
        return ColorMaps.of(paths, self.map_colors, np.where(labels < count, labels, IGNORE))


def read_class_file(path: Path, void: Sequence[str] = ()) -> ClassFile:
    """A CSV file with a header and a line for each class, or a text file with a name a line.

    Args:
        path: the header is `name,id` for label maps that hold these numbers (with gaps, if need be), `name,r,g,b` for
            those that hold these colours, `name,id,r,g,b` for numbers and colours to draw with. Without a header, or
            with `name` alone, the numbers are 0 ... K-1 in the order of the lines.
        void: names of lines that are no classes: their pixels are ignored.
    Raises:
        DataError: no such file, no class, a broken line, a name, number or colour that occurs twice.
        ConfigError: a name of `void` that the file lacks.
    """
    header, rows = _rows(path)
    names = [row["name"] for _, row in rows]
    for name in void:
        if name not in names:
            raise ConfigError(f"data.void: '{name}' is not in {path}, which has {', '.join(names[:8])} ...")
    order = sorted(range(len(rows)), key=lambda k: names[k] in void)  # stable: void lines to the end
    kept = tuple(name for name in names if name not in void)
    if not kept:
        raise DataError(f"{path} names no class.")
    values = {key: [_whole(row[key], path, line) for line, row in rows] for key in header if key in _VALUES}
    colors = np.array([[values[key][k] for key in "rgb"] for k in order], np.uint8) if "r" in header else None
    _require_different(path, "name", names)
    if "id" in header or colors is None:
        ids = values.get("id", list(range(len(rows))))
        _require_different(path, "id", ids)
        drawn = spread_colors(len(kept)) if colors is None else colors[: len(kept)]
        return ClassFile(kept, drawn, tuple(ids[k] for k in order), None)
    _require_different(path, "colour", [tuple(color) for color in colors.tolist()])
    return ClassFile(kept, colors[: len(kept)], None, colors)


def _rows(path: Path) -> tuple[tuple[str, ...], list[tuple[int, Mapping[str, str]]]]:
    """The columns, and for each line its number and its values by column."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            lines = [(reader.line_num, [value.strip() for value in row]) for row in reader if any(map(str.strip, row))]
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist: a file with a line for each class is wanted, `name,id` or `name,r,g,b` under such "
            "a header, or the name alone (data.classes)."
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    if not lines:
        raise DataError(f"{path} names no class.")
    first = tuple(value.lower() for value in lines[0][1])
    header = first if "name" in first else ("name",)
    if set(header) not in [set(known) for known in _HEADERS] or len(set(header)) < len(header):
        raise DataError(f"{path}: the header {','.join(header)} is none of {'; '.join(map(','.join, _HEADERS))}.")
    rows: list[tuple[int, Mapping[str, str]]] = []
    for number, values in lines[1 if "name" in first else 0 :]:
        if len(values) != len(header) or not all(values):
            hint = "" if "name" in first else " (a header such as name,r,g,b is wanted where there are more columns)"
            raise DataError(
                f"{path}, line {number}: {len(header)} value{'s are' if len(header) > 1 else ' is'} wanted, "
                f"{','.join(header)}, not '{','.join(values)}'{hint}."
            )
        rows.append((number, dict(zip(header, values, strict=True))))
    return header, rows


def _whole(text: str, path: Path, line: int) -> int:
    if not text.isdecimal() or int(text) > 255:
        raise DataError(f"{path}, line {line}: '{text}' is not a whole number from 0 to 255.")
    return int(text)


def _require_different(path: Path, what: str, values: Sequence[object]) -> None:
    for k, value in enumerate(values):
        if value in values[:k]:
            raise DataError(f"{path}: two classes have the {what} {value}.")
