"""Errors that are a person's mistake, not a bug. Each is one clear sentence and carries the exit code of its kind.

The tools print `str(error)` and leave with `error.exit_code`; a library user catches them as ordinary exceptions.
"""

from collections.abc import Sequence


class VisionKitError(Exception):
    """Base of all; never raised itself."""

    exit_code = 1


class ConfigError(VisionKitError):
    """A wrong key or value, a checkpoint or weights file that is missing, broken or does not fit."""

    exit_code = 2


class DataError(VisionKitError):
    """A missing data set, a broken image, an impossible annotation. Names the file and the annotation."""

    exit_code = 3


class NonFiniteLossError(VisionKitError):
    """A loss became NaN or infinite. Names the step, the losses and the images."""

    exit_code = 4


def some_of(names: Sequence[str], most: int = 8) -> str:
    """The first of the names, and how many more there are, to be put into a sentence."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
