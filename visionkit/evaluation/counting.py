"""How far estimated counts are from the true ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionkit.evaluation.report import ClassScores, Report


@dataclass(frozen=True, kw_only=True)
class CountingReport(Report):
    """A report that also holds every picture's count. The mean count's errors are those of always saying it."""

    truth: np.ndarray  # (N,) float64
    found: np.ndarray  # (N,) float64


def evaluate_counting(
    name: str, truth: Sequence[float] | np.ndarray, found: Sequence[float] | np.ndarray, losses: Sequence[float] | None
) -> CountingReport:
    """MAE and RMSE (MCNN, Zhang et al. 2016, eqs. 4 and 5: what they call MSE has a root), over N pictures.

    Args:
        name: what is counted.
        truth, found: (N,) objects of each picture.
        losses: (N,), or None where they were not computed.
    Returns:
        `MAE`, `RMSE`, `relative_error` = MAE over the mean count, `bias` = the mean of found - truth, `mean_count`, and
        as the least that a network has to beat `mean_count_MAE`, of saying the split's own mean count every time (that
        of the training pictures is not known here); `val_loss` where there are losses. None for what is not defined:
        without pictures all of them, without objects `relative_error`.
    Raises:
        ValueError: lengths that differ.
    """
    true, estimated = np.asarray(truth, np.float64), np.asarray(found, np.float64)
    if true.shape != estimated.shape or true.ndim != 1:
        raise ValueError(f"counts are {true.shape} and {estimated.shape}: one true and one found for each picture")
    errors = estimated - true  # (N,)
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    if len(true):
        mean, mae = float(true.mean()), float(np.abs(errors).mean())
        metrics |= {
            "MAE": mae,
            "RMSE": float(np.sqrt(np.square(errors).mean())),
            "relative_error": mae / mean if mean else None,
            "bias": float(errors.mean()),
            "mean_count": mean,
            "mean_count_MAE": float(np.abs(true - mean).mean()),
        }
    if losses is not None:
        metrics["val_loss"] = float(np.mean(losses)) if len(losses) else None
    scores = {key: metrics[key] for key in ("MAE", "RMSE", "bias")}
    rows = [ClassScores(name, round(true.sum()), scores)]
    return CountingReport(metrics, rows, truth=true, found=estimated)


METRICS = ("MAE", "RMSE", "relative_error", "bias", "mean_count", "mean_count_MAE")
