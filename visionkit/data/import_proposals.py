"""Proposals that others have stored, read as ours: MATLAB, npz or JSON files of selective search, EdgeBoxes, BING ...

The file's ending says how it is read, its `format` what the numbers of a box mean. A wrong format would not be noticed
by the numbers alone, so it is never guessed: the caller names it, and every message repeats it.

    .mat    cell arrays `boxes`, one (P, 4) or (P, 5) for each picture, and `images`, the pictures' names
    .npz    either `names` (N,), `offsets` (N + 1,), `boxes` (M, 4) and perhaps `scores` (M,); or one array (P, 4) or
            (P, 5) for each picture, under its name
    .json   {name: rows of 4 or 5 numbers}, or COCO results: a list of {image_id, bbox, score}
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionkit.data.image import read_bytes
from visionkit.data.index import DetectionIndex
from visionkit.data.proposal_match import file_digests, proposals_of
from visionkit.data.proposal_set import ProposalSet, file_digest, pack_proposals, short_name
from visionkit.errors import ConfigError, DataError


class Convention(NamedTuple):
    """What the four numbers of a box mean."""

    order: str  # "y1x1y2x2", "x1y1x2y2" or "xywh"
    first: int  # the number of the first pixel, 0 or 1
    inclusive: bool  # whether x2 and y2 are the last pixels inside; of no meaning for "xywh"

    def __str__(self) -> str:
        words = {"y1x1y2x2": "y1 x1 y2 x2", "x1y1x2y2": "x1 y1 x2 y2", "xywh": "x y w h"}[self.order]
        ends = ", the last pixels inside" if self.inclusive else ""
        return f"{words}, pixels counted from {self.first}{ends}"

    def corners(self, rows: np.ndarray) -> np.ndarray:
        """(P, 4) numbers of a file -> (P, 4) float64 x1 y1 x2 y2 in our pixels."""
        rows = np.asarray(rows, np.float64)
        if self.order == "xywh":
            start = rows[:, :2] - self.first
            return np.concatenate((start, start + rows[:, 2:4]), axis=1)
        if self.order == "y1x1y2x2":
            rows = rows[:, [1, 0, 3, 2]]
        end = 1 if self.inclusive else 0
        return rows[:, :4] - self.first + np.array([0, 0, end, end])


FORMATS = {
    "selective_search": Convention("y1x1y2x2", 1, True),  # Girshick's selective_search_data/*.mat
    "edge_boxes": Convention("xywh", 1, False),  # EdgeBoxes' x y w h score
    "bing": Convention("x1y1x2y2", 1, True),  # and other lists in VOC's way
    "coco": Convention("xywh", 0, False),
    "corners": Convention("x1y1x2y2", 0, False),  # ours
}


def import_proposals(
    path: str | os.PathLike[str],
    index: DetectionIndex,
    format: str,
    method: str | None = None,
    report: list[str] | None = None,
) -> ProposalSet:
    """The proposals that a file has for the pictures of an index, in its order.

    Pictures are joined by name: "folder/000012.jpg", "000012.jpg" or "000012". Rows of five numbers end with a score,
    by which they are sorted, best first; rows of four are best first as they stand.

    Args:
        path: the file.
        index: the pictures it is for, from which their sizes and digests are taken.
        format: a key of FORMATS.
        method: what made them; None = the format's name.
        report: gets a sentence for pictures of the file that the index does not have, and for clipped boxes.

    Raises:
        ConfigError: an unknown format.
        DataError: the file cannot be read or is none of the kinds above; it has no proposals of a picture; two
            pictures have the same name; a box is not finite, without extent, or reaches outside of its picture.
    """
    if format not in FORMATS:
        raise ConfigError(f"format={format}: one of {', '.join(FORMATS)} is wanted.")
    convention = FORMATS[format]
    source = f"{path} (read with format={format}: {convention})"
    rows = _read(Path(path), index, source)
    known = _positions(index, source)
    proposed: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(index)
    strange = []
    for name, values in rows.items():
        place = known.get(name, known.get(Path(name).name, known.get(Path(name).stem)))
        if place is None:
            strange.append(name)
        elif proposed[place] is not None:
            raise DataError(f"{source}: picture {name} stands in it twice.")
        else:
            proposed[place] = _ranked(values, convention, f"{source}: picture {name}")
    for i, pair in enumerate(proposed):
        if pair is None:
            raise DataError(f"{source}: no proposals of the picture {index.path(i)}.")
    if strange and report is not None:
        report.append(
            f"{path}: {len(strange)} pictures are not in {index.source} and are left out, first {strange[0]}."
        )
    found = pack_proposals(
        method or format,
        {"file": Path(path).name, "digest": f"{file_digest(read_bytes(path)):016x}", "format": format},
        [short_name(index.path(i)) for i in range(len(index))],
        list(file_digests(index)),
        index.sizes,
        [pair for pair in proposed if pair is not None],
        source=source,
    )
    return proposals_of(index, [found], report=report)


def _positions(index: DetectionIndex, source: str) -> dict[str, int]:
    """By the names that a file may use, the most exact first; a name that two pictures share is nobody's."""
    found: dict[str, int] = {}
    shared = set()
    for i in range(len(index)):
        path = Path(index.path(i))
        for name in {short_name(path), path.name, path.stem}:
            if found.setdefault(name, i) != i:
                shared.add(name)
    full = [short_name(index.path(i)) for i in range(len(index))]
    if twice := shared.intersection(full):
        raise DataError(f"{source}: {index.source} has two pictures called {min(twice)}.")
    return {name: i for name, i in found.items() if name not in shared}


