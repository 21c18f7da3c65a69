"""Where a run stands: the part of its state that is not weights."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from visionkit.ops.direction import lower_is_better

Metrics = dict[str, float | None]


@dataclass
class Cursor:
    """Position in the list of phases, and the evaluations seen."""

    phase: int = 0  # index of the phase at work; the number of phases = finished
    phase_step: int = 0  # optimizer steps done in it
    step: int = 0  # optimizer steps done in the run
    evaluated: int = -1  # the step of the last evaluation
    waited: int = 0  # evaluations of this phase since the best one
    best: dict[str, Any] | None = None  # {"step": ..., metric: value ...} of the best evaluation
    last: dict[str, Any] = field(default_factory=dict)  # the same of the last one

    def advance(self) -> None:
        """On to the next phase."""
        self.phase, self.phase_step, self.waited = self.phase + 1, 0, 0

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def evaluation(self, metrics: Mapping[str, float | None], monitor: str) -> bool:
        """Takes in an evaluation at the present step; True when it is the best so far (the first of equals stays)."""
        self.evaluated, self.last = self.step, {"step": self.step, **metrics}
        old = None if self.best is None else score(self.best, monitor)
        new = score(metrics, monitor)
        improved = self.best is None or (new is not None and (old is None or new > old))
        self.waited = 0 if improved else self.waited + 1
        if improved:
            self.best = dict(self.last)
        return improved


def score(metrics: Mapping[str, Any], monitor: str) -> float | None:
    """The monitored value, signed so that higher is better; None when it is undefined.

    Which way that is, `ops.direction` says.
    """
    value = metrics.get(monitor)
    if value is None or not math.isfinite(value):
        return None
    return -float(value) if lower_is_better(monitor) else float(value)
