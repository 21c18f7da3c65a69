"""A detection data set as a classification data set: whole pictures by the class of their objects, and the background.

A network that is to show where an object is has to have seen what the picture looks like without it: of one class alone
nothing can be learnt, and nothing explained.
"""

from dataclasses import dataclass

import numpy as np

from visionkit.data.index import DetectionIndex
from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.pictures import Files
from visionkit.data.ragged import Blobs
from visionkit.data.sources import DetectionData
from visionkit.errors import ConfigError

BACKGROUND = "background"


def whole_pictures(
    detection: DetectionData, background: int | None = None, others: DetectionData | None = None
) -> LabelledData:
    """The target of `configs/data/raccoon_background.yaml` and `scene_pictures.yaml`.

    Args:
        detection: a detection data set (a node of its own in the configuration). A picture whose objects are all of one
            class has this class; pictures of several classes are left out and counted in the report, and crowds and
            difficult objects count as none.
        background: a further class "background": the parts of the pictures left, right, above and below of all
            objects (crowds and difficult ones too) whose shorter side is at least so many pixels, and pictures
            without any object. None: no such class, and pictures without an object are left out.
        others: further pictures that are background throughout, but for those that show a class of `detection`.
    Raises:
        ConfigError: `background` is no whole number of at least 1, is missing where `others` is given, or the data has
            a class of this name.
        DataError: nothing is left of a split.
    """
    if background is None and others is not None:
        raise ConfigError("data.others are background, and data.background is null: give the least side of a part.")
    whole = isinstance(background, int) and not isinstance(background, bool)
    if background is not None and (not whole or background < 1):
        raise ConfigError(f"data.background={background}: null or a whole number of pixels, at least 1, is wanted.")
    if background is not None and BACKGROUND in detection.names:
        raise ConfigError(f"{detection.train.source}: a class is called {BACKGROUND!r}: set data.background=null.")
    train = _labelled(detection.train, background, None if others is None else others.train)
    return join_labelled(train, _labelled(detection.val, background, None if others is None else others.val))


@dataclass(frozen=True)
class _Part:
    """A part of a picture with its class."""

    path: bytes
    label: int
    box: tuple[float, float, float, float]
    size: tuple[int, int]


def _labelled(index: DetectionIndex, background: int | None, others: DetectionIndex | None) -> LabelledIndex:
    parts, beside, several, report = [], 0, 0, list(index.report)
    last = len(index.names)  # the label of the background
    for i in range(len(index)):
        truth, size, path = index.truth(i), index.size(i), index.paths[i]
        classes = set(truth.labels[~(truth.crowd | truth.difficult)].tolist())
        if len(classes) == 1:
            parts.append(_Part(path, classes.pop(), (0, 0, size[1], size[0]), size))
        elif background is None or len(truth.boxes):
            several += 1
        if background is not None:
            free = [_Part(path, last, box, size) for box in free_parts(truth.boxes, size, background)]
            parts += free
            beside += len(free)
    if several:
        report.append(f"{index.source}: {several} pictures do not show objects of one class and are left out.")
    if background is not None:
        report.append(f"{index.source}: {beside} parts of pictures without an object are background.")
    if others is not None:
        found = _without(others, index.names, last)
        parts += found
        report.append(f"{others.source}: {len(found)} of {len(others)} pictures are background.")
    names = index.names if background is None else (*index.names, BACKGROUND)
    return LabelledIndex(
        names,
        index.source,
        report,
        Files(Blobs.pack([part.path for part in parts])),
        np.array([part.label for part in parts], np.int32),
        np.array([part.box for part in parts], np.float32).reshape(-1, 4),
        np.array([part.size for part in parts], np.int32).reshape(-1, 2),
    )


def free_parts(boxes: np.ndarray, size: tuple[int, int], side: int) -> list[tuple[float, float, float, float]]:
    """The parts of a picture of (height, width) left, right, above and below of all boxes (G, 4), x1 y1 x2 y2, those
    whose shorter side is at least `side`; without boxes the whole picture, whatever its size. They may overlap."""
    height, width = size
    if len(boxes) == 0:
        return [(0, 0, width, height)]
    x1, y1 = (int(edge) for edge in np.floor(boxes[:, :2].min(axis=0)))
    x2, y2 = (int(edge) for edge in np.ceil(boxes[:, 2:].max(axis=0)))
    parts = [(0, 0, x1, height), (x2, 0, width, height), (0, 0, width, y1), (0, y2, width, height)]
    return [part for part in parts if min(part[2] - part[0], part[3] - part[1]) >= side]


def _without(index: DetectionIndex, names: tuple[str, ...], label: int) -> list[_Part]:
    """The whole pictures of an index that show no class of these names, crowds and difficult objects included."""
    wanted = {k for k, name in enumerate(index.names) if name in names}
    rows = [i for i in range(len(index)) if not wanted & set(index.truth(i).labels.tolist())]
    return [_Part(index.paths[i], label, (0, 0, *index.size(i)[::-1]), index.size(i)) for i in rows]
