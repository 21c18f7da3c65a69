"""Measuring a counter on a data set: where data, models and evaluation meet."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from visionkit.data.collate import pad_truths
from visionkit.data.image import read_image
from visionkit.data.loaders import test_batches
from visionkit.data.points import PointsIndex
from visionkit.data.transforms import resize_truth
from visionkit.engine.distributed import gather_objects, rank, world_size
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.evaluation.counting import METRICS, CountingReport, evaluate_counting
from visionkit.evaluation.files import write_json
from visionkit.evaluation.report import Report, write_metrics
from visionkit.models.counter import Counter
from visionkit.pictures import training_curves, write_image
from visionkit.structures import Batch
from visionkit.viz.counting import plot_counts
from visionkit.viz.density import density_picture
from visionkit.viz.mosaic import mosaic

JUDGING = ("MAE", "RMSE", "relative_error", "val_loss")  # metrics that say which network is better
SHOWN = 9  # pictures on a sheet


class _Row(NamedTuple):
    position: int
    found: float
    loss: float | None


@dataclass
class CountingEvaluator:
    """Errors of the counts of a split; over all processes when there are several, exactly as with one.

    Args:
        index: the split.
        batch_size: pictures of one size at a time; 1 gives the counts of `predict` bit for bit.
        val_loss: also the loss, averaged over pictures.
        monitor: the metric that decides which checkpoint is the best; see `visionkit.ops.direction` for which way.
    Raises:
        ConfigError: data without points, or an unknown metric.
    """

    index: PointsIndex
    batch_size: int = 1
    val_loss: bool = True
    workers: int = 0
    monitor: str = "relative_error"

    def __post_init__(self) -> None:
        if not isinstance(self.index, PointsIndex):
            raise ConfigError(
                "task=count learns from a point for every object, and this data set has none: choose data=crowds, "
                "shanghaitech, or data=points data.root=... ."
            )
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ConfigError(f"evaluation.batch_size={self.batch_size}: a whole number of at least 1 is wanted.")
        judging = [name for name in self.names() if name in JUDGING]
        if self.monitor not in judging:
            raise ConfigError(f"evaluation.monitor={self.monitor}: {', '.join(judging)} say which network is better.")

    def names(self) -> list[str]:
        """The metrics that a report of this evaluator has."""
        return [*METRICS, *(["val_loss"] if self.val_loss else [])]

    def __call__(self, model: Counter, folder: Path | None = None) -> CountingReport | None:
        """The report on rank 0, None elsewhere. With `folder`, writes `metrics.json` and `predictions.json` there."""
        everyone = gather_objects(list(self._rows(model)))
        if everyone is None:
            return None
        rows: list[_Row] = sorted((row for part in everyone for row in part), key=lambda row: row.position)
        found = np.array([row.found for row in rows])
        losses = [row.loss for row in rows if row.loss is not None] if self.val_loss else None
        report = evaluate_counting(self.index.names[0], self.index.counts, found, losses)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "predictions.json", [self._record(row) for row in rows], indent=None)
            write_metrics(folder / "metrics.json", report.metrics)
        return report

    def metrics(self, model: Counter) -> dict[str, float | None]:
        """What the training loop records; empty on other ranks than 0."""
        report = self(model)
        return {} if report is None else report.metrics

    def draw(self, folder: Path, predictor: Any, report: Report) -> None:
        """`plots/` and `samples/`: true against estimated counts, density maps of pictures spread over the split and of
        those that are furthest off; the curves of training where `folder` is a run's."""
        assert isinstance(report, CountingReport)
        if (folder / "metrics.jsonl").exists():
            training_curves(folder)
        plot_counts(report.truth, report.found, folder / "plots" / "counts.png")
        spread = list(range(0, len(self.index), max(1, len(self.index) // SHOWN)))[:SHOWN]
        worst = np.argsort(-np.abs(report.found - report.truth), kind="stable")[:SHOWN].tolist()
        for name, positions in (("density", spread), ("worst", worst)):
            write_image(folder / "samples" / f"{name}.jpg", self._sheet(positions, predictor.model))

    def _sheet(self, positions: list[int], model: Counter) -> np.ndarray:
        """Pictures under their density."""
        pictures, titles = [], []
        for i in positions:
            image = read_image(self.index.path(i))
            (found,) = model.predict([image])
            pictures.append(density_picture(image, found.density.numpy(), float(self.index.counts[i])))
            titles.append(Path(self.index.path(i)).name)
        return mosaic(pictures, columns=3, titles=titles)

    def _rows(self, model: Counter) -> Iterator[_Row]:
        """This process's share of the pictures."""
        device = next(model.parameters()).device
        batches = test_batches(self.index, model.resize, self.batch_size, self.workers, rank(), world_size())
        for positions, batch, originals in batches:
            moved = batch.to(device)
            loss = self._loss(model, moved, positions) if self.val_loss else None
            for i, one in zip(positions, model.count(moved, originals), strict=True):
                if not math.isfinite(one.count):
                    raise NonFiniteLossError(f"the network's count for {self.index.path(i)} is no number.")
                yield _Row(i, one.count, loss)

    def _loss(self, model: Counter, batch: Batch, positions: list[int]) -> float:
        """The total loss of a batch with the network as it predicts: running statistics."""
        truths = [
            resize_truth(self.index.truth(i), self.index.size(i), (height, width))
            for i, (height, width) in zip(positions, batch.sizes.tolist(), strict=True)
        ]
        targets = pad_truths(truths, (batch.pixels.shape[2], batch.pixels.shape[3]))
        was_training = model.training
        model.eval()
        with torch.no_grad():
            total = torch.stack(list(model(batch, targets.to(batch.pixels.device)).values())).sum()
        model.train(was_training)
        return float(total)

    def _record(self, row: _Row) -> dict[str, Any]:
        i = row.position
        truth = int(self.index.counts[i])
        return {"image_id": self.index.image_id(i), "file": self.index.path(i), "truth": truth, "count": row.found}
