"""Detections of a whole data set: COCO's results format on disk, checked and ordered arrays in memory.

The order is a rule for ties: equal scores in one image and class give AP 0.17 or 0.37 in the order of the file, so that
order must not count. Best score first, then image id, category id, the larger one, the box, the mask. Any rule on the
content would do; "the larger one" is the one of four tried (box or area, rising or falling) under which COCO's own
example results, which have four such ties, keep their published numbers. Evaluators that go by the order of the file
may differ from ours where scores tie.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from visionkit.errors import DataError
from visionkit.evaluation.files import read_json, write_json
from visionkit.evaluation.rle import encode_mask, runs
from visionkit.evaluation.truth import COORDINATE_LIMIT, TruthTable
from visionkit.structures import Detections


@dataclass(frozen=True)
class Predictions:
    """D detections in the order above, whatever their order in the file."""

    source: str
    image_index: np.ndarray  # (D,) int64, position in TruthTable.image_ids
    labels: np.ndarray  # (D,) int64, position in TruthTable.names
    xywh: np.ndarray  # (D, 4) float64, COCO's x y w h exactly as given; zeros where there is none
    has_box: np.ndarray  # (D,) bool
    scores: np.ndarray  # (D,) float64, never rounded
    segmentations: tuple[Any, ...] | None  # D COCO run lengths or None; None if no entry has them
    positions: np.ndarray  # (D,) int64, place in the list given, for messages

    def __len__(self) -> int:
        return len(self.scores)

    def boxes(self) -> np.ndarray:
        """(D, 4) float64 x1 y1 x2 y2."""
        return np.concatenate([self.xywh[:, :2], self.xywh[:, :2] + self.xywh[:, 2:]], axis=1)


def read_predictions(path: str | Path, truth: TruthTable) -> Predictions:
    """Reads a COCO results file (a list, empty if nothing was found) and checks it against the truth.

    DataError in one sentence naming the file and the entry: see `pack_predictions`.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise DataError(f"{path}: is not a COCO results file (it must be a list of detections).")
    return pack_predictions(entries, truth, str(path))


def pack_predictions(entries: Sequence[Any], truth: TruthTable, source: str = "predictions") -> Predictions:
    """COCO results (dicts of image_id, category_id, score and bbox or segmentation) -> checked, ordered arrays.

    DataError for a missing key, an image or category the truth does not know, a box or score that is NaN or
    infinite, a coordinate beyond `COORDINATE_LIMIT`, a negative width or height: a NaN box would score 1.000.
    """
    image_at = {int(number): i for i, number in enumerate(truth.image_ids)}
    label_of = {int(number): k for k, number in enumerate(truth.category_ids)}
    count = len(entries)
    image_index, labels = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    xywh, scores, has_box = np.zeros((count, 4)), np.zeros(count), np.zeros(count, dtype=bool)
    areas, digests = np.zeros(count), np.zeros(count, dtype=np.int64)
    for i, entry in enumerate(entries):
        try:
            image_index[i] = image_at[entry["image_id"]]
            labels[i] = label_of[entry["category_id"]]
            scores[i] = entry["score"]
            box, mask = entry.get("bbox"), entry.get("segmentation")
            if box:
                x, y, w, h = xywh[i] = box
                areas[i], has_box[i] = w * h, True
            else:
                areas[i] = runs(mask)[1::2].sum()
            if mask:
                digests[i] = zlib.crc32(str(mask.get("counts") if isinstance(mask, dict) else mask).encode())
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            _explain(entry, i, image_at, label_of, truth, source)
    bad_box = ~(np.abs(xywh) <= COORDINATE_LIMIT).all(axis=1)  # also True for NaN
    for bad, what in (
        (bad_box, f"a box with a value that is NaN, infinite or beyond {COORDINATE_LIMIT:g}"),
        (~np.isfinite(scores), "a score that is NaN or infinite"),
        ((xywh[:, 2:] < 0).any(axis=1), "a box of negative width or height"),
    ):
        if bad.any():
            raise DataError(f"{source}: {_name(entries, int(np.argmax(bad)))} has {what}.")
    ids, categories = truth.image_ids[image_index], truth.category_ids[labels]
    order = np.lexsort((digests, *xywh.T[::-1], -areas, categories, ids, -scores))  # the last key counts first
    masks = tuple(entries[i].get("segmentation") for i in order)
    return Predictions(
        source, image_index[order], labels[order], xywh[order], has_box[order], scores[order],
        masks if any(masks) else None, order,
    )  # fmt: skip


def write_predictions(path: str | Path, entries: Sequence[dict[str, Any]]) -> None:
    """Writes COCO results atomically, scores and boxes unrounded. DataError, and no file, if a number is not finite."""
    for i, entry in enumerate(entries):
        if not np.isfinite([entry["score"], *entry.get("bbox", ())]).all():
            raise DataError(f"{path}: not written, since {_name(entries, i)} has a NaN or infinite box or score.")
    write_json(path, list(entries))


def to_coco(detections: Detections, image_id: int, category_ids: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
    """Detections of one image -> COCO results; label k becomes `category_ids[k]`, masks become run lengths."""
    boxes = detections.boxes.detach().cpu().double().numpy()  # (N, 4): differences of float32 are exact in float64
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()  # (N, 4)
    scores = detections.scores.detach().cpu().double().tolist()
    labels = detections.labels.cpu().tolist()
    entries: list[dict[str, Any]] = [
        {"image_id": int(image_id), "category_id": int(category_ids[label]), "bbox": box, "score": score}
        for box, score, label in zip(xywh, scores, labels, strict=True)
    ]
    if detections.masks is not None:
        for entry, mask in zip(entries, detections.masks.cpu().numpy(), strict=True):
            entry["segmentation"] = encode_mask(mask)
    return entries


def _name(entries: Sequence[Any], i: int) -> str:
    return f"entry {i} (image {entries[i]['image_id']})"


def _explain(
    entry: Any, i: int, images: dict[int, int], labels: dict[int, int], truth: TruthTable, source: str
) -> NoReturn:
    """The sentence for an entry that could not be read; slow and rare, so apart from the loop."""
    if not isinstance(entry, dict):
        raise DataError(f"{source}: entry {i} is not an object.") from None
    for key, known in (("image_id", images), ("category_id", labels)):
        if key not in entry:
            raise DataError(f"{source}: entry {i} has no '{key}'.") from None
        if not isinstance(entry[key], int | float | np.integer) or entry[key] not in known:
            raise DataError(
                f"{source}: entry {i} has the {key} {entry[key]!r}, which {truth.source} does not list."
            ) from None
    if "score" not in entry:
        raise DataError(f"{source}: entry {i} has no 'score'.") from None
    if not entry.get("bbox") and not entry.get("segmentation"):
        raise DataError(f"{source}: entry {i} has no 'bbox' (nor a 'segmentation').") from None
    raise DataError(f"{source}: entry {i} has a bbox, score or segmentation of the wrong form.") from None
