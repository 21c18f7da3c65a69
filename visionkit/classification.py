"""Measuring a classifier on a data set: where data, models and evaluation meet."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.classification import labelled_batches
from visionkit.data.labelled import LabelledIndex
from visionkit.engine.distributed import gather_objects, rank, world_size
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.evaluation.accuracy import evaluate_classification
from visionkit.evaluation.files import write_json
from visionkit.evaluation.report import Report, write_metrics
from visionkit.models.classifier import Classifier

METRICS = ("top1", "top5", "val_loss")
RANKED = 5
LARGEST = 1e4  # loss of a picture whose true class has a probability of 0 in float32

_Row = tuple[int, list[int], list[float], float]  # position, best classes, their probabilities, loss


@dataclass
class ClassificationEvaluator:
    """Top-1, top-5 and loss of a split; over all processes when there are several.

    Args:
        index: the split, its labels already those of the model (`index.rename(names)`).
        batch_size: pictures at a time; 1 gives the probabilities of `predict` bit for bit.
        monitor: the metric that decides which checkpoint is the best.
    Raises:
        ConfigError: data with boxes instead of a class for each picture, or an unknown metric.
    """

    index: LabelledIndex
    batch_size: int = 64
    workers: int = 0
    monitor: str = "top1"

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

    def names(self) -> list[str]:
        """The metrics that a report of this evaluator has."""
        return list(METRICS)

    def __call__(self, model: Classifier, folder: Path | None = None) -> Report | None:
        """The report on rank 0, None elsewhere. With `folder`, writes `metrics.json` and `predictions.json` there."""
        everyone = gather_objects(list(self._pictures(model)))
        if everyone is None:
            return None
        rows: list[_Row] = sorted((row for part in everyone for row in part), key=lambda row: row[0])
        best = min(RANKED, len(self.index.names))
        ranked = np.array([labels for _, labels, _, _ in rows], np.int64).reshape(-1, best)
        losses = np.array([loss for _, _, _, loss in rows])
        report = evaluate_classification(self.index.names, self.index.labels, ranked, losses)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "predictions.json", [self._record(*row[:3]) for row in rows], indent=None)
            write_metrics(folder / "metrics.json", report.metrics)
        return report

    def metrics(self, model: Classifier) -> dict[str, float | None]:
        """What the training loop records; empty on other ranks than 0."""
        report = self(model)
        return {} if report is None else report.metrics

    def _pictures(self, model: Classifier) -> Iterator[_Row]:
        """This process's share of the pictures."""
        device = next(model.parameters()).device
        best = min(RANKED, len(self.index.names))
        for positions, batch in labelled_batches(
            self.index, model.resize, self.batch_size, self.workers, rank(), world_size()
        ):
            scores = model.classify(batch.to(device)).cpu()  # (B, K) log-probabilities
            wrong = [i for i, row in zip(positions, scores.isnan().any(dim=1).tolist(), strict=True) if row]
            if wrong:
                raise NonFiniteLossError(f"the network's scores for {self.index.path(wrong[0])} are not numbers.")
            top = scores.topk(best, dim=1)  # the lower class first among equals is not promised; ties are chance
            for row, i in enumerate(positions):
                yield (
                    i,
                    top.indices[row].tolist(),
                    top.values[row].exp().tolist(),
                    min(-float(scores[row, int(self.index.labels[i])]), LARGEST),
                )

    def _record(self, i: int, labels: list[int], probabilities: list[float]) -> dict[str, Any]:
        names = self.index.names
        found = [{"class": names[k], "score": p} for k, p in zip(labels, probabilities, strict=True)]
        return {"image_id": i + 1, "file": self.index.path(i), "truth": names[self.index.labels[i]], "found": found}
