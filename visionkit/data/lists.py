"""A CSV file with a line for each picture: `file,label`."""

import csv as csv_files
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visionkit.data.checks import listing, require_none_missing
from visionkit.data.class_names import given_names
from visionkit.data.held_out import check_fraction, hold_out
from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.pictures import Files
from visionkit.data.ragged import Blobs
from visionkit.data.roots import resolve_root
from visionkit.errors import DataError


def csv(
    root: str,
    train: str = "train.csv",
    val: str | None = None,
    file_column: str = "file",
    label_column: str = "label",
    images: str = ".",
    names: str | Sequence[str] | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
) -> LabelledData:
    """The target of `configs/data/csv.yaml`.

    Args:
        root: the folder of the files below.
        train, val: CSV files with a header line, in UTF-8. Without `val`, `val_fraction` of each class, drawn by
            `seed`, is held out.
        file_column, label_column: the header's names of the two columns that are read; there may be others.
        images: the folder that the file column's paths start from.
        names: None: the labels are class names, and those of `train`, sorted, are the classes. Otherwise the labels
            are positions in this list, 0 ... K-1 (see `visionkit.data.class_names.given_names`).

    Raises:
        DataError: no such file, no such column, a line without a label or with one outside the list of classes, a
            picture that does not exist or has two classes. Lines that repeat an earlier one are left out and counted:
            a picture that is held out must not be trained on as well.
        ConfigError: `val_fraction` is not between 0 and 1; `names` is no list of names.
    """
    check_fraction(val_fraction)
    base = resolve_root(root)
    columns = (file_column, label_column)
    given = given_names(names, base)
    trained = _read(base / train, base / images, columns, given, given is not None)
    if val is None:
        return hold_out(trained, val_fraction, seed)
    measured = _read(base / val, base / images, columns, trained.names, given is not None)
    both = _names(trained) & _names(measured)
    if both:
        measured.report.append(
            f"{base / val}: {len(both)} of {len(measured)} pictures are in {train} too: accuracies on them say little."
        )
    return join_labelled(trained, measured)


def _names(index: LabelledIndex) -> set[str]:
    return {index.path(i) for i in range(len(index))}


class _Line(NamedTuple):
    number: int
    file: str
    label: str


def _read(
    path: Path, images: Path, columns: tuple[str, str], names: tuple[str, ...] | None, by_position: bool
) -> LabelledIndex:
    lines: dict[str, _Line] = {}
    repeated = []
    for line in _lines(path, columns):
        first = lines.setdefault(line.file, line)
        if first is line:
            continue
        if first.label != line.label:
            raise DataError(
                f"{path}, line {line.number}: {line.file} is '{line.label}' here and '{first.label}' in line "
                f"{first.number}; one class for each picture is wanted."
            )
        repeated.append(line)
    if not lines:
        raise DataError(f"{path} lists no picture.")
    if names is None:
        names = _sorted_names({line.label for line in lines.values()})
    table = {str(k) if by_position else name: k for k, name in enumerate(names)}
    labels = [_label(line, path, table, names, by_position) for line in lines.values()]
    files = [os.path.join(images, line.file) for line in lines.values()]
    _require_files(files, path)
    report = [f"{path}: {len(repeated)} lines repeat an earlier one and were left out, "
              f"such as line {repeated[0].number} ({repeated[0].file})."] if repeated else []  # fmt: skip
    packed = Blobs.pack([os.fsencode(file) for file in files])
    return LabelledIndex(names, str(path), report, Files(packed), np.array(labels, np.int32))


def _lines(path: Path, columns: tuple[str, str]) -> Iterator[_Line]:
    """The lines under the header, empty ones left out."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv_files.reader(file, strict=True)  # an open quote would swallow the lines after it
            header = [name.strip() for name in next(reader, [])]
            for column in columns:
                if column not in header:
                    raise DataError(f"{path} has no column '{column}'; it has {', '.join(header) or 'no header line'}.")
            places = [header.index(column) for column in columns]
            for row in reader:
                if not any(value.strip() for value in row):
                    continue
                if any(value.strip() for value in row[len(header) :]):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} values, and the header has {len(header)}; a comma "
                        "inside of a value needs quotes around it."
                    )
                values = [row[place].strip() if place < len(row) else "" for place in places]
                for column, value in zip(columns, values, strict=True):
                    if not value:
                        raise DataError(f"{path}, line {reader.line_num}: the column '{column}' is empty.")
                    if "\n" in value or "\r" in value:
                        raise DataError(f"{path}, line {reader.line_num}: a line break in the column '{column}'.")
                yield _Line(reader.line_num, os.path.normpath(values[0]), values[1])
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: a CSV file with the columns {' and '.join(columns)}.") from None
    except (OSError, UnicodeDecodeError, csv_files.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path} cannot be read: {reason}.") from None


def _label(line: _Line, path: Path, table: Mapping[str, int], names: tuple[str, ...], by_position: bool) -> int:
    text = line.label
    if by_position and text.isdecimal():
        text = str(int(text))  # "007"
    if text in table:
        return table[text]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    wanted = f"a whole number, 0 ... {len(names) - 1}, is wanted" if by_position else f"the classes are {shown}"
    raise DataError(
        f"{path}, line {line.number}: the label '{line.label}' of {line.file} is outside the list: {wanted}."
    )


def _sorted_names(labels: set[str]) -> tuple[str, ...]:
    """By number where all labels are numbers, so that 10 comes after 9; else by letter."""
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _require_files(files: Sequence[str], path: Path) -> None:
    """DataError for a picture that is not there; one look into each folder, not one at each file."""
    known: dict[str, frozenset[str]] = {}
    missing = []
    for file in files:
        folder, name = os.path.split(file)
        if folder not in known:
            known[folder] = listing(folder)
        if name not in known[folder]:
            missing.append(file)
    require_none_missing(missing, str(path), "picture")
