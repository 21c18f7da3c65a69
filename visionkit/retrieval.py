"""What `tools/retrieve.py` writes: the pictures of a gallery nearest to each query, as text, JSON and sheets."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visionkit.data.image import read_image
from visionkit.data.source_images import list_images
from visionkit.errors import ConfigError, DataError
from visionkit.explain.retrieval import DISTANCES, nearest
from visionkit.gallery import Network, gallery_vectors, vectors
from visionkit.pictures import write_image
from visionkit.run_folder import usable_folder
from visionkit.viz.neighbours import Titled, neighbour_sheet, thumbnail

ROWS = 20  # queries on a sheet


@dataclass(frozen=True)
class Neighbour:
    path: Path
    name: str  # below the gallery's folder
    label: str  # its class: the folder it lies in, "" where folders are no classes
    distance: float


@dataclass(frozen=True)
class Found:
    """A query and its nearest pictures, the nearest first."""

    path: Path
    nearest: list[Neighbour]
    own: bool  # the query is a picture of the gallery, which is left out
    label: str  # its class: the folder it lies in, where that is one of the gallery's classes, else ""


@dataclass(frozen=True)
class Paths:
    """The settings of the tool that are paths, checked before a network is built."""

    source: Path
    query: Path
    output: Path
    features: Path


def checked_paths(source: Any, query: Any, output: Any, features: Any, distance: Any) -> Paths:
    """ConfigError for what is no path or would come back as a picture of the gallery, and for an unknown distance;
    DataError for what is not there."""
    if distance not in DISTANCES:
        raise ConfigError(f"distance={distance}: one of {', '.join(DISTANCES)} is wanted.")
    for key, value in (("source", source), ("query", query), ("output", output)):
        if not isinstance(value, str):
            raise ConfigError(f"{key}={value} is not a path.")
    gallery, asked = (Path(value).expanduser().absolute() for value in (source, query))
    folder = usable_folder(Path(output).expanduser())
    file = folder / "features.npz" if features is None else Path(str(features)).expanduser().absolute()
    if file.suffix != ".npz":
        raise ConfigError(f"features={file}: the file of vectors ends in .npz.")
    usable_folder(file.parent)
    if not gallery.is_dir():
        raise DataError(f"source={gallery} is no folder: the gallery is a folder of pictures.")
    if not asked.exists():
        raise DataError(f"query={asked} does not exist: a picture or a folder of pictures is wanted.")
    for name, place in (("source", gallery), ("query", asked)):
        if place.is_dir() and folder.resolve().is_relative_to(place.resolve()):
            raise ConfigError(f"output={folder} lies in {name}={place}, whose pictures the sheets would join.")
    return Paths(gallery, asked, folder, file)


def retrieve(
    paths: Paths, of: Network, count: int, distance: str, batch_size: int, workers: int
) -> tuple[list[Found], str]:
    """The nearest pictures of every query, and the sentence on the gallery's vectors."""
    queries = list_images(paths.query)
    entries, sentence = gallery_vectors(paths.source, paths.features, of, batch_size, workers)
    known = {entry.digest: entry.vector for entry in entries}
    rows = np.stack([vector for _, _, vector in vectors(queries, of, known, batch_size, workers)])  # (Q, D)
    gallery = torch.from_numpy(np.stack([entry.vector for entry in entries]))  # (N, D)
    positions, distances = nearest(torch.from_numpy(rows), gallery, count + 1, distance)  # one more: the query's own
    places = {(paths.source / entry.name).resolve(): i for i, entry in enumerate(entries)}
    classes = classes_of([entry.name for entry in entries])
    found = []
    for path, order, far in zip(queries, positions.tolist(), distances.tolist(), strict=True):
        own = places.get(path.resolve())
        pairs = [(entries[i].name, d) for i, d in zip(order, far, strict=True) if i != own][:count]
        others = [Neighbour(paths.source / name, name, _label(Path(name), classes), d) for name, d in pairs]
        found.append(Found(path, others, own is not None, _label(path, classes)))
    return found, sentence


def classes_of(names: Sequence[str]) -> frozenset[str]:
    """The folders right above the pictures of a gallery, by name; none unless there are two, and all lie in one."""
    folders = frozenset(Path(name).parent.name for name in names)
    return folders if len(folders) > 1 and "" not in folders else frozenset()


def _label(path: Path, classes: frozenset[str]) -> str:
    return path.parent.name if path.parent.name in classes else ""


def describe(found: Found, source: Path) -> list[str]:
    """Lines for the console."""
    name = found.path.relative_to(source).as_posix() if found.path.is_relative_to(source) else str(found.path)
    lines = [f"{name}{' (of the gallery; itself left out)' if found.own else ''}:"]
    lines += [f"  {one.distance:10.4f}  {one.name}" for one in found.nearest]
    return lines if found.nearest else [*lines, "  the gallery has no other picture"]


def class_agreement(found: Sequence[Found]) -> str | None:
    """How many of the nearest pictures have the class of their query, in a sentence; None where no class is known."""
    pairs = [(one.label, other.label) for one in found if one.label for other in one.nearest]
    if not pairs:
        return None
    same = sum(label == other for label, other in pairs)
    return f"{same} of {len(pairs)} nearest pictures ({100 * same / len(pairs):.1f} %) are of their query's class"


def write(found: Sequence[Found], folder: Path, distance: str) -> list[Path]:
    """`nearest.json` and sheets nearest_01.jpg ... of at most `ROWS` queries. Sheets of an earlier run are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    content = [
        {
            "query": str(one.path),
            "nearest": [{"file": str(n.path), "class": n.label or None, distance: n.distance} for n in one.nearest],
        }
        for one in found
    ]
    written = [folder / "nearest.json"]
    written[0].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for old in folder.glob("nearest_[0-9]*.jpg"):
        old.unlink()
    for number, first in enumerate(range(0, len(found), ROWS), 1):
        path = folder / f"nearest_{number:02d}.jpg"
        write_image(path, neighbour_sheet([_row(one) for one in found[first : first + ROWS]]))
        written.append(path)
    return written


def _row(found: Found) -> tuple[Titled, list[Titled]]:
    others = [(_small(n.path), f"{n.distance:.3g} {n.label or n.path.stem}") for n in found.nearest]
    return (_small(found.path), found.label or found.path.stem), others


def _small(path: Path) -> np.ndarray:
    return thumbnail(read_image(path))  # at once: a sheet of whole photographs would take gigabytes
