"""One policy for impossible boxes, used by every reader.

A box that is not finite, or beyond `BOUND` pixels, means a broken file: DataError. (Infinity and 1e30 crash native
kernels, NaN trains silently.) A box of no extent, or wholly outside its image, is dropped; one that reaches outside is
clipped. Nothing of this is silent: `report()` gives one sentence a kind, with the count and the first culprit.
"""

import math
import os
from collections.abc import Iterable, Sequence

from visionkit.errors import DataError

BOUND = 1e5  # pixels; no image is this large, and float32 is still exact to 1/128 there

Box = tuple[float, float, float, float]


class BoxChecks:
    """Checks the boxes of one file or split and remembers what it had to change."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._notes: dict[str, tuple[int, str]] = {}

    def error(self, culprit: str, problem: str) -> DataError:
        return DataError(f"{self.source}: {culprit}: {problem}.")

    def note(self, kind: str, culprit: str) -> None:
        count, first = self._notes.get(kind, (0, culprit))
        self._notes[kind] = (count + 1, first)

    def finite(self, values: Iterable[float], culprit: str, what: str = "the box") -> None:
        """DataError naming `culprit` unless every value is a number between -BOUND and BOUND."""
        for value in values:
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise self.error(culprit, f"{what} holds {value!r}, which is not a number")
            if not math.isfinite(value) or abs(value) > BOUND:
                raise self.error(culprit, f"{what} holds {value}, which is not a possible coordinate")

    def inside(self, box: Box, size: tuple[int, int], culprit: str) -> Box | None:
        """The finite box x1 y1 x2 y2 clipped to an image of `size` (height, width), or None if it is to be dropped."""
        x1, y1, x2, y2 = box
        if x2 <= x1 or y2 <= y1:
            self.note("without extent dropped", culprit)
            return None
        height, width = size
        clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            self.note("outside the image dropped", culprit)
            return None
        if max(abs(a - b) for a, b in zip(box, clipped, strict=True)) > 1e-3:  # less is the file's rounding
            self.note("reaching outside the image clipped", culprit)
        return clipped

    def report(self) -> list[str]:
        lines = []
        for kind, (count, first) in self._notes.items():
            what = "box" if count == 1 else "boxes"
            lines.append(f"{self.source}: {count} {what} {kind}, {'namely' if count == 1 else 'first'} {first}.")
        return lines


def listing(folder: str) -> frozenset[str]:
    """The file names in a folder: one call instead of one `exists` for each image. Empty if there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def require_none_missing(missing: Sequence[str], source: str, what: str) -> None:
    """DataError that names the first missing file and says how many there are."""
    if missing:
        more = f" ({len(missing)} missing in all)" if len(missing) > 1 else ""
        raise DataError(f"{source}: {what} {missing[0]} does not exist{more}.")
