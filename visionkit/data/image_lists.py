"""List files with a picture and its label map in each line, as CamVid has them: `train/a.png trainannot/a.png`."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.data.checks import listing, require_none_missing
from visionkit.data.class_names import given_names
from visionkit.data.label_maps import IndexMaps, index_table
from visionkit.data.ragged import Blobs
from visionkit.data.roots import resolve_root
from visionkit.data.segmentation import (
    SegmentationData,
    SegmentationIndex,
    given_colors,
    join_segmentation,
    pack_segmentation,
)
from visionkit.errors import ConfigError, DataError


def image_lists(
    root: str,
    train: str,
    val: str,
    names: str | Sequence[str],
    colors: Sequence[Sequence[int]] | None = None,
    void: Sequence[int] = (),
) -> SegmentationData:
    """The target of `configs/data/camvid.yaml`.

    Args:
        root: the folder that the paths in the lists start from.
        train, val: text files, below `root` where their paths are relative. Every line has two paths, of a picture
            and of its label map, parted by a tab or, where no path has blanks, by blanks. A path with a leading "/"
            that is nowhere on this machine starts from `root` too.
        names: K names, label maps holding 0 ... K-1 (see `visionkit.data.class_names.given_names`).
        colors: a colour (red, green, blue) for each, to draw with; None = VOC's.
        void: further values of the label maps that stand for no class; 255 always does.
    Raises:
        ConfigError: no names, or colours and void values that do not fit to them.
        DataError: a missing list or file, a line that is not two paths, a picture that is listed twice.
    """
    base = resolve_root(root)
    known = given_names(names, base)
    if known is None:
        raise ConfigError("data.names: the names of the classes are wanted, in the order of the labels.")
    table, shown = index_table(range(len(known)), void), given_colors(colors, len(known))
    return join_segmentation(*(_read(base, base / file, known, shown, table) for file in (train, val)))


def _read(base: Path, path: Path, names: tuple[str, ...], colors: np.ndarray, table: np.ndarray) -> SegmentationIndex:
    pairs = _pairs(path, base)
    known: dict[str, frozenset[str]] = {}
    for place, kind in enumerate(("image", "label map")):
        require_none_missing([pair[place] for pair in pairs if not _exists(pair[place], known)], str(path), kind)
    maps = IndexMaps(Blobs.pack([os.fsencode(label) for _, label in pairs]), table)
    return pack_segmentation(names, colors, str(path), [image for image, _ in pairs], maps)


def _pairs(path: Path, base: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: a list with a picture and its label map in each line.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"{path} cannot be read: {reason}.") from None
    pairs: list[tuple[str, str]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = [part.strip() for part in (line.strip().split("\t") if "\t" in line.strip() else line.split())]
        if len(parts) != 2:
            raise DataError(
                f"{path}, line {number}: '{line.strip()}' is not a picture and its label map (parted by a tab where a "
                "path has blanks)."
            )
        image, label = (_place(part, base) for part in parts)
        if image in seen:
            raise DataError(f"{path}, line {number}: {parts[0]} is listed in line {seen[image]} already.")
        seen[image] = number
        pairs.append((image, label))
    return pairs


def _place(written: str, base: Path) -> str:
    if os.path.isabs(written) and not os.path.exists(written):
        written = written.lstrip("/")
    return os.path.normpath(base / written)


def _exists(path: str, known: dict[str, frozenset[str]]) -> bool:
    """One look into each folder, not one at each file."""
    folder, name = os.path.split(path)
    if folder not in known:
        known[folder] = listing(folder)
    return name in known[folder]
