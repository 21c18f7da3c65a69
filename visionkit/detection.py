"""Measuring a detector on a data set: where data, models and evaluation meet.

The training loop calls it between epochs and `tools/evaluate.py` at the end, so both give the same numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from visionkit.data.collate import targets_for
from visionkit.data.index import DetectionIndex
from visionkit.data.loaders import test_batches
from visionkit.engine.distributed import gather_objects, rank, world_size
from visionkit.errors import ConfigError, DataError
from visionkit.evaluation.coco_map import NUMBERS
from visionkit.evaluation.evaluate import Report, evaluate_detections
from visionkit.evaluation.predictions import to_coco, write_predictions
from visionkit.evaluation.report import write_metrics
from visionkit.evaluation.truth import TruthTable
from visionkit.models.region_detector import RegionDetector
from visionkit.pictures import SHOWN, detections_beside_truth, training_curves
from visionkit.structures import Batch, Detections


@dataclass
class DetectionEvaluator:
    """Detections of a split, scored; over all processes when there are several.

    Args:
        index: the split, its labels already those of the model (`index.rename(names)`).
        iou_types: "bbox", "segm".
        voc: also the two VOC numbers.
        batch_size: images of one canvas at a time; 1 gives the boxes of `predict` bit for bit.
        val_loss: also the loss, averaged over images.
        monitor: the metric that decides which checkpoint is the best.
    Raises:
        ConfigError: a type or a monitored metric that there is not.
        DataError: masks are to be measured and the split has none.
    """

    index: DetectionIndex
    iou_types: Sequence[str] = ("bbox",)
    voc: bool = False
    batch_size: int = 1
    val_loss: bool = True
    workers: int = 0
    monitor: str = "AP"  # the metric that decides which checkpoint is best

    def __post_init__(self) -> None:
        if not isinstance(self.index, DetectionIndex):
            raise ConfigError("a detector is measured on data with boxes, and this data set has classes alone.")
        if not self.iou_types or not set(self.iou_types) <= {"bbox", "segm"}:
            raise ConfigError(f"evaluation.iou_types={list(self.iou_types)}: a list of bbox, segm or both is wanted.")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ConfigError(f"evaluation.batch_size={self.batch_size}: a whole number of at least 1 is wanted.")
        if self.monitor not in self.names():
            raise ConfigError(f"evaluation.monitor={self.monitor}: the metrics are {', '.join(self.names())}.")
        if "segm" in self.iou_types and not self.index.has_masks:
            raise DataError(f"{self.index.source}: the annotations hold no masks, which evaluation.iou_types asks for.")

    def names(self) -> list[str]:
        """The metrics that a report of this evaluator has."""
        masks = [f"segm_{name}" for name in NUMBERS] if "segm" in self.iou_types else []
        plain = NUMBERS if "bbox" in self.iou_types or len(self.iou_types) == 1 else ()
        voc = ["VOC07_mAP", "VOC10_mAP"] if self.voc else []
        return [*plain, *masks, *voc, *(["val_loss"] if self.val_loss else [])]

    def __call__(self, model: RegionDetector, folder: Path | None = None) -> Report | None:
        """The report on rank 0, None elsewhere. With `folder`, writes `metrics.json` and `predictions.json` there.

        Raises ConfigError where masks are to be measured and the model makes none.
        """
        if "segm" in self.iou_types and not getattr(model, "wants_masks", False):
            raise ConfigError("masks are to be measured (iou_type=segm), and this model finds boxes alone.")
        mine = list(self._images(model))
        everyone = gather_objects(mine)
        if everyone is None:
            return None
        images = sorted((image for part in everyone for image in part), key=lambda image: image[0])
        results = [result for _, found, _ in images for result in found]
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_predictions(folder / "predictions.json", results)
        truth = TruthTable.from_index(self.index, with_masks="segm" in self.iou_types)
        report = evaluate_detections(truth, results, tuple(self.iou_types), self.voc)
        if self.val_loss:
            report.metrics["val_loss"] = sum(loss for _, _, loss in images) / max(1, len(images))
        if folder is not None:
            write_metrics(folder / "metrics.json", report.metrics)
        return report

    def metrics(self, model: RegionDetector) -> dict[str, float | None]:
        """What the training loop records; empty on other ranks than 0."""
        report = self(model)
        return {} if report is None else report.metrics

    def draw(self, folder: Path, predictor: Any, report: Report) -> None:
        """`plots/` and `samples/` of a finished run."""
        from visionkit.viz.plots import plot_class_ap, plot_precision_recall  # matplotlib: half a second

        plots = training_curves(folder)
        if report.precision50:
            plot_precision_recall(report.precision50, plots / "precision_recall.png")
        rows = report.per_class
        plot_class_ap([row.name for row in rows], [row.scores.get("AP") for row in rows], plots / "ap.png")
        positions = list(range(min(SHOWN, len(self.index))))
        found = self._detected(predictor.model, positions)
        detections_beside_truth(self.index, positions, found, folder / "samples" / "detections.jpg")

    def _detected(self, model: RegionDetector, positions: list[int]) -> list[Detections]:
        """As `predict` gives them, bit for bit, but with the split's own proposals where the model takes such."""
        device = next(model.parameters()).device
        found: dict[int, Detections] = {}
        for (i,), batch, originals in test_batches(self.index.select(positions), model.resize, 1):
            found[i] = model.detect(batch.to(device), originals)[0].to("cpu")
        return [found[i] for i in range(len(positions))]

    def _images(self, model: RegionDetector) -> Iterator[tuple[int, list[dict[str, Any]], float]]:
        """(position, detections in COCO's results format, loss) of this process's share of the images."""
        device = next(model.parameters()).device
        batches = test_batches(self.index, model.resize, self.batch_size, self.workers, rank(), world_size())
        for positions, batch, originals in batches:
            moved = batch.to(device)
            found = model.detect(moved, originals)
            losses = self._losses(model, moved, positions) if self.val_loss else 0.0
            for position, detections in zip(positions, found, strict=True):
                yield position, to_coco(detections, self.index.image_id(position), self.index.category_ids), losses

    def _losses(self, model: RegionDetector, batch: Batch, positions: list[int]) -> float:
        """The total loss of a batch with the network as it predicts: no dropout, running statistics."""
        targets = targets_for(self.index, positions, batch, with_masks=getattr(model, "wants_masks", False))
        was_training = model.training
        model.eval()
        with torch.no_grad():
            total = torch.stack(list(model(batch, targets.to(batch.pixels.device)).values())).sum()
        model.train(was_training)
        return float(total)
