"""Measuring a segmenter on a data set, and fitting its class weights: where data, models and evaluation meet."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from visionkit.data.class_weights import count_pixels, never_seen, weights_from
from visionkit.data.collate import pad_truths
from visionkit.data.dataset import read_checked
from visionkit.data.image import read_image
from visionkit.data.loaders import test_batches
from visionkit.data.scene_voc import write_palette
from visionkit.data.segmentation import SegmentationData, SegmentationIndex
from visionkit.data.transforms import resize_truth
from visionkit.data.workers import run_workers
from visionkit.engine.distributed import gather_objects, is_main, rank, world_size
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.evaluation.boundary import boundary_f
from visionkit.evaluation.files import write_json
from visionkit.evaluation.mean_iou import ConfusionMatrix, SegmentationReport, segmentation_report
from visionkit.evaluation.report import Report, write_metrics
from visionkit.models.segment_views import SegmentViews, Whole
from visionkit.models.segmenter import Segmenter
from visionkit.pictures import training_curves, write_image
from visionkit.structures import Batch, Segmentation, Targets, Truth
from visionkit.viz.segmentation_plots import plot_class_iou, plot_pixel_confusion
from visionkit.viz.semantic import segmentation_sheet

METRICS = ("mIoU", "fwIoU", "pixel_accuracy", "mean_accuracy", "boundary_f", "val_loss")
SHOWN = 8  # pictures on a sheet


class _Row(NamedTuple):
    """What is known of one picture."""

    position: int
    accuracy: float | None  # share of its labelled pixels that are right; None without any
    boundary: np.ndarray | None  # (K,)
    loss: float | None


def fit_class_weights(model: Segmenter, data: SegmentationData, method: str = "median_frequency") -> dict[str, float]:
    """The fit function of configs/phases/class_weights.yaml: what each class counts in the loss, by how many pixels of
    the training set it has; see `visionkit.data.class_weights`.

    ConfigError when the model is no segmenter, or for an unknown method.
    """
    if not isinstance(data, SegmentationData) or not hasattr(model, "class_weights"):
        raise ConfigError("class weights are for segmenters (task=fcn and its kin) on data with label maps.")
    counts = count_pixels(data.train)
    weights = weights_from(counts, method)  # (K,)
    missing = never_seen(data.names, counts)
    if missing is not None and is_main():
        print(f"warning: {missing}", flush=True)
    model.class_weights.copy_(torch.from_numpy(weights))
    return {f"weight_{name}": float(value) for name, value in zip(data.names, weights, strict=True)}


@dataclass
class SegmentationEvaluator:
    """IoU, accuracies and boundary F-score of a split, at the size of its files; over all processes when there are
    several, exactly as with one.

    Args:
        index: the split, its labels already those of the model (`index.rename(names)`).
        batch_size: pictures of one size at a time; 1 gives the labels of `predict` bit for bit. Other views than the
            whole picture are taken of one at a time, whatever this says.
        boundary: measure the boundary F-score too (some hundredths of a second a picture).
        val_loss: also the loss, averaged over pictures.
        monitor: the metric that decides which checkpoint is the best.
        views: what of each picture the model is shown.
        save_maps: write the label maps that were found into `maps/`, as PNG files with a palette whose values are
            positions in the list of classes.
    Raises:
        ConfigError: data without label maps, or an unknown metric.
    """

    index: SegmentationIndex
    batch_size: int = 1
    boundary: bool = True
    val_loss: bool = True
    workers: int = 0
    monitor: str = "mIoU"
    views: SegmentViews = Whole()
    save_maps: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.index, SegmentationIndex):
            raise ConfigError(
                "segmentation learns from a class for every pixel, and this data set has none: choose data=camvid, "
                "voc12_segmentation, scenes_semantic, or data=image_masks data.root=... ."
            )
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ConfigError(f"evaluation.batch_size={self.batch_size}: a whole number of at least 1 is wanted.")
        if self.monitor not in self.names():
            raise ConfigError(f"evaluation.monitor={self.monitor}: the metrics are {', '.join(self.names())}.")
        if not isinstance(self.views, SegmentViews):
            raise ConfigError("evaluation.views of a segmenter are whole, multi_scale or tiles (views=tiles).")

    def names(self) -> list[str]:
        """The metrics that a report of this evaluator has."""
        left_out = {"boundary_f": self.boundary, "val_loss": self._has_loss}
        return [name for name in METRICS if left_out.get(name, True)]

    @property
    def _has_loss(self) -> bool:
        """A loss is of the whole picture."""
        return self.val_loss and isinstance(self.views, Whole)

    def __call__(self, model: Segmenter, folder: Path | None = None) -> SegmentationReport | None:
        """The report on rank 0, None elsewhere. With `folder`, writes `metrics.json` and `predictions.json` there."""
        matrix, rows = ConfusionMatrix(len(self.index.names)), []
        for i, truth, found, loss in self._pictures(model):
            before = np.diag(matrix.counts).sum(), matrix.counts.sum()
            matrix.add(truth, found)
            right, labelled = np.diag(matrix.counts).sum() - before[0], matrix.counts.sum() - before[1]
            edges = boundary_f(truth, found, len(self.index.names)) if self.boundary else None
            rows.append(_Row(i, float(right / labelled) if labelled else None, edges, loss))
            if folder is not None and self.save_maps:
                self._write_map(folder / "maps", i, found)
        everyone = gather_objects((matrix.counts, rows))
        if everyone is None:
            return None
        whole = ConfusionMatrix(len(self.index.names))
        for counts, _ in everyone:
            whole.merge(counts)
        rows = sorted((row for _, part in everyone for row in part), key=lambda row: row.position)
        report = segmentation_report(
            self.index.names,
            whole.counts,
            [row.boundary for row in rows if row.boundary is not None] if self.boundary else None,
            [row.loss for row in rows if row.loss is not None and row.accuracy is not None] if self._has_loss else None,
        )
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "predictions.json", [self._record(row) for row in rows], indent=None)
            write_metrics(folder / "metrics.json", report.metrics)
        return report

    def metrics(self, model: Segmenter) -> dict[str, float | None]:
        """What the training loop records; empty on other ranks than 0."""
        report = self(model)
        return {} if report is None else report.metrics

    def draw(self, folder: Path, predictor: Any, report: Report) -> None:
        """`plots/` and `samples/`: IoU of every class, and pictures spread over the split with truth, found classes and
        errors; the curves of training where `folder` is a run's."""
        assert isinstance(report, SegmentationReport)
        if (folder / "metrics.jsonl").exists():
            training_curves(folder)
        ious = [row.scores.get("IoU") for row in report.per_class]
        plot_class_iou(self.index.names, ious, folder / "plots" / "iou.png")
        plot_pixel_confusion(self.index.names, report.confusion, folder / "plots" / "confusion.png")
        step = max(1, len(self.index) // SHOWN)
        rows = []
        for i in range(0, len(self.index), step)[:SHOWN]:
            image = read_image(self.index.path(i))
            found = self.views(predictor.model, image).labels.numpy()
            rows.append((image, self.index.semantic(i), found, Path(self.index.path(i)).name))
        sheet = segmentation_sheet(rows, self.index.names, self.index.colors)
        write_image(folder / "samples" / "segmentation.jpg", sheet)

    def _pictures(self, model: Segmenter) -> Iterator[tuple[int, np.ndarray, np.ndarray, float | None]]:
        """Of this process's share: position, truth and found labels (H, W) int64, loss."""
        for i, one, loss in self._found(model):
            if not bool(one.scores.isfinite().all()):
                raise NonFiniteLossError(f"the network's scores for {self.index.path(i)} are not numbers.")
            yield i, self.index.semantic(i), one.labels.numpy(), loss

    def _found(self, model: Segmenter) -> Iterator[tuple[int, Segmentation, float | None]]:
        device = next(model.parameters()).device
        if isinstance(self.views, Whole):
            batches = test_batches(self.index, model.resize, self.batch_size, self.workers, rank(), world_size())
            for positions, batch, originals in batches:
                moved = batch.to(device)
                loss = self._loss(model, moved, positions) if self.val_loss else None
                for i, one in zip(positions, model.segment(moved, originals), strict=True):
                    yield i, one.to("cpu"), loss
            return
        mine = range(rank(), len(self.index), world_size())
        for i, image in run_workers(_Reader(self.index), mine, self.workers):
            yield i, self.views(model, image), None

    def _loss(self, model: Segmenter, batch: Batch, positions: list[int]) -> float:
        """The total loss of a batch with the network as it predicts: no dropout, running statistics."""
        none = np.zeros(0, np.int64)
        truths = []
        for i, (height, width) in zip(positions, batch.sizes.tolist(), strict=True):
            truth = Truth(np.zeros((0, 4), np.float32), none, none.astype(np.bool_), semantic=self.index.semantic(i))
            truths.append(resize_truth(truth, self.index.size(i), (height, width)))
        targets: Targets = pad_truths(truths, (batch.pixels.shape[2], batch.pixels.shape[3]))
        was_training = model.training
        model.eval()
        with torch.no_grad():
            total = torch.stack(list(model(batch, targets.to(batch.pixels.device)).values())).sum()
        model.train(was_training)
        return float(total)

    def _write_map(self, folder: Path, i: int, found: np.ndarray) -> None:
        """Under the picture's path below the folder that all pictures share: names may repeat in several folders."""
        path = Path(self.index.path(i))
        path = folder / path.relative_to(self._shared_folder).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_palette(path, found.astype(np.uint8))

    @cached_property
    def _shared_folder(self) -> str:
        return os.path.commonpath([os.path.dirname(self.index.path(i)) for i in range(len(self.index))])

    def _record(self, row: _Row) -> dict[str, Any]:
        i = row.position
        return {"image_id": self.index.image_id(i), "file": self.index.path(i), "pixel_accuracy": row.accuracy}


@dataclass(frozen=True)
class _Reader:
    """Pictures as they are on disk, for views that cut and resize them themselves."""

    index: SegmentationIndex

    def __call__(self, i: int) -> tuple[int, np.ndarray]:
        return i, read_checked(self.index, i)
