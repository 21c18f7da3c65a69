"""Expected calibration error, beside the sum of Guo et al. 2017, eq. 3, written out."""

import numpy as np
import pytest

from visionkit.evaluation.calibration import reliability


def by_definition(confidences, correct, bins):
    """ECE with loops, and bin m = ((m - 1) / M, m / M]."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, c in enumerate(confidences) if (m - 1) / bins < c <= m / bins]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            confidence = sum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


def test_equals_the_definition():
    rng = np.random.default_rng(0)
    for bins in (1, 4, 15):
        for count in (1, 7, 300):
            confidences = rng.uniform(0.01, 1, count)
            correct = rng.random(count) < confidences**2
            found = reliability(confidences, correct, bins)
            assert found.error == pytest.approx(by_definition(confidences, correct, bins))
            assert found.counts.sum() == count


def test_by_hand():
    found = reliability(np.array([0.9, 0.8, 0.3]), np.array([True, False, False]), bins=2)
    assert found.counts.tolist() == [1, 2]
    assert found.confidence.tolist() == pytest.approx([0.3, 0.85]) and found.accuracy.tolist() == [0.0, 0.5]
    assert found.error == pytest.approx((1 * 0.3 + 2 * 0.35) / 3)


def test_an_edge_belongs_to_the_bin_below_and_one_to_the_last():
    found = reliability(np.array([0.25, 0.5, 0.75, 1.0, 1.0 + 1e-7]), np.ones(5, bool), bins=4)
    assert found.counts.tolist() == [1, 1, 1, 2]


def test_one_that_knows_and_one_that_boasts():
    rng = np.random.default_rng(1)
    confidences = rng.uniform(0.5, 1, 100_000)
    knows = reliability(confidences, rng.random(100_000) < confidences)
    boasts = reliability(confidences, rng.random(100_000) < confidences - 0.3)
    assert knows.error < 0.01 and boasts.error == pytest.approx(0.3, abs=0.01)


def test_no_pictures():
    found = reliability(np.zeros(0), np.zeros(0, bool))
    assert found.error is None and found.counts.tolist() == [0] * 15 and np.isnan(found.accuracy).all()
