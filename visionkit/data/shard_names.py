"""Which tar files a split is made of: a folder, or a pattern with `*` and `{0000..1023}`."""

import glob
import re
from pathlib import Path

from visionkit.errors import DataError

_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def find_shards(base: Path, pattern: str) -> list[Path]:
    """The tar files of `pattern` under `base`: those of a folder, by name; or as the pattern says.

    DataError: no such folder, no tar file, one of a range that is not there, compressed ones (a picture cannot be read
    at its place there).
    """
    place = base / pattern
    if place.is_dir():
        files = sorted(path for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
        found = [path for path in files if path.suffix == ".tar" or _is_compressed(path)]
    else:
        found = [path for name in expand_braces(pattern) for path in _matches(base, name)]
        found = list(dict.fromkeys(found))
    for path in found:
        if path.suffix in _COMPRESSED:
            raise DataError(f"{path} is compressed, and pictures are read from plain tar files only: unpack it to one.")
    if not found:
        raise DataError(
            f"{place}: no tar file; a folder of them, or a pattern such as train-{{000..146}}.tar, is wanted."
        )
    return found


def expand_braces(pattern: str) -> list[str]:
    """`a{8..10}.tar` -> a8.tar a9.tar a10.tar; `{08..10}` keeps the width; `{x,y}` -> x y. From left to right."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    inside, bounds = match[1], _RANGE.fullmatch(match[1])
    if bounds:
        first, last = bounds.groups()
        words = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    else:
        words = inside.split(",")
    return [name for word in words for name in expand_braces(pattern[: match.start()] + word + pattern[match.end() :])]


def _is_compressed(path: Path) -> bool:
    return path.suffix == ".tgz" or (path.suffix in _COMPRESSED and Path(path.stem).suffix == ".tar")


def _matches(base: Path, name: str) -> list[Path]:
    if glob.has_magic(name):
        return [base / found for found in sorted(glob.glob(name, root_dir=base))]
    if not (base / name).is_file():
        raise DataError(f"{base / name} does not exist: a folder of tar files, or a pattern for them, is wanted.")
    return [base / name]
