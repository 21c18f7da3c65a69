"""COCO's twelve numbers and AP per class, by pycocotools (the oracle) or faster-coco-eval (the same numbers, faster).

The evaluators lie in silence about input they do not expect, so they only ever see checked, ordered entries with
fresh ids from 1 (see `pack_predictions` and `TruthTable`); "no such object" is None, never -1.
"""

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as mask_tools

from visionkit.errors import ConfigError, DataError
from visionkit.evaluation import rle
from visionkit.evaluation.predictions import Predictions, pack_predictions
from visionkit.evaluation.truth import COORDINATE_LIMIT, TruthTable

# name -> (threshold or None for the mean of ten, area range, position in the limits 1, 10, 100 detections an image)
_PRECISIONS = {
    "AP": (None, 0),
    "AP50": (0, 0),
    "AP75": (5, 0),
    "AP_small": (None, 1),
    "AP_medium": (None, 2),
    "AP_large": (None, 3),
}
_RECALLS = {"AR1": (0, 0), "AR10": (0, 1), "AR100": (0, 2), "AR_small": (1, 2), "AR_medium": (2, 2), "AR_large": (3, 2)}
NUMBERS = (*_PRECISIONS, *_RECALLS)
"""The twelve names in COCO's order. small is up to 32^2, medium up to 96^2 square pixels; 100 detections an image."""


@dataclass(frozen=True)
class CocoScores:
    """Numbers are 0 ... 1, or None where there is no object to be found."""

    numbers: dict[str, float | None]  # the twelve of NUMBERS
    class_ap: list[float | None]  # K
    class_ap50: list[float | None]  # K
    objects: np.ndarray  # (K,) int64, objects to be found (crowds and difficult ones do not count)
    precision50: np.ndarray  # (K, 101) precision at recall 0, 0.01 ... 1 and IoU 0.5; NaN rows where no object is


def coco_evaluate(
    truth: TruthTable,
    results: Sequence[dict[str, Any]] | Predictions,
    iou_type: str = "bbox",
    engine: str = "auto",
) -> CocoScores:
    """Scores COCO results against the truth.

    Args:
        truth: difficult objects are treated like crowds: neither to be found nor wrong to find.
        results: COCO results entries, or what `read_predictions` gave; may be empty.
        iou_type: "bbox" or "segm" (the size classes of detections then go by mask area, also when they have boxes).
        engine: "pycocotools", "faster", or "auto": faster-coco-eval where it is installed.

    Raises DataError for an impossible entry (see `pack_predictions`), an object or detection without mask in "segm".
    """
    if iou_type not in ("bbox", "segm"):
        raise ConfigError(f"iou_type must be bbox or segm, not {iou_type}.")
    predictions = results if isinstance(results, Predictions) else pack_predictions(results, truth)
    objects = truth.object_counts()
    if objects.sum() == 0:  # nothing to be found; also no classes or no images, which the evaluators do not take
        nothing: list[float | None] = [None] * len(objects)
        return CocoScores(dict.fromkeys(NUMBERS), nothing, nothing, objects, np.full((len(objects), 101), np.nan))
    dataset, detections = _dataset(truth, iou_type), _detections(truth, predictions, iou_type)
    with contextlib.redirect_stdout(io.StringIO()):
        precision, recall = _run(dataset, detections, iou_type, _choose(engine))
    in_order = np.argsort(np.argsort(truth.category_ids))  # the evaluators go by category id
    precision, recall = precision[:, :, in_order], recall[:, in_order]  # (T, 101, K, A, M), (T, K, A, M)
    numbers = {
        name: _mean(precision[..., area, 2] if t is None else precision[t, ..., area, 2])
        for name, (t, area) in _PRECISIONS.items()
    } | {name: _mean(recall[..., area, limit]) for name, (area, limit) in _RECALLS.items()}
    at_half = precision[0, :, :, 0, 2].T  # (K, 101)
    return CocoScores(
        numbers=numbers,
        class_ap=[_mean(precision[:, :, k, 0, 2]) for k in range(len(objects))],
        class_ap50=[_mean(row) for row in at_half],
        objects=objects,
        precision50=np.where(at_half < 0, np.nan, at_half),
    )


def with_boxes(predictions: Predictions, truth: TruthTable) -> Predictions:
    """Gives detections that have only a mask the box around it (files of mask results often have no boxes)."""
    missing = np.flatnonzero(~predictions.has_box)
    if not missing.size:
        return predictions
    xywh = predictions.xywh.copy()
    for i in missing.tolist():
        xywh[i] = mask_tools.toBbox(_mask_of_detection(predictions, truth, i))
    return replace(predictions, xywh=xywh, has_box=np.ones(len(predictions), dtype=bool))