def _ranked(values: Any, convention: Convention, where: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        rows = np.asarray(values, np.float64)
    except (ValueError, TypeError):  # words among them, or rows of different length
        raise DataError(f"{where}: rows of 4 numbers, or of 5 with a score, are wanted.") from None
    rows = rows if rows.size else np.zeros((0, 4))
    if rows.ndim != 2 or rows.shape[1] not in (4, 5):
        raise DataError(f"{where}: rows of 4 numbers, or of 5 with a score, are wanted, not an array of {rows.shape}.")
    boxes = convention.corners(rows[:, :4])
    if rows.shape[1] == 4:
        return boxes, 1 / np.arange(1, len(rows) + 1)
    order = np.argsort(-rows[:, 4], kind="stable")
    return boxes[order], rows[order, 4]


def _read(path: Path, index: DetectionIndex, source: str) -> dict[str, Any]:
    """Name -> rows."""
    readers = {".mat": _read_mat, ".npz": _read_npz, ".json": _read_json}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: proposals of others are read from {', '.join(readers)}.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    try:
        return readers[path.suffix.lower()](path, index)
    except KeyError as error:
        raise DataError(f"{source}: it has no {error}.") from None
    except NotImplementedError:  # scipy's word for HDF5
        raise DataError(f"{path}: is a MATLAB 7.3 file; write it again with save(..., '-v7').") from None
    except DataError:
        raise
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{source}: cannot be read ({str(error).rstrip('.')}).") from None


def _read_mat(path: Path, index: DetectionIndex) -> dict[str, Any]:
    from scipy.io import loadmat

    content = loadmat(path)
    boxes, images = content["boxes"].ravel(), content["images"].ravel()
    if boxes.dtype != object or images.dtype != object:
        raise ValueError("boxes and images are no cell arrays")
    return _by_name([str(np.ravel(image)[0]) for image in images], list(boxes))


def _read_npz(path: Path, index: DetectionIndex) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        if "boxes" not in file.files:
            return {name: file[name] for name in file.files}
        names, offsets, boxes = (file[key] for key in ("names", "offsets", "boxes"))
        if "scores" in file.files:
            boxes = np.concatenate((boxes.reshape(-1, 4), file["scores"].reshape(-1, 1)), axis=1)
    if len(offsets) != len(names) + 1 or offsets[0] != 0 or offsets[-1] != len(boxes) or (np.diff(offsets) < 0).any():
        raise ValueError("names, offsets and boxes do not belong together")
    return _by_name([str(n) for n in names], [boxes[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)])


def _read_json(path: Path, index: DetectionIndex) -> dict[str, Any]:
    content = json.loads(path.read_bytes())
    if isinstance(content, Mapping):
        return {str(name): rows for name, rows in content.items()}
    if not isinstance(content, list):
        raise ValueError("neither {name: rows} nor a list of COCO results")
    names = {index.image_id(i): short_name(index.path(i)) for i in range(len(index))}
    found: dict[str, list[list[float]]] = {name: [] for name in names.values()}  # a list has no pictures without boxes
    for row in content:
        if not isinstance(row, Mapping):
            raise ValueError("an entry is no result of COCO's form")
        name = names.get(row["image_id"], f"image_id {row['image_id']}")
        found.setdefault(name, []).append([*row["bbox"], row["score"]])
    return found


def _by_name(names: Sequence[str], rows: Sequence[Any]) -> dict[str, Any]:
    if len(names) != len(rows):
        raise ValueError(f"{len(names)} names and {len(rows)} lists of boxes")
    if len(set(names)) != len(names):
        raise ValueError(f"picture {next(n for i, n in enumerate(names) if n in names[:i])} stands in it twice")
    return dict(zip(names, rows, strict=True))
