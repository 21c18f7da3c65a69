"""The paired bootstrap beside every resample there is, and beside resampling picture by picture."""

from itertools import product

import numpy as np
import pytest

from visionkit.evaluation.bootstrap import paired_bootstrap


def test_equals_all_resamples_of_a_few_pictures():
    """Of 5 pictures there are 5 ** 5 resamples, all equally likely."""
    first, second = np.array([1.0, 1, 0, 1, 0]), np.array([0.0, 1, 1, 0, 0])
    differences = first - second
    means = np.array([differences[list(rows)].mean() for rows in product(range(5), repeat=5)])
    found = paired_bootstrap(first, second, resamples=200_000)
    assert found.difference == pytest.approx(differences.mean())
    assert found.not_better == pytest.approx((means <= 0).mean(), abs=0.005)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


@pytest.mark.parametrize("hits", [True, False])
def test_equals_resampling_picture_by_picture(hits):
    rng = np.random.default_rng(3)
    first, second = rng.random((2, 120)) + np.array([[0.05], [0.0]])
    if hits:
        first, second = (first > 0.4).astype(float), (second > 0.4).astype(float)
    found = paired_bootstrap(first, second, resamples=20_000)
    rows = np.random.default_rng(9).integers(0, 120, (20_000, 120))
    means = first[rows].mean(axis=1) - second[rows].mean(axis=1)
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.not_better == pytest.approx((means <= 1e-12).mean(), abs=0.01)
    assert found.low == pytest.approx(np.quantile(means, 0.025), abs=0.009)
    assert found.high == pytest.approx(np.quantile(means, 0.975), abs=0.009)


def test_it_is_paired():
    """Two models that fail on the same pictures differ for certain; on pictures of their own they may not."""
    hard = np.arange(200) < 100
    better = np.where(hard, 0.0, 1.0)
    worse = better.copy()
    worse[100:106] = 0
    assert paired_bootstrap(better, worse).low > 0
    assert paired_bootstrap(better, np.roll(worse, 50)).low < 0


def test_repeats_for_a_seed_and_in_parts(monkeypatch):
    first, second = np.random.default_rng(0).integers(0, 2, (2, 50)).astype(float)
    whole = paired_bootstrap(first, second, 1000, seed=1)
    assert paired_bootstrap(first, second, 1000, seed=1) == whole != paired_bootstrap(first, second, 1000, seed=2)
    monkeypatch.setattr("visionkit.evaluation.bootstrap.CELLS", 10)  # a few resamples at a time
    assert paired_bootstrap(first, second, 1000, seed=1) == whole


def test_equal_models_and_impossible_ones():
    hits = np.array([1.0, 0, 1])
    assert paired_bootstrap(hits, hits, 100) == (0.0, 0.0, 0.0, 1.0)
    for other in (np.zeros(0), np.zeros(2)):
        with pytest.raises(ValueError, match="two scores for each picture"):
            paired_bootstrap(np.zeros(0), other)
