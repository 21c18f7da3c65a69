"""A factor again and again, in steps and in fractions of the run."""

import pytest

from visionkit.engine.schedule import StepDecay, step_decay
from visionkit.errors import ConfigError


def test_in_steps():
    schedule = StepDecay(10, 0.5)
    assert [schedule(step, 40) for step in (0, 9, 10, 19, 20, 39)] == [1, 1, 0.5, 0.5, 0.25, 0.125]
    assert schedule(10, 4000) == 0.5  # whatever the length


def test_in_fractions_the_published_recipes_come_out():
    """GoogLeNet: 4 % less every 8 of 250 epochs. ResNet: a tenth every 30 of 90 epochs, at exactly these steps."""
    epoch = 40037  # steps
    googlenet, resnet = StepDecay(0.032, 0.96), step_decay(every=0.3333333333)
    for count in (0, 1, 7, 30):
        assert googlenet(count * 8 * epoch + 5, 250 * epoch) == pytest.approx(0.96**count)
    assert [resnet(step, 450450) for step in (0, 150149, 150150, 300299, 300300, 450449)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_runs_shorter_than_the_interval():
    assert [StepDecay(0.032, 0.5)(step, 2) for step in (0, 1)] == [1, 0.5]
    assert StepDecay(100, 0.5)(1, 2) == 1
    assert StepDecay(0.5, 0.1)(0, 0) == 1


def test_warm_up_goes_before():
    assert step_decay(every=10, warmup=4, warmup_start=0.0)(2, 40) == 0.5


@pytest.mark.parametrize("every", [-1, 0, float("nan")])
def test_refused(every):
    with pytest.raises(ConfigError, match="numbers above 0"):
        StepDecay(every)(3, 10)
