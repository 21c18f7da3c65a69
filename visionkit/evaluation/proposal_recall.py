"""How well proposals cover the objects, before any classifier: recall, average recall, best overlap.

Hosang, Benenson, Dollár, Schiele, "What makes for effective detection proposals?", TPAMI 2016 (recall, average recall);
Uijlings et al., IJCV 2013, sec. 4 (ABO and MABO).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from visionkit.evaluation.report import show
from visionkit.evaluation.truth import TruthTable
from visionkit.ops.boxes import iou

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10000)


@dataclass(frozen=True, eq=False)
class Coverage:
    """The overlap (IoU) of every object with the best of the first n proposals of its image.

    Several objects may be covered by one proposal: nothing is assigned, as in Uijlings' ABO.
    """

    names: tuple[str, ...]  # K classes
    labels: np.ndarray  # (G,) int64, of the objects that count: no crowds, no difficult ones
    counts: np.ndarray  # (C,) int64, rising numbers n of proposals an image; the last is all of them
    overlaps: np.ndarray  # (G, C) float64 in 0 ... 1
    boxes_an_image: np.ndarray  # (C,) float64, proposals an image that there really are

    def recall(self, threshold: float) -> np.ndarray:
        """(C,) share of objects with an overlap of at least `threshold`; NaN without objects."""
        return _mean(self.overlaps >= threshold)

    def average_recall(self) -> np.ndarray:
        """(C,) mean of the recall over thresholds 0.5 ... 1 (Hosang et al., sec. 5.3); NaN without objects."""
        return _mean(2 * np.maximum(self.overlaps - 0.5, 0))

    def best_overlap(self) -> np.ndarray:
        """ABO, (K, C): mean best overlap of the objects of each class; NaN for a class without objects."""
        rows = [_mean(self.overlaps[self.labels == k]) for k in range(len(self.names))]
        return np.stack(rows) if rows else np.zeros((0, len(self.counts)))

    def mean_best_overlap(self) -> np.ndarray:
        """MABO, (C,): ABO averaged over the classes that have objects; NaN without any."""
        of_class = self.best_overlap()
        return _mean(of_class[~np.isnan(of_class).any(axis=1)])


def coverage(
    proposals: Callable[[int], np.ndarray],
    truth: TruthTable,
    counts: Sequence[int] = COUNTS,
    smallest: float = 0.0,
) -> Coverage:
    """Measures proposals on a data set's truth.

    Args:
        proposals: image i of the truth -> its boxes (P, 4), best first; P may be 0.
        truth: the objects; crowds and difficult ones do not count.
        counts: at how many proposals an image; the largest number that an image has is added, larger ones are left out.
        smallest: objects count whose area (of the mask, where the data set says so) exceeds `smallest` squared, pixels.
    """
    counted = np.flatnonzero(~truth.ignored & (truth.areas > smallest**2))
    order = np.argsort(truth.image_index[counted], kind="stable")
    edges = np.searchsorted(truth.image_index[counted][order], np.arange(1, len(truth.image_ids)))
    of_image = np.split(counted[order], edges) if len(truth.image_ids) else []
    running: list[np.ndarray] = []  # of each image (G_i, P_i + 1): the best of the first 0, 1, 2 ... proposals
    numbers = np.zeros(len(of_image), np.int64)
    for i, objects in enumerate(of_image):
        boxes = np.asarray(proposals(i), np.float64).reshape(-1, 4)
        numbers[i] = len(boxes)
        best = np.zeros((len(objects), len(boxes) + 1))
        best[:, 1:] = iou(torch.from_numpy(truth.boxes[objects]), torch.from_numpy(boxes)).numpy()
        running.append(np.maximum.accumulate(best, axis=1))
    most = int(numbers.max(initial=0))
    kept = np.array(sorted({c for c in counts if c < most} | {most}), np.int64)  # (C,)
    rows = [best[:, np.minimum(kept, best.shape[1] - 1)] for best in running]
    return Coverage(
        names=truth.names,
        labels=truth.labels[np.concatenate([np.zeros(0, np.int64), *of_image])],
        counts=kept,
        overlaps=np.concatenate([np.zeros((0, len(kept))), *rows]),
        boxes_an_image=np.minimum(kept, numbers[:, None]).mean(axis=0) if len(numbers) else np.zeros(len(kept)),
    )


def coverage_table(rows: Mapping[str, tuple[Coverage, float | None]]) -> str:
    """Aligned columns, one line for each method: `rows` holds its coverage and its seconds an image, None = not known.

    The figures are those of all proposals.
    """
    lines = [["method", "boxes/image", "recall@0.5", "recall@0.7", "AR", "MABO", "s/image"]]
    for name, (found, seconds) in rows.items():
        figures = (found.recall(0.5), found.recall(0.7), found.average_recall(), found.mean_best_overlap())
        objects = len(found.labels)
        shown = [show(float(figure[-1]), objects) for figure in figures]
        boxes = f"{found.boxes_an_image[-1]:.0f}"
        lines.append([name, boxes, *shown, "n/a" if seconds is None else f"{seconds:.3f}"])
    return _aligned(lines)


def class_coverage_table(rows: Mapping[str, Coverage]) -> str:
    """ABO of every class, one column for each method; below, MABO."""
    first = next(iter(rows.values()))
    objects = np.bincount(first.labels, minlength=len(first.names))
    columns = {name: found.best_overlap()[:, -1] for name, found in rows.items()}
    lines = [["ABO", "objects", *rows]]
    for k, name in enumerate(first.names):
        lines.append([name, str(objects[k]), *(show(float(c[k]), int(objects[k])) for c in columns.values())])
    means = [show(float(found.mean_best_overlap()[-1]), len(found.labels)) for found in rows.values()]
    lines.append(["mean (MABO)", str(len(first.labels)), *means])
    return _aligned(lines)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis; NaN for nothing, without numpy's warning."""
    result: np.ndarray = values.mean(axis=0) if len(values) else np.full(values.shape[1:], np.nan)
    return result


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    texts = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(texts)
