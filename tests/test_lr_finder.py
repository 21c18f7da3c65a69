"""The sweep on steps made up, and what is read off it."""

import math

import pytest
import torch

from visionkit.engine.train import Step
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.lr_finder import Exponential, Point, Sweep, checked_range, sentences, suggest, sweep, table


def steps(losses, then=None):
    """Steps with these losses; afterwards `then` is raised."""
    for number, loss in enumerate(losses, 1):
        yield Step(number, torch.tensor(loss), {}, {}, torch.tensor(0.0), 4)
    if then is not None:
        raise then


def rate(number: int) -> float:
    return 10.0 ** (number / 10 - 6)


def points(losses: list[float]) -> list[Point]:
    return [Point(rate(i), loss, loss) for i, loss in enumerate(losses)]


def test_the_rate_rises_in_equal_factors_between_its_ends():
    schedule = Exponential(1e-5, 1e-1, base=0.02)
    rates = [0.02 * schedule(step, 5) for step in range(5)]
    assert rates == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    assert schedule.rate(3, 5) == pytest.approx(1e-2) and Exponential(1e-5, 1, 1.0).rate(0, 1) == pytest.approx(1e-5)


def test_the_running_mean_is_corrected_for_its_beginning():
    found = sweep(steps([4.0, 2.0, 2.0]), rate, 0.5)
    assert [p.smoothed for p in found.points] == pytest.approx(
        [4, (0.25 * 4 + 0.5 * 2) / 0.75, (0.5 + 0.5 + 1) / 0.875]
    )
    assert [p.loss for p in found.points] == [4, 2, 2] and "all 3 steps" in found.ended
    assert [p.smoothed for p in sweep(steps([4.0, 2.0, 3.0]), rate, 0.0).points] == [4, 2, 3]


def test_it_ends_at_four_times_the_least_loss():
    taken = steps([2.0, 1.0, 3.9, 4.1, 0.5])
    found = sweep(taken, rate, 0.0)
    assert [p.loss for p in found.points] == pytest.approx([2.0, 1.0, 3.9, 4.1])
    assert "4 times its least" in found.ended and next(taken).step == 5, "the fifth step was not taken"


def test_a_loss_that_is_not_finite_is_the_end_and_no_error():
    found = sweep(steps([2.0, 1.0], then=NonFiniteLossError("nan")), rate, 0.9)
    assert len(found.points) == 2 and "not finite" in found.ended and f"{rate(2):.3g}" in found.ended
    with pytest.raises(NonFiniteLossError):
        sweep(steps([], then=NonFiniteLossError("nan")), rate, 0.9)


def test_the_suggestion_is_the_steepest_descent_before_the_least_loss():
    """A logistic fall, centred at position 40, and a steep rise after 70 that goes down again still steeper."""
    losses = [2 - 1 / (1 + math.exp(-(i - 40) / 4)) + (0.2 * (i - 70) if i > 70 else 0) for i in range(90)]
    found = suggest(points([*losses, 3.0, 1.5]))
    assert found.steepest == found.rate == pytest.approx(rate(40))
    assert found.least == pytest.approx(rate(70)) and found.least_tenth == pytest.approx(rate(60))


def test_the_first_points_count_for_nothing():
    losses = [9.0, 5.0, 1.0, *(2 - 0.01 * i for i in range(27)), 4.0]
    found = suggest(points(losses))
    assert found.least == pytest.approx(rate(29)) and found.steepest is not None and found.steepest > rate(2)


def test_curves_without_a_fall_or_without_a_rise():
    rising = suggest(points([1 + 0.1 * i for i in range(30)]))
    assert rising.rate is rising.least is None and "never fell" in rising.note
    assert "never fell" in sentences(rising, 8, None)[0]
    falling = suggest(points([5 - 0.1 * i for i in range(30)]))
    assert falling.rate is not None and "larger high" in falling.note
    assert suggest(points([1.0])).rate is None


def test_the_suggestion_is_told_for_base_batch():
    found = suggest(points([2 - 1 / (1 + math.exp(-(i - 20) / 3)) + (0.2 if i > 40 else 0) for i in range(50)]))
    assert found.rate == pytest.approx(1e-4)
    text = " ".join(sentences(found, 8, 32))
    assert "optim.lr=4.00e-04" in text and "1.00e-04 for the 8 images" in text and "base_batch=32" in text
    assert "optim.lr=1.00e-04" in " ".join(sentences(found, 8, None))


@pytest.mark.parametrize(("count", "rows"), [(100, 10), (10, 10), (4, 4), (1, 1)])
def test_about_ten_rows_the_last_step_among_them(count, rows):
    text = table(Sweep(points([float(i) for i in range(count)]), ""))
    lines = text.splitlines()
    assert len(lines) == 1 + rows and lines[-1].split()[1] == f"{count - 1:.4f}"


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ((0, 1, 100, 0.98), "low=0"),
        ((0.1, 0.1, 100, 0.98), "high=0.1"),
        ((1e-6, 1, 9, 0.98), "steps=9"),
        ((1e-6, 1, 20.5, 0.98), "steps=20.5"),
        ((1e-6, 1, 100, 1), "smooth=1"),
        ((1e-6, True, 100, 0.5), "high=True"),
        ((None, 1, 100, 0.5), "low=None"),
        ((1e-6, float("inf"), 100, 0.5), "high=inf"),
    ],
)
def test_settings_out_of_range(settings, word):
    with pytest.raises(ConfigError, match=word):
        checked_range(*settings)
    assert checked_range(1e-6, 1, 1e2, 0) == (1e-6, 1.0, 100, 0.0)
