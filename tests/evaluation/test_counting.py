"""Errors of counts, by hand."""

import math

import numpy as np
import pytest

from visionkit.evaluation.counting import METRICS, evaluate_counting


def test_by_hand():
    report = evaluate_counting("person", [10, 20, 0], [12, 16, 1], [0.5, 1.5, 1.0])
    metrics = report.metrics
    assert metrics["MAE"] == pytest.approx(7 / 3) and metrics["RMSE"] == pytest.approx(math.sqrt(21 / 3))
    assert metrics["mean_count"] == 10 and metrics["relative_error"] == pytest.approx(7 / 30)
    assert metrics["bias"] == pytest.approx(-1 / 3) and metrics["mean_count_MAE"] == pytest.approx(20 / 3)
    assert metrics["val_loss"] == 1.0
    assert "val_loss" not in evaluate_counting("person", [1], [1], None).metrics
    assert "person" in str(report) and "2.333" in str(report)


def test_always_saying_the_mean_is_the_baseline():
    truth = np.random.default_rng(0).integers(0, 200, 50).astype(float)
    metrics = evaluate_counting("person", truth, np.full(50, truth.mean()), None).metrics
    assert metrics["MAE"] == pytest.approx(metrics["mean_count_MAE"]) and metrics["bias"] == pytest.approx(0, abs=1e-9)


def test_without_pictures_and_without_objects():
    """Not defined is None, never NaN."""
    empty = evaluate_counting("person", [], [], []).metrics
    assert set(empty) == {*METRICS, "val_loss"} and all(value is None for value in empty.values())
    nobody = evaluate_counting("person", [0, 0], [1, 0], None).metrics
    assert nobody["relative_error"] is None and nobody["MAE"] == 0.5 and nobody["mean_count"] == 0


def test_lengths_that_differ():
    with pytest.raises(ValueError, match="one true and one found"):
        evaluate_counting("person", [1, 2], [1], None)
