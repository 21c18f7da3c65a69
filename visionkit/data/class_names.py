"""Lists of class names: from a setting, from a text file, and made unique."""

from collections.abc import Sequence
from pathlib import Path

from visionkit.data.imagenet_names import imagenet_names
from visionkit.errors import ConfigError, DataError


def given_names(names: str | Sequence[str] | None, base: Path) -> tuple[str, ...] | None:
    """What a setting `data.names` says.

    Args:
        names: the texts themselves, in the order of the labels; or "imagenet", the 1,000 classes; or a text file with
            a name a line, below `base` where the path is relative; or None.
    Raises:
        ConfigError: an empty list, or a name that occurs twice.
        DataError: see `read_names`.
    """
    if names is None:
        return None
    if names == "imagenet":
        return imagenet_names()
    if isinstance(names, str):
        return read_names(base / names)
    texts = tuple(str(name) for name in names)
    if not texts:
        raise ConfigError("data.names is an empty list.")
    if len(set(texts)) < len(texts):
        raise ConfigError(f"data.names has '{_twice(texts)}' twice.")
    return texts


def read_names(path: Path) -> tuple[str, ...]:
    """A name a line; empty lines at the end are no names. DataError: no such file, an empty line, a name twice."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"{path} cannot be read: {reason}; a class name a line is wanted.") from None
    names = tuple(line.strip() for line in lines)
    if not names:
        raise DataError(f"{path} names no class.")
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{path}, line {number}: a class name is wanted, and the line is empty.")
    if len(set(names)) < len(names):
        raise DataError(f"{path} has the class '{_twice(names)}' twice.")
    return names


def _twice(names: Sequence[str]) -> str:
    return next(name for k, name in enumerate(names) if name in names[:k])
