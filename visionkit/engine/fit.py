"""A whole run: phases of training steps, evaluations, checkpoints and records. Stopped anywhere, it goes on exactly."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from visionkit.engine import checkpoint
from visionkit.engine.interrupt import Interrupt
from visionkit.engine.phases import FitPhase, Phase
from visionkit.engine.progress import Progress
from visionkit.engine.run import Run
from visionkit.engine.settings import FitResult, FitSettings, Loader, Validate

__all__ = ["FitResult", "FitSettings", "Loader", "Validate", "fit"]


def fit(
    model: nn.Module,
    phases: Sequence[Phase | FitPhase],
    *,
    loader: Callable[[Phase], Loader],
    validate: Validate | None,
    monitor: str,
    folder: Path,
    meta: dict[str, Any],
    settings: FitSettings,
    resume: Path | None = None,
) -> FitResult:
    """Runs the phases, from the beginning or from a checkpoint.

    Writes `checkpoints/last.pt` (at the start, after each evaluation, every `checkpoint_steps`, when interrupted),
    `checkpoints/best.pt`, `metrics.jsonl`, `log.txt` and TensorBoard events in `folder`. A run that was killed at any
    moment and resumed from `last.pt` ends with the same weights, metrics.jsonl and best.pt, bit for bit.

    Args:
        model: `model(batch, targets)` gives named scalar losses; moved to the device. Not wrapped for several
            processes, which is done here, per phase.
        loader: the training data of a phase.
        validate: (model in evaluation mode, step) -> metrics; called on all processes, rank 0's answer counts.
        monitor: the metric that decides which checkpoint is the best (`cursor.score`).
        meta: carried in the checkpoint as it is (configuration, class names, preprocessing).
        resume: a checkpoint to go on from. None starts over, and replaces the checkpoints of `folder`.
    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        NonFiniteLossError: `last.pt` is the state before things went wrong.
        ConfigError: the checkpoint does not fit, or `monitor` is not among the metrics.
    """
    resumed = None if resume is None else checkpoint.load(resume)
    run = Run(model, list(phases), loader, validate, monitor, folder, meta, settings)
    run.begin(resume, resumed)
    total = sum(phase.steps for phase in phases if isinstance(phase, Phase))
    try:
        with (
            Interrupt() as run.interrupt,
            Progress(
                total, run.cursor.step, settings.log_steps, run.recorder.log, quiet=settings.quiet
            ) as run.progress,
        ):
            run.notices(resumed)
            while run.cursor.phase < len(run.phases):
                phase = run.phases[run.cursor.phase]
                if isinstance(phase, FitPhase):
                    run.fit_once(phase)
                else:
                    run.train(phase, resumed)
                resumed = None  # only the phase that was interrupted takes up an optimizer state
    finally:
        run.recorder.close()
    return FitResult(run.cursor.best or {}, run.cursor.last, run.cursor.step, run.seconds)
