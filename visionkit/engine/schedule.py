"""Learning-rate schedules: the factor on every group's base rate, as a function of the step.

A schedule is called with (step, total): `step` optimizer steps are done, `total` will be done in this phase. All but
`Plateau` are pure functions of these two, so a resumed run needs nothing but the step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visionkit.errors import ConfigError


class Schedule:
    """The protocol. Most schedules have no state and override `__call__` alone."""

    def __call__(self, step: int, total: int) -> float:
        """Factor on the base learning rate for the step that follows `step` done ones of `total`."""
        raise NotImplementedError

    def observe(self, score: float | None) -> None:
        """Told the monitored value after each evaluation, oriented so that higher is better; None = not available."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclass(frozen=True)
class Constant(Schedule):
    """The base rate throughout."""

    def __call__(self, step: int, total: int) -> float:
        return 1.0


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Multiplied by `gamma` at each milestone: a fraction of the phase when below 1, a number of steps otherwise."""

    milestones: Sequence[float]
    gamma: float = 0.1

    def __call__(self, step: int, total: int) -> float:
        passed = sum(step >= resolve_steps(milestone, total) for milestone in self.milestones)
        return float(self.gamma**passed)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiplied by `gamma` again and again: after `every` steps, or after that fraction of the phase when below 1."""

    every: float
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not (0 < self.every < math.inf and 0 < self.gamma < math.inf):
            raise ConfigError(f"schedule: every={self.every} and gamma={self.gamma} have to be numbers above 0.")

    def __call__(self, step: int, total: int) -> float:
        return float(self.gamma ** (step // max(1, resolve_steps(self.every, total))))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 down to `final` (SGDR, Loshchilov and Hutter 2017, eq. 5, without restarts)."""

    final: float = 0.0

    def __call__(self, step: int, total: int) -> float:
        done = min(step / max(total, 1), 1.0)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Poly(Schedule):
    """(1 - step / total) to a power (ParseNet, Liu et al. 2015, sec. 3; 0.9 in most work on segmentation)."""

    power: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.power < math.inf:
            raise ConfigError(f"schedule.power={self.power} has to be a number above 0.")

    def __call__(self, step: int, total: int) -> float:
        return float(max(0.0, 1.0 - step / max(total, 1)) ** self.power)


@dataclass
class Plateau(Schedule):
    """Multiplied by `factor` after more than `patience` evaluations in a row without a gain of `threshold`."""

    factor: float = 0.1
    patience: int = 2
    threshold: float = 1e-4
    current: float = 1.0
    best: float | None = None
    waited: int = 0

    def __call__(self, step: int, total: int) -> float:
        return self.current

    def observe(self, score: float | None) -> None:
        if score is None:
            return
        if self.best is None or score > self.best + self.threshold:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.current, self.waited = self.current * self.factor, 0

    def state_dict(self) -> dict[str, Any]:
        return {"current": self.current, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.current, self.best, self.waited = state["current"], state["best"], state["waited"]


@dataclass(frozen=True)
class Warmup(Schedule):
    """A linear ramp from `start` to 1 over the first steps, times another schedule (Goyal et al. 2017, sec. 2.2).

    `steps` is a fraction of the phase when below 1, a number of steps otherwise; 0 = none.
    """

    after: Schedule
    steps: float
    start: float = 0.001

    def __call__(self, step: int, total: int) -> float:
        ramp = resolve_steps(self.steps, total)
        factor = 1.0 if step >= ramp else self.start + (1.0 - self.start) * step / ramp
        return factor * self.after(step, total)

    def observe(self, score: float | None) -> None:
        self.after.observe(score)

    def state_dict(self) -> dict[str, Any]:
        return self.after.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.after.load_state_dict(state)


def resolve_steps(value: float, total: int) -> int:
    """0.8 of 1000 -> 800; 50 -> 50. Values below 1 are fractions of `total`, from 1 on they are steps."""
    if value < 0 or not math.isfinite(value):
        raise ConfigError(f"schedule: {value} is neither a fraction of the run (below 1) nor a number of steps.")
    return round(value * total) if value < 1 else round(value)


# What configs/schedule/*.yaml name: flat keys, the same two for the warm-up everywhere.


def constant(*, warmup: float = 0, warmup_start: float = 0.001) -> Schedule:
    return Warmup(Constant(), warmup, warmup_start)


def multistep(
    *, milestones: Sequence[float], gamma: float = 0.1, warmup: float = 0, warmup_start: float = 0.001
) -> Schedule:
    return Warmup(MultiStep(tuple(milestones), gamma), warmup, warmup_start)


def step_decay(*, every: float, gamma: float = 0.1, warmup: float = 0, warmup_start: float = 0.001) -> Schedule:
    return Warmup(StepDecay(every, gamma), warmup, warmup_start)


def cosine(*, final: float = 0.0, warmup: float = 0, warmup_start: float = 0.001) -> Schedule:
    return Warmup(Cosine(final), warmup, warmup_start)


def poly(*, power: float = 0.9, warmup: float = 0, warmup_start: float = 0.001) -> Schedule:
    return Warmup(Poly(power), warmup, warmup_start)


def plateau(
    *,
    factor: float = 0.1,
    patience: int = 2,
    threshold: float = 1e-4,
    warmup: float = 0,
    warmup_start: float = 0.001,
) -> Schedule:
    return Warmup(Plateau(factor, patience, threshold), warmup, warmup_start)
