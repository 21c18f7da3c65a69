"""How often a classifier is right, top-1, top-5 and by class; what it takes for what; how well it knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionkit.evaluation.calibration import Reliability, reliability
from visionkit.evaluation.confusion import confusion_lines, confusion_matrix
from visionkit.evaluation.report import ClassScores, Report, class_table, headline

MANY = 100  # classes; of more, the table shows those that have pictures


@dataclass(frozen=True, kw_only=True)
class ClassificationReport(Report):
    """A report that also says what was taken for what."""

    confusion: np.ndarray  # (K, K) int64, rows are the true classes, columns the best ones found
    mistakes: np.ndarray  # (M,) int64, positions of pictures taken for another class, the most confident first
    reliability: Reliability | None  # None where confidences are not known
    probabilities: np.ndarray | None = None  # (N, K) float32, if they were asked for

    def __str__(self) -> str:
        rows = [row for row in self.per_class if row.objects or len(self.per_class) <= MANY]
        parts = [class_table(rows)]
        if empty := len(self.per_class) - len(rows):
            parts[0] += f"\n{empty} of {len(self.per_class)} classes have no pictures here"
        names = [row.name for row in self.per_class]
        if pairs := confusion_lines(names, self.confusion):
            parts.append("\n".join(["most often taken for another class:", *(f"  {pair}" for pair in pairs)]))
        return "\n\n".join([*parts, headline(self.metrics)])


def evaluate_classification(
    names: Sequence[str],
    labels: np.ndarray,
    ranked: np.ndarray,
    losses: np.ndarray | None = None,
    confidences: np.ndarray | None = None,
) -> ClassificationReport:
    """Top-1 and top-5 accuracy, 0 ... 1, of all pictures and of each class; the confusions; the calibration error.

    Args:
        names: K classes.
        labels: (N,) the true class of each picture.
        ranked: (N, M) classes by falling score, M = 5 or K if that is less. With fewer than 6 classes top-5 is 1.
        losses: (N,) negative log-likelihood of the truth; their mean is `val_loss`.
        confidences: (N,) probability of the best class, 0 ... 1; they give `ece` (`calibration.reliability`).

    A class without pictures has None in its row. No pictures at all: everything is None.
    """
    hits = ranked == labels[:, None]  # (N, M)
    first, among = hits[:, 0] if len(hits) else hits.any(axis=1), hits.any(axis=1)
    metrics = {"top1": _mean(first), "top5": _mean(among)}
    if losses is not None:
        metrics["val_loss"] = _mean(losses)
    rows = []
    for label, name in enumerate(names):
        own = labels == label
        rows.append(ClassScores(name, int(own.sum()), {"top1": _mean(first[own]), "top5": _mean(among[own])}))
    mistakes, trust = np.flatnonzero(~first), None
    if confidences is not None:
        trust = reliability(confidences, first)
        metrics["ece"] = trust.error
        mistakes = mistakes[np.argsort(-confidences[mistakes], kind="stable")]
    best = ranked[:, 0] if len(ranked) else np.zeros(0, np.int64)
    confusion = confusion_matrix(labels, best, len(names))
    return ClassificationReport(metrics, rows, confusion=confusion, mistakes=mistakes, reliability=trust)


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
