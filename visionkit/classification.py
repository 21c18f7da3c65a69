"""Measuring a classifier on a data set: where data, models and evaluation meet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from visionkit.data.classification import labelled_batches, labelled_sample
from visionkit.data.labelled import LabelledIndex
from visionkit.data.workers import run_workers
from visionkit.engine.distributed import gather_objects, rank, world_size
from visionkit.errors import ConfigError, DataError, NonFiniteLossError
from visionkit.evaluation.accuracy import ClassificationReport, evaluate_classification
from visionkit.evaluation.confusion import confusion_lines
from visionkit.evaluation.files import write_json
from visionkit.evaluation.report import Report, write_metrics
from visionkit.models.classifier import Classifier
from visionkit.models.views import CenterView, Views
from visionkit.pictures import SHOWN, training_curves, write_image
from visionkit.viz.class_sheet import class_sheet
from visionkit.viz.classification_plots import plot_confusion, plot_reliability, short_name

METRICS = ("top1", "top5", "val_loss", "ece")
RANKED = 5
LARGEST = 1e4  # loss of a picture whose true class has a probability of 0 in float32
LISTED = 30  # most confused pairs that are written beside the picture of a matrix that is too large for names


class _Row(NamedTuple):
    """What is known of one picture."""

    position: int
    labels: list[int]  # the best classes ...
    scores: list[float]  # ... and their probabilities
    loss: float
    probabilities: np.ndarray | None  # (K,) float32 of all classes, if they were asked for


@dataclass
class ClassificationEvaluator:
    """Top-1, top-5, loss and calibration error of a split; over all processes when there are several.

    Args:
        index: the split, its labels already those of the model (`index.rename(names)`).
        batch_size: pictures at a time; 1 gives the probabilities of `predict` bit for bit. Other views than the middle
            alone are taken of one picture at a time, whatever this says.
        monitor: the metric that decides which checkpoint is the best.
        views: what of each picture the model is shown.
        probabilities: the report also holds the probabilities of all classes for every picture.
    Raises:
        ConfigError: data with boxes instead of a class for each picture, an unknown metric, or no views.
        DataError: a single class, of which every picture is.
    """

    index: LabelledIndex
    batch_size: int = 64
    workers: int = 0
    monitor: str = "top1"
    views: Views = CenterView()
    probabilities: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.index, LabelledIndex):
            raise ConfigError(
                "task=classify learns from pictures with one class each, and this data set has boxes: "
                "choose data=folder data.root=..., or data=scene_objects."
            )
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ConfigError(f"evaluation.batch_size={self.batch_size}: a whole number of at least 1 is wanted.")
        if self.monitor not in METRICS:
            raise ConfigError(f"evaluation.monitor={self.monitor}: the metrics are {', '.join(METRICS)}.")
        if not callable(self.views):
            raise ConfigError(
                f"evaluation.views={self.views}: views are chosen by views@evaluation.views=center, ten_crop or dense."
            )
        if len(self.index.names) < 2:
            raise DataError(
                f"{self.index.source}: there is one class alone, {self.index.names[0]!r}, and a classifier tells at "
                "least two apart; where an object of one class is can be learnt with task=localize."
            )

    def names(self) -> list[str]:
        """The metrics that a report of this evaluator has."""
        return list(METRICS)

    def __call__(self, model: Classifier, folder: Path | None = None) -> ClassificationReport | None:
        """The report on rank 0, None elsewhere. With `folder`, writes `metrics.json` and `predictions.json` there."""
        everyone = gather_objects(list(self._rows(model)))
        if everyone is None:
            return None
        rows: list[_Row] = sorted((row for part in everyone for row in part), key=lambda row: row.position)
        best = min(RANKED, len(self.index.names))
        ranked = np.array([row.labels for row in rows], np.int64).reshape(-1, best)
        confidences = np.array([row.scores[0] for row in rows])
        losses = np.array([row.loss for row in rows])
        report = evaluate_classification(self.index.names, self.index.labels, ranked, losses, confidences)
        if self.probabilities:
            values = np.array([row.probabilities for row in rows], np.float32).reshape(-1, len(self.index.names))
            report = replace(report, probabilities=values)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "predictions.json", [self._record(row) for row in rows], indent=None)
            write_metrics(folder / "metrics.json", report.metrics)
        return report

    def metrics(self, model: Classifier) -> dict[str, float | None]:
        """What the training loop records; empty on other ranks than 0."""
        report = self(model)
        return {} if report is None else report.metrics

    def draw(self, folder: Path, predictor: Any, report: Report) -> None:
        """`plots/` and `samples/`: the confusions and the calibration, pictures spread over the split, and the most
        confident mistakes; the curves of training where `folder` is a run's."""
        assert isinstance(report, ClassificationReport)
        if (folder / "metrics.jsonl").exists():
            training_curves(folder)
        names, trust = self.index.names, report.reliability
        pairs = confusion_lines([short_name(name) for name in names], report.confusion, LISTED)
        plot_confusion(names, report.confusion, folder / "plots" / "confusion.png", pairs)
        if trust is not None:
            path = folder / "plots" / "reliability.png"
            plot_reliability(trust.counts, trust.confidence, trust.accuracy, path, trust.error)
        step = max(1, len(self.index) // (2 * SHOWN))  # spread over the split, whose classes lie one after the other
        spread = range(0, len(self.index), step)[: 2 * SHOWN]
        self._draw_sheet(folder / "samples" / "classes.jpg", predictor, spread)
        self._draw_sheet(folder / "samples" / "mistakes.jpg", predictor, report.mistakes[: 2 * SHOWN].tolist())

    def _draw_sheet(self, path: Path, predictor: Any, positions: Sequence[int]) -> None:
        """Pictures with their true class, and the most probable one; without pictures there is no sheet."""
        images, captions = [], []
        for i in positions:
            image = labelled_sample(self.index, i).image
            probabilities = self.views(predictor.model, image)  # (K,)
            truth, best = int(self.index.labels[i]), int(probabilities.argmax())
            images.append(image)
            captions.append(
                [
                    (f"{said}: {self.index.names[label]}", f"{float(probabilities[label]):.2f}")
                    for said, label in (("truth", truth), ("found", best))
                ]
            )
        if images:
            write_image(path, class_sheet(images, captions))
        else:
            path.unlink(missing_ok=True)  # of an evaluation before

    def _rows(self, model: Classifier) -> Iterator[_Row]:
        """This process's share of the pictures."""
        best = min(RANKED, len(self.index.names))
        for positions, scores in self._scores(model):
            wrong = [i for i, row in zip(positions, scores.isnan().any(dim=1).tolist(), strict=True) if row]
            if wrong:
                raise NonFiniteLossError(f"the network's scores for {self.index.path(wrong[0])} are not numbers.")
            top = scores.topk(best, dim=1)  # the lower class first among equals is not promised; ties are chance
            for row, i in enumerate(positions):
                yield _Row(
                    i,
                    top.indices[row].tolist(),
                    top.values[row].exp().tolist(),
                    min(-float(scores[row, int(self.index.labels[i])]), LARGEST),
                    scores[row].exp().numpy() if self.probabilities else None,
                )

    def _scores(self, model: Classifier) -> Iterator[tuple[list[int], Tensor]]:
        """Positions of some pictures, and the log-probabilities of their classes, (B, K) float32."""
        if isinstance(self.views, CenterView):
            device = next(model.parameters()).device
            batches = labelled_batches(self.index, model.resize, self.batch_size, self.workers, rank(), world_size())
            for positions, batch in batches:
                yield positions, model.classify(batch.to(device)).cpu()
            return
        mine = range(rank(), len(self.index), world_size())
        for i, image in run_workers(_Reader(self.index), mine, self.workers):
            yield [i], torch.log(self.views(model, image))[None]

    def _record(self, row: _Row) -> dict[str, Any]:
        names, i = self.index.names, row.position
        found = [{"class": names[k], "score": p} for k, p in zip(row.labels, row.scores, strict=True)]
        return {"image_id": i + 1, "file": self.index.path(i), "truth": names[self.index.labels[i]], "found": found}


@dataclass(frozen=True)
class _Reader:
    """Pictures as they are on disk, for views that cut and resize them themselves."""

    index: LabelledIndex

    def __call__(self, i: int) -> tuple[int, np.ndarray]:
        return i, labelled_sample(self.index, i).image
