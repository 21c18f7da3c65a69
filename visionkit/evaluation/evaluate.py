"""The front door: truth and detections in, every number of a detection evaluation out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visionkit.evaluation.coco_map import coco_evaluate
from visionkit.evaluation.predictions import Predictions, pack_predictions
from visionkit.evaluation.report import ClassScores, Report
from visionkit.evaluation.truth import TruthTable
from visionkit.evaluation.voc_ap import voc_evaluate


def evaluate_detections(
    truth: TruthTable,
    predictions: Predictions | Sequence[dict[str, Any]],
    iou_types: Sequence[str] = ("bbox",),
    voc: bool = False,
    engine: str = "auto",
) -> Report:
    """COCO's numbers for each type ("bbox", "segm"), and with `voc` VOC07_mAP and VOC10_mAP.

    Box numbers have plain names (`AP`, `AP50` ...), mask numbers `segm_AP` ...; when one type alone is asked for, it
    has the plain names too. None means that there is no such object. DataError for impossible predictions.
    """
    if not isinstance(predictions, Predictions):
        predictions = pack_predictions(predictions, truth)
    metrics: dict[str, float | None] = {}
    rows = [ClassScores(name, int(n), {}) for name, n in zip(truth.names, truth.object_counts(), strict=True)]
    curves: dict[str, np.ndarray] = {}
    for iou_type in iou_types:
        scores = coco_evaluate(truth, predictions, iou_type, engine)
        prefixes = ("",) if iou_type == "bbox" else ("", "segm_") if len(iou_types) == 1 else ("segm_",)
        for prefix in prefixes:
            metrics |= {prefix + name: value for name, value in scores.numbers.items()}
        for row, ap, ap50 in zip(rows, scores.class_ap, scores.class_ap50, strict=True):
            row.scores.update({prefixes[-1] + "AP": ap, prefixes[-1] + "AP50": ap50})
        if not curves:
            curves = dict(zip(truth.names, scores.precision50, strict=True))
    if voc:
        by_voc = voc_evaluate(truth, predictions)
        metrics |= {"VOC07_mAP": by_voc.map07, "VOC10_mAP": by_voc.map10}
        for row, ap07, ap10 in zip(rows, by_voc.class_ap07, by_voc.class_ap10, strict=True):
            row.scores.update({"VOC07_AP": ap07, "VOC10_AP": ap10})
    return Report(metrics, rows, curves)
