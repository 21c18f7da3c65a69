"""Measuring a localizer on a data set, and fitting its mean box: where data, models and evaluation meet."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visionkit.data.collate import targets_for
from visionkit.data.image import read_image
from visionkit.data.index import DetectionIndex
from visionkit.data.loaders import test_batches
from visionkit.data.single_object import mean_box
from visionkit.data.sources import DetectionData
from visionkit.engine.distributed import gather_objects, rank, world_size
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.evaluation.files import write_json
from visionkit.evaluation.localization import LocalizationReport, evaluate_localization
from visionkit.evaluation.report import Report, write_metrics
from visionkit.models.localizer import Localizer
from visionkit.pictures import training_curves, write_image
from visionkit.viz.localization import draw_pair, plot_ious
from visionkit.viz.mosaic import mosaic

METRICS = (
    *("top1", "top5", "loc_error", "loc_error5", "mean_iou", "iou_below_half"),
    *("mean_box_iou", "mean_box_below_half", "val_loss"),
)
SHOWN = 12  # pictures on a sheet
NAMED = 5  # classes of a picture that are written down

_Row = tuple[int, np.ndarray, np.ndarray, float]  # position, probabilities (K,), boxes (K, 4), loss


def fit_mean_box(model: Localizer, data: DetectionData) -> dict[str, float]:
    """The fit function of configs/phases/mean_box.yaml: gives the model the mean box of the training set.

    The evaluation that follows measures that box alone: a box head that is not trained yet answers nothing else. A head
    taken over by `start_from` keeps the box that its deltas are relative to.
    ConfigError when the model is no localizer.
    """
    if not isinstance(model, Localizer):
        raise ConfigError(f"a mean box is for task=localize, not for a {type(model).__name__}.")
    box = mean_box(data.train)
    if bool(model.box_head.fitted):
        box = model.box_head.mean_box.cpu().numpy()
    else:
        model.box_head.fit(torch.from_numpy(box))
    return dict(zip(("mean_box_x1", "mean_box_y1", "mean_box_x2", "mean_box_y2"), box.tolist(), strict=True))


@dataclass
class LocalizationEvaluator:
    """ILSVRC's localization errors and the IoU of the boxes; over all processes when there are several.

    Args:
        index: the split, its labels already those of the model (`index.rename(names)`); one object in each picture.
        batch_size: pictures at a time; 1 gives the boxes of `predict` bit for bit.
        monitor: the metric that decides which checkpoint is the best.
    Raises:
        ConfigError: data without boxes or with several in a picture, or an unknown metric.
    """

    index: DetectionIndex
    batch_size: int = 16
    workers: int = 0
    monitor: str = "mean_iou"

    def __post_init__(self) -> None:
        if not isinstance(self.index, DetectionIndex):
            raise ConfigError(
                "task=localize learns from pictures with a box each, and this data set has classes alone: "
                "choose data=scenes_single, or wrap boxes of your own as configs/data/raccoon_single.yaml does."
            )
        several = np.flatnonzero(np.diff(self.index.offsets) != 1)
        if len(several) or (self.index.crowd | self.index.difficult).any():
            culprit = self.index.path(int(several[0])) if len(several) else "a picture with a crowd or difficult object"
            raise ConfigError(
                f"{self.index.source}: task=localize is measured on pictures with one object each, and {culprit} is "
                "none: wrap the data as configs/data/raccoon_single.yaml does, with keep=single or keep=largest."
            )
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ConfigError(f"evaluation.batch_size={self.batch_size}: a whole number of at least 1 is wanted.")
        if self.monitor not in METRICS:
            raise ConfigError(f"evaluation.monitor={self.monitor}: the metrics are {', '.join(METRICS)}.")

    def names(self) -> list[str]:
        """The metrics that a report of this evaluator has."""
        return list(METRICS)

    def __call__(self, model: Localizer, folder: Path | None = None) -> LocalizationReport | None:
        """The report on rank 0, None elsewhere. With `folder`, writes `metrics.json` and `predictions.json` there."""
        everyone = gather_objects(list(self._pictures(model)))
        if everyone is None:
            return None
        rows: list[_Row] = sorted((row for part in everyone for row in part), key=lambda row: row[0])
        classes = len(self.index.names)
        probabilities = np.array([row[1] for row in rows]).reshape(-1, classes)
        boxes = np.array([row[2] for row in rows]).reshape(-1, classes, 4)
        report = evaluate_localization(
            self.index.names,
            self.index.labels.astype(np.int64),
            self.index.boxes,
            probabilities,
            boxes,
            np.array([row[3] for row in rows]),
            self._mean_boxes(model),
        )
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            records = [self._record(*row[:3], float(iou)) for row, iou in zip(rows, report.ious, strict=True)]
            write_json(folder / "predictions.json", records, indent=None)
            write_metrics(folder / "metrics.json", report.metrics)
        return report

    def metrics(self, model: Localizer) -> dict[str, float | None]:
        """What the training loop records; empty on other ranks than 0."""
        report = self(model)
        return {} if report is None else report.metrics

    def draw(self, folder: Path, predictor: Any, report: Report) -> None:
        """`plots/` and `samples/` of a finished run: the pictures with the best and with the worst boxes."""
        plots = training_curves(folder)
        assert isinstance(report, LocalizationReport)
        plot_ious(report.ious, plots / "iou_histogram.png", report.metrics["mean_box_iou"])
        best_first = np.argsort(-report.ious, kind="stable")
        for name, order in (("best", best_first), ("worst", best_first[::-1])):
            write_image(folder / "samples" / f"{name}.jpg", self._sheet(order[:SHOWN].tolist(), report))

    def _sheet(self, positions: list[int], report: LocalizationReport) -> np.ndarray:
        pictures, titles = [], []
        for i in positions:
            path = self.index.path(i)
            pictures.append(draw_pair(read_image(path), self.index.truth(i).boxes[0], report.boxes[i]))
            titles.append(f"{Path(path).name}: IoU {report.ious[i]:.2f}")
        return mosaic(pictures, columns=4, titles=titles)

    def _mean_boxes(self, model: Localizer) -> np.ndarray | None:
        """The baseline's box in pixels of each picture, (N, 4); None where the model has none of a training set."""
        if not bool(model.box_head.fitted):
            return None
        return model.box_head.mean_box.cpu().numpy() * self.index.sizes[:, [1, 0, 1, 0]]

    def _pictures(self, model: Localizer) -> Iterator[_Row]:
        """This process's share of the pictures."""
        device = next(model.parameters()).device
        batches = test_batches(self.index, model.resize, self.batch_size, self.workers, rank(), world_size())
        for positions, batch, originals in batches:
            moved = batch.to(device)
            found = [one.to("cpu") for one in model.localize(moved, originals)]
            loss = self._loss(model, moved, targets_for(self.index, positions, batch).to(device))
            for i, one in zip(positions, found, strict=True):
                if not (one.probabilities.isfinite().all() and one.boxes.isfinite().all()):
                    raise NonFiniteLossError(f"the network's answer for {self.index.path(i)} is not made of numbers.")
                yield i, one.probabilities.numpy(), one.boxes.numpy(), loss

    def _loss(self, model: Localizer, batch: Any, targets: Any) -> float:
        """The total loss of a batch with the network as it predicts: no dropout, running statistics."""
        was_training = model.training
        model.eval()
        with torch.no_grad():
            total = torch.stack(list(model(batch, targets).values())).sum()
        model.train(was_training)
        return float(total)

    def _record(self, i: int, probabilities: np.ndarray, boxes: np.ndarray, iou: float) -> dict[str, Any]:
        names = self.index.names
        order = np.argsort(-probabilities, kind="stable")[:NAMED].tolist()
        found = [{"class": names[k], "score": float(probabilities[k]), "box": boxes[k].tolist()} for k in order]
        truth = self.index.truth(i)
        named = {"class": names[truth.labels[0]], "box": truth.boxes[0].tolist()}
        return {
            "image_id": self.index.image_id(i), "file": self.index.path(i), "truth": named, "found": found, "iou": iou
        }  # fmt: skip
