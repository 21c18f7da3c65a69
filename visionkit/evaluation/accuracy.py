"""How often a classifier is right: top-1, top-5, by class."""

from collections.abc import Sequence

import numpy as np

from visionkit.evaluation.report import ClassScores, Report


def evaluate_classification(
    names: Sequence[str], labels: np.ndarray, ranked: np.ndarray, losses: np.ndarray | None = None
) -> Report:
    """Top-1 and top-5 accuracy, 0 ... 1, of all pictures and of each class.

    Args:
        names: K classes.
        labels: (N,) the true class of each picture.
        ranked: (N, M) classes by falling score, M = 5 or K if that is less. With fewer than 6 classes top-5 is 1.
        losses: (N,) negative log-likelihood of the truth; their mean is `val_loss`.

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
    return Report(metrics, rows)


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
