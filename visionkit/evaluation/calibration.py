"""Whether a classifier is right as often as it is sure: a confidence of 0.8 should be right in 80 of 100 cases."""

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Pictures gathered by the confidence of their best class, in M bins of equal width; bin m is (m / M, (m + 1) / M].

    Means of an empty bin are NaN.
    """

    counts: np.ndarray  # (M,) int64
    confidence: np.ndarray  # (M,) float64, mean probability of the best class
    accuracy: np.ndarray  # (M,) float64, share of pictures whose best class is right

    @property
    def error(self) -> float | None:
        """Expected calibration error, 0 ... 1: the bins' |accuracy - confidence|, weighted by their pictures.

        None without pictures.
        """
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(np.average(gaps, weights=self.counts[filled])) if filled.any() else None


def reliability(confidences: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Guo et al., "On Calibration of Modern Neural Networks" (2017), sec. 2, eq. 3: 15 bins as in their experiments.

    Args:
        confidences: (N,) the probability of the best class, 0 ... 1.
        correct: (N,) bool, whether that class is the true one.
    """
    edges = np.arange(1, bins) / bins
    at = np.searchsorted(edges, confidences, side="left")  # (N,) a confidence on an edge belongs to the bin below it
    counts = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 of an empty bin
        confidence = np.bincount(at, weights=confidences, minlength=bins) / counts
        accuracy = np.bincount(at, weights=correct, minlength=bins) / counts
    return Reliability(counts, confidence, accuracy)
