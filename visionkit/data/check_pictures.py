"""Reads every picture of a split once and names those that training would stop at."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from visionkit.data.classification import labelled_sample
from visionkit.data.dataset import read_checked
from visionkit.data.index import DetectionIndex
from visionkit.data.labelled import LabelledIndex
from visionkit.data.points import PointsIndex
from visionkit.data.progress import Progress
from visionkit.data.segmentation import SegmentationIndex
from visionkit.data.workers import run_workers
from visionkit.errors import DataError

Index = LabelledIndex | DetectionIndex | SegmentationIndex | PointsIndex
_AT_A_TIME = 64  # pictures a request


def check_pictures(index: Index, workers: int, label: str) -> Iterator[str]:
    """One sentence for each picture that cannot be read, has not the size that its annotation states, or whose label
    map cannot be used.

    `label` begins the progress line on standard error.
    """
    parts = [range(k, min(k + _AT_A_TIME, len(index))) for k in range(0, len(index), _AT_A_TIME)]
    with Progress(label, len(index), "images") as progress:
        for part, found in zip(parts, run_workers(_Checker(index), parts, workers), strict=True):
            if found and progress.live:
                print(file=sys.stderr)  # the progress line stays, and the sentences stand below it
            yield from found
            progress.advance(len(part))


@dataclass(frozen=True)
class _Checker:
    index: Index

    def __call__(self, positions: range) -> list[str]:
        return [sentence for i in positions if (sentence := self._fault(i))]

    def _fault(self, i: int) -> str:
        try:
            if isinstance(self.index, LabelledIndex):
                labelled_sample(self.index, i)
            else:
                read_checked(self.index, i)
            if isinstance(self.index, SegmentationIndex):
                self.index.semantic(i)
        except DataError as error:
            return str(error)
        return ""
