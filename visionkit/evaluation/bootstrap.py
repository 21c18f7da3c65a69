"""Whether one model is better than another on the same pictures, or only lucky with them."""

from typing import NamedTuple

import numpy as np

CELLS = 10_000_000  # numbers drawn at a time, which bounds memory


class Comparison(NamedTuple):
    """The difference between two means over the same pictures."""

    difference: float  # of the first mean to the second, as measured
    low: float  # 95 % of the resamples lie between `low` and `high`
    high: float
    not_better: float  # share of the resamples in which the first mean is not above the second, 0 ... 1


def paired_bootstrap(first: np.ndarray, second: np.ndarray, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Draws N of the N pictures with replacement, the same for both models, again and again.

    The percentile interval (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13) of the difference.

    Args:
        first, second: (N,) each model's score of each picture, higher is better: 1 where it is right, else 0.
    Raises:
        ValueError: no pictures, or not the same number of them.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError(f"paired_bootstrap: two scores for each picture are wanted, not {first.shape}, {second.shape}")
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)  # (N,)
    # Pictures with equal differences are interchangeable: how often each value is drawn is multinomial, which for hits
    # and misses (three values) is thousands of times less to draw than the pictures themselves.
    values, counts = np.unique(differences, return_counts=True)
    random = np.random.default_rng(seed)
    sums = []
    step = max(1, CELLS // len(values))
    for start in range(0, resamples, step):
        drawn = random.multinomial(len(differences), counts / counts.sum(), size=min(step, resamples - start))
        sums.append(drawn @ values)
    means = np.concatenate(sums) / len(differences)  # (resamples,)
    low, high = np.quantile(means, [0.025, 0.975])
    return Comparison(float(differences.mean()), float(low), float(high), float((means <= 0).mean()))
