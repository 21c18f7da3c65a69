"""A learning rate from a short sweep: it rises exponentially, step by step, and the loss tells where it helps, where
it helps most and where it is too high (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", sec. 3.3).
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.engine.schedule import Schedule
from visionkit.engine.train import Step
from visionkit.errors import ConfigError, NonFiniteLossError

TOO_HIGH = 4.0  # times the least loss so far: the sweep ends
LEAST_STEPS = 10  # of a sweep
SKIPPED = 0.1  # share of the points at the beginning whose smoothed loss rests on too few steps for a slope
ROWS = 10  # of the table


@dataclass(frozen=True)
class Exponential(Schedule):
    """From `low` to `high` in equal factors, for groups whose base rate is `base` (times their own multipliers)."""

    low: float
    high: float
    base: float

    def __call__(self, step: int, total: int) -> float:
        return self.rate(step, total) / self.base

    def rate(self, step: int, total: int) -> float:
        """The learning rate of the step that follows `step` done ones of `total`."""
        return float(self.low * (self.high / self.low) ** (step / max(total - 1, 1)))


@dataclass(frozen=True)
class Point:
    """One step of a sweep."""

    rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Sweep:
    """The steps of a sweep in order, and why it ended."""

    points: list[Point]
    ended: str


@dataclass(frozen=True)
class Suggestion:
    """Rates read off a sweep. None where the loss never fell."""

    rate: float | None  # what to try
    steepest: float | None  # where the smoothed loss falls fastest, over the logarithm of the rate
    least: float | None  # where it is least
    least_tenth: float | None  # a tenth of that, the other usual choice
    note: str  # what a person should know of them


def checked_range(low: Any, high: Any, steps: Any, smooth: Any) -> tuple[float, float, int, float]:
    """The settings of a sweep. ConfigError names the one that is out of its range."""
    for key, value in (("low", low), ("high", high), ("steps", steps), ("smooth", smooth)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{key}={value}: {key} has to be a number.")
    if not 0 < low < high:
        raise ConfigError(f"low={low:g} high={high:g}: the rate rises from low, above 0, to high, above low.")
    if steps != int(steps) or steps < LEAST_STEPS:
        raise ConfigError(f"steps={steps:g}: a whole number of at least {LEAST_STEPS} is wanted.")
    if not 0 <= smooth < 1:
        raise ConfigError(f"smooth={smooth:g}: a number from 0 (not smoothed) to below 1 is wanted.")
    return float(low), float(high), int(steps), float(smooth)


def sweep(steps: Iterable[Step], rate: Callable[[int], float], smooth: float) -> Sweep:
    """Takes the steps until the smoothed loss is over four times its least value, or the loss is not finite.

    Args:
        steps: of `engine.train.train_steps` under an `Exponential` schedule.
        rate: number of a step, from 0 -> its learning rate.
        smooth: share of the old mean in the running mean of the loss, which is corrected for its beginning.
    Raises:
        NonFiniteLossError: the loss of the very first step is not finite, which no learning rate can mend.
    """
    points: list[Point] = []
    mean, least = 0.0, math.inf
    try:
        for number, step in enumerate(steps):
            loss = float(step.loss)
            mean = smooth * mean + (1 - smooth) * loss
            smoothed = mean / (1 - smooth ** (number + 1))
            points.append(Point(rate(number), loss, smoothed))
            least = min(least, smoothed)
            if smoothed > TOO_HIGH * least:
                return Sweep(points, f"at {points[-1].rate:.3g} the loss was over {TOO_HIGH:g} times its least value")
    except NonFiniteLossError:
        if not points:
            raise
        return Sweep(points, f"at {rate(len(points)):.3g} the loss was not finite any more")
    return Sweep(points, f"all {len(points)} steps were taken")


def suggest(points: Sequence[Point]) -> Suggestion:
    """A learning rate from a sweep: where the smoothed loss falls fastest before its least value."""
    losses = np.array([point.smoothed for point in points])
    first = int(SKIPPED * len(points))
    lowest = first + int(losses[first:].argmin())
    if lowest - first < 2:
        return Suggestion(None, None, None, None, "the loss never fell: try a smaller low, or look at data and task.")
    slopes = np.gradient(losses, np.log10([point.rate for point in points]))
    steepest = points[first + int(slopes[first : lowest + 1].argmin())].rate
    least = points[lowest].rate
    if lowest == len(points) - 1:
        note = "the loss was still falling at the end: try a larger high."
    else:
        note = "the rate for a constant schedule or the peak of one; a few times more or less may serve better."
    return Suggestion(steepest, steepest, least, least / 10, note)


def table(sweep: Sweep) -> str:
    """About ten rows of the sweep, the last step among them."""
    last = len(sweep.points) - 1
    chosen = sorted({round(k * last / (ROWS - 1)) for k in range(ROWS)})
    rows = [f"{p.rate:12.3e} {p.loss:12.4f} {p.smoothed:12.4f}" for p in (sweep.points[i] for i in chosen)]
    return "\n".join([f"{'rate':>12} {'loss':>12} {'smoothed':>12}", *rows])


def sentences(found: Suggestion, images: int, base_batch: int | None) -> list[str]:
    """What to tell the person; `images` a step were used, and `optim.lr` is written for `base_batch`."""
    if found.rate is None or found.least is None or found.least_tenth is None:
        return [found.note]
    factor = 1.0 if base_batch is None else base_batch / images
    lines = [f"the loss is least at {found.least:.2e} (a tenth of that: {found.least_tenth:.2e})"]
    lines.append(f"suggestion: optim.lr={found.rate * factor:.2e}, where the loss falls fastest; {found.note}")
    if factor != 1:
        lines.append(f"(that is {found.rate:.2e} for the {images} images of these steps, as base_batch={base_batch})")
    return lines


def write_json(path: Path, sweep: Sweep, found: Suggestion, settings: dict[str, Any]) -> None:
    """Settings, suggestion and every step."""
    content = settings | {"ended": sweep.ended} | asdict(found) | {"points": [asdict(p) for p in sweep.points]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
