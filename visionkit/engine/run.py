"""The state of a run and what is done to it, in order. `fit` drives it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visionkit.engine import checkpoint
from visionkit.engine.average import Average
from visionkit.engine.cursor import Cursor, score
from visionkit.engine.distributed import barrier, broadcast_object, is_main, share_buffers, world_size, wrap
from visionkit.engine.interrupt import Interrupt, Interrupted
from visionkit.engine.phases import FitPhase, Phase, set_trainable, training_mode
from visionkit.engine.precision import Precision, seed_everything
from visionkit.engine.progress import Progress
from visionkit.engine.record import Recorder
from visionkit.engine.resume import same_threads, take_up
from visionkit.engine.schedule import Schedule
from visionkit.engine.settings import FitSettings, Loader, Validate
from visionkit.engine.train import Step, train_steps
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.ops.hashing import mix


class Run:
    """The state of `fit`."""

    interrupt: Interrupt
    progress: Progress
    recorder: Recorder

    def __init__(
        self,
        model: nn.Module,
        phases: list[Phase | FitPhase],
        loader: Callable[[Phase], Loader],
        validate: Validate | None,
        monitor: str,
        folder: Path,
        meta: dict[str, Any],
        settings: FitSettings,
    ) -> None:
        self.phases, self.loader, self.validate, self.monitor = phases, loader, validate, monitor
        self.folder, self.meta, self.settings = folder, meta, settings
        self.device = torch.device(settings.device)
        self.model = model.to(self.device)
        if settings.channels_last:
            model.to(memory_format=torch.channels_last)
        self.trainable_at_start = {name: p.requires_grad for name, p in model.named_parameters()}
        self.cursor = Cursor()
        self.optimizer: torch.optim.Optimizer | None = None
        self.schedule: Schedule | None = None
        self.precision = Precision(settings.precision, self.device)
        self.latest: Step | None = None
        self.average = None if settings.ema is None else Average(self.model, settings.ema)
        self._before, self._begun = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """What the run has taken so far, in all processes that worked on it one after the other."""
        return self._before + time.monotonic() - self._begun

    # The order of the text is the order of execution.

    def begin(self, resume: Path | None, resumed: dict[str, Any] | None) -> None:
        """Takes up the checkpoint, or clears the folder for a fresh run, and opens the records."""
        keep_bytes = 0
        best, last = self._path("best"), self._path("last")
        if resume is not None and resumed is not None:
            self._before = float(resumed.get("seconds", 0.0))
            self.cursor = take_up(self.model, resume, resumed, [phase.name for phase in self.phases])
            if self.average is not None and resumed["average"] is not None:
                self.average.load_state_dict(resumed["average"])
            if resume.resolve().parent == last.parent.resolve():
                keep_bytes = resumed["metrics_bytes"]
            if not best.exists() and self.cursor.phase < len(self.phases):
                self.cursor.best = None  # resumed into another folder: the best there is yet to come
        barrier()  # nobody writes before all have read
        if is_main():
            last.parent.mkdir(parents=True, exist_ok=True)
            if resumed is None:
                stale = [self.folder / "eval" / name for name in ("metrics.json", "predictions.json")]
                for file in (best, last, *stale, *self.folder.glob("events.out.tfevents.*")):
                    file.unlink(missing_ok=True)  # of an earlier run in this folder
        settings = self.settings
        self.recorder = Recorder(
            self.folder, keep_bytes=keep_bytes, step=self.cursor.step, tensorboard=settings.tensorboard
        )
        if resumed is None:
            self.save("last")  # a full disk or a wrong folder shows now, not after an epoch
        elif self.cursor.phase == len(self.phases) and not best.exists():
            self.save("best")  # a finished run, taken to another folder

    def notices(self, resumed: dict[str, Any] | None) -> None:
        """What is not as it was when the checkpoint was written, in sentences."""
        if resumed is None:
            return
        for sentence in [f"resumed at step {self.cursor.step}.", *same_threads(resumed, self.settings.seed)]:
            self.progress.say(sentence)

    def fit_once(self, phase: FitPhase) -> None:
        self._stop_if_asked()
        seed_everything(mix(self.settings.seed, self.cursor.phase))
        if self.average is not None:
            self.average.take_over()  # what is fitted is fitted to the weights that count
        values = broadcast_object(phase.fit(self.model))
        if self.average is not None:
            self.average.restart()
        if values:
            self.recorder.scalars(self.cursor.step, "fit", {"phase": phase.name, **values})
        if self.validate is not None and phase.evaluate:
            self._evaluate(phase, None, save=False)
        self.cursor.advance()
        self.save("last")

    def train(self, phase: Phase, resumed: dict[str, Any] | None) -> None:
        settings, cursor = self.settings, self.cursor
        seed_everything(mix(settings.seed, cursor.phase))
        begun = resumed is not None and resumed["optimizer"] is not None  # the checkpoint was written inside the phase
        if phase.weights_from is not None and not begun:
            phase.weights_from(self.model)
            if self.average is not None:
                self.average.restart()
        set_trainable(self.model, phase, self.trainable_at_start)
        training_mode(self.model)
        optimizer = self.optimizer = phase.optimizer(phase.groups(self.model))
        schedule = self.schedule = phase.schedule()
        if resumed is not None and begun:
            optimizer.load_state_dict(resumed["optimizer"])
            schedule.load_state_dict(resumed["schedule"])
            self.precision.load_state_dict(resumed["precision"])
        data = self.loader(phase)
        first = cursor.step - cursor.phase_step
        batches = data.batches(cursor.phase_step)
        steps = train_steps(
            wrap(self.model),
            batches,
            optimizer,
            schedule,
            start=cursor.step,
            stop=first + phase.steps,
            first=first,
            seed=settings.seed,
            device=self.device,
            precision=self.precision,
            accumulate=settings.accumulate,
            clip_norm=settings.clip_norm,
            channels_last=settings.channels_last,
            losses=phase.losses,
        )
        try:
            self._walk(phase, steps, schedule, data.steps_per_epoch)
        finally:
            for generator in (steps, batches):
                getattr(generator, "close", bool)()  # ends the loader's workers
        cursor.advance()
        self.optimizer = self.schedule = None
        self.save("last")
        self.latest = None
        self.model.zero_grad(set_to_none=True)  # the next phase may train less

    def _walk(self, phase: Phase, steps: Iterator[Step], schedule: Schedule, epoch: int) -> None:
        """Takes the steps, and evaluates and saves between them."""
        settings, cursor = self.settings, self.cursor
        every = epoch if settings.evaluate_steps is None else settings.evaluate_steps
        measured = self.validate is not None and phase.evaluate
        while True:
            self._stop_if_asked()
            at_end = cursor.phase_step == phase.steps
            due = at_end or (every > 0 and cursor.phase_step > 0 and cursor.phase_step % every == 0)
            if measured and due and cursor.evaluated != cursor.step:
                self._evaluate(phase, schedule, save=not at_end)
                continue
            if at_end or self._stopped_early():
                return
            self._record(phase, next(steps), epoch)
            unseen = not measured and every > 0 and cursor.phase_step % every == 0  # no evaluation will save
            if unseen or (settings.checkpoint_steps and cursor.step % settings.checkpoint_steps == 0):
                self.save("last")

    def _stopped_early(self) -> bool:
        """Whether the last `patience` evaluations of the phase brought nothing: the rest of its steps is left out."""
        patience, waited = self.settings.patience, self.cursor.waited
        if patience is None or waited < patience:
            return False
        self.progress.say(f"stopped early at step {self.cursor.step}: {waited} evaluations without a gain.")
        return True

    def _record(self, phase: Phase, step: Step, epoch: int) -> None:
        cursor = self.cursor
        cursor.step, cursor.phase_step = step.step, cursor.phase_step + 1
        self.latest = step
        if self.average is not None:
            self.average.update()
        self.progress.step(step)
        if step.step % self.settings.log_steps == 0 or cursor.phase_step == phase.steps:
            values: dict[str, float | str | None] = {"phase": phase.name, "epoch": cursor.phase_step / epoch}
            for group, rate in step.lr.items():
                prefix = group.rpartition("/")[0]
                values[f"lr_{prefix}" if prefix else "lr"] = rate
            values |= {"grad_norm": float(step.grad_norm), "loss": float(step.loss)}
            values |= {f"loss_{name.removeprefix('loss_')}": float(value) for name, value in step.losses.items()}
            self.recorder.scalars(step.step, "train", values)
            self.recorder.event(step.step, "speed/images_per_second", self.progress.rate)

    def _evaluate(self, phase: Phase | FitPhase, schedule: Schedule | None, save: bool) -> None:
        """Evaluates, records, saves the best, then (unless the end of the phase does) the last: a kill between the two
        repeats the evaluation, and rewrites the same best."""
        assert self.validate is not None
        cursor = self.cursor
        self.progress.pause()
        share_buffers(self.model)
        self.model.eval()
        with self._averaged(), torch.no_grad():
            metrics = broadcast_object(dict(self.validate(self.model, cursor.step) or {}))
        training_mode(self.model)
        if self.monitor not in metrics:
            self.save("last")
            known = ", ".join(metrics) or "none at all"
            raise ConfigError(f"the monitored metric {self.monitor!r} is not among those of the evaluation: {known}.")
        self.recorder.scalars(cursor.step, "val", {"phase": phase.name, **metrics})
        if schedule is not None:
            schedule.observe(score(metrics, self.monitor))
        improved = cursor.evaluation(metrics, self.monitor)
        value, best = metrics[self.monitor], cursor.best or {}
        shown = "n/a" if value is None else f"{value:.4f}"
        note = "the best so far" if improved else f"best {best.get(self.monitor)} at step {best['step']}"
        self.progress.say(f"evaluation at step {cursor.step}: {self.monitor} {shown} ({note})")
        if improved:
            self.save("best")
        if save:
            self.save("last")
        self.progress.go_on()

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights, where there are any, in the model's place: they are what a run is about then."""
        if self.average is None:
            yield
            return
        with self.average.applied():
            share_buffers(self.model)
            yield

    def _stop_if_asked(self) -> None:
        signal_number = self.interrupt.agreed()
        if signal_number:
            self.save("last")
            raise Interrupted(
                signal_number, f"interrupted at step {self.cursor.step}; the state is saved in {self._path('last')}."
            )

    def save(self, name: str) -> None:
        """Rank 0 writes the whole state. What went wrong is never saved: the last gradient must be finite."""
        latest = self.latest  # fp16's scaler leaves out steps of infinite gradients
        if latest is not None and self.precision.scaler is None and not bool(latest.grad_norm.isfinite()):
            raise NonFiniteLossError(
                f"the gradient of step {latest.step} is not finite, its loss {latest.loss:.6g} is."
            )
        if not is_main():
            return
        state = {
            "cursor": self.cursor.state_dict(),
            "phase_names": [phase.name for phase in self.phases],
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "precision": self.precision.state_dict(),
            "metrics_bytes": self.recorder.sync(),
            "seconds": self.seconds,
            "threads": torch.get_num_threads(),
            "world_size": world_size(),
            "torch": str(torch.__version__),
            "seed": self.settings.seed,
            "meta": self.meta,
        }
        checkpoint.save(self._path(name), state)

    def _path(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.pt"