def _choose(engine: str) -> str:
    installed = importlib.util.find_spec("faster_coco_eval") is not None
    if engine == "auto":
        return "faster" if installed else "pycocotools"
    if engine not in ("pycocotools", "faster"):
        raise ConfigError(f"The evaluation engine must be auto, pycocotools or faster, not {engine}.")
    if engine == "faster" and not installed:
        raise ConfigError("The evaluation engine 'faster' needs the package faster-coco-eval, which is not installed.")
    return engine


def _run(truth: dict[str, Any], found: dict[str, Any], iou_type: str, engine: str) -> tuple[np.ndarray, np.ndarray]:
    """-> precision (T, 101, K, A, M) and recall (T, K, A, M), -1 where nothing is to be found."""
    if engine == "faster":
        from faster_coco_eval.core.coco import COCO
        from faster_coco_eval.core.faster_eval_api import COCOeval_faster as Evaluator
    else:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluator
    sides = []
    for dataset in (truth, found):  # not loadRes: it crashes on an empty list and takes a box's area for its mask's
        side = COCO()
        side.dataset = dataset
        side.createIndex()
        sides.append(side)
    evaluator = Evaluator(*sides, iou_type)
    evaluator.evaluate()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])


def _dataset(truth: TruthTable, iou_type: str) -> dict[str, Any]:
    xywh = np.concatenate([truth.boxes[:, :2], truth.boxes[:, 2:] - truth.boxes[:, :2]], axis=1)  # (G, 4)
    annotations = _annotations(
        truth, truth.image_index, truth.labels, xywh, truth.areas, truth.ignored.astype(int).tolist()
    )
    if iou_type == "segm":
        for i, annotation in enumerate(annotations):
            mask = None if truth.segmentations is None else truth.segmentations[i]
            where = f"{truth.source}: an object of image {annotation['image_id']}"
            annotation["segmentation"] = _mask(mask, truth.sizes[truth.image_index[i]], where)
    return {
        "info": {},
        "images": [
            {"id": i, "height": h, "width": w}
            for i, (h, w) in zip(truth.image_ids.tolist(), truth.sizes.tolist(), strict=True)
        ],
        "categories": [{"id": i, "name": n} for i, n in zip(truth.category_ids.tolist(), truth.names, strict=True)],
        "annotations": annotations,
    }


def _detections(truth: TruthTable, predictions: Predictions, iou_type: str) -> dict[str, Any]:
    if iou_type == "bbox":
        predictions = with_boxes(predictions, truth)
    xywh = predictions.xywh  # (D, 4)
    areas = xywh[:, 2] * xywh[:, 3]
    annotations = _annotations(truth, predictions.image_index, predictions.labels, xywh, areas, [0] * len(predictions))
    for i, (annotation, score) in enumerate(zip(annotations, predictions.scores.tolist(), strict=True)):
        annotation["score"] = score
        if iou_type == "segm":
            annotation["segmentation"] = _mask_of_detection(predictions, truth, i)
            annotation["area"] = float(mask_tools.area(annotation["segmentation"]))
    images, categories = truth.image_ids.tolist(), truth.category_ids.tolist()
    return {
        "info": {},
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in zip(images, truth.sizes.tolist(), strict=True)],
        "categories": [{"id": i} for i in categories],
        "annotations": annotations,
    }


def _annotations(
    truth: TruthTable,
    image_index: np.ndarray,
    labels: np.ndarray,
    xywh: np.ndarray,
    areas: np.ndarray,
    crowd: list[int],
) -> list[dict[str, Any]]:
    images, categories = truth.image_ids[image_index].tolist(), truth.category_ids[labels].tolist()
    rows = zip(images, categories, xywh.tolist(), areas.tolist(), crowd, strict=True)
    return [  # ids from 1: the evaluators take id 0 for "unmatched"
        {"id": i, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": is_crowd}
        for i, (image, category, box, area, is_crowd) in enumerate(rows, 1)
    ]


def _mask_of_detection(predictions: Predictions, truth: TruthTable, i: int) -> dict[str, Any]:
    where = f"{predictions.source}: entry {predictions.positions[i]}"
    mask = None if predictions.segmentations is None else predictions.segmentations[i]
    return _mask(mask, truth.sizes[predictions.image_index[i]], where)


def _mask(segmentation: Any, size: np.ndarray, where: str) -> dict[str, Any]:
    """Polygons or run lengths -> compressed run lengths; the decoder below trusts its input, so it is checked first."""
    if not segmentation:
        raise DataError(f"{where} has no 'segmentation'.")
    height, width = size.tolist()
    problem = rle.fault(segmentation, (height, width), COORDINATE_LIMIT)
    if problem:
        raise DataError(f"{where} cannot be used: {problem}.")
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], str | bytes):
            return {"size": [height, width], "counts": segmentation["counts"]}
        return dict(mask_tools.frPyObjects(segmentation, height, width))
    polygons = [[float(v) for v in polygon] for polygon in segmentation]
    return dict(mask_tools.merge(mask_tools.frPyObjects(polygons, height, width)))


def _mean(values: np.ndarray) -> float | None:
    present = values[values > -1]
    return float(present.mean()) if present.size else None
