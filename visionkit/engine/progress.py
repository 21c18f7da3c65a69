"""What the person sees while a run trains: a bar on a terminal, plain lines elsewhere. Rank 0 only."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from visionkit.engine.distributed import is_main
from visionkit.engine.train import Step


class Progress:
    """Context manager that shows steps, losses, images a second and the time left.

    Args:
        total: steps of the run.
        done: steps done before.
        every: print (or log, under a bar) one line every so many steps.
        log: also gets every line, for log.txt.
        quiet: show nothing, log only.
    """

    def __init__(self, total: int, done: int, every: int, log: Callable[[str], None], *, quiet: bool = False) -> None:
        self.total, self.every, self.log = total, every, log
        self.rate = 0.0  # images a second, smoothed
        self._seconds = 0.0  # a step, smoothed
        self._quiet = quiet or not is_main()
        self._bar: Any = None
        if not self._quiet and sys.stdout.isatty():
            from rich import progress as rich

            columns = (
                rich.BarColumn(20),
                rich.MofNCompleteColumn(),
                rich.TextColumn("{task.fields[text]}"),
                rich.TimeElapsedColumn(),
                rich.TextColumn("left {task.fields[left]}"),
            )
            self._bar = rich.Progress(*columns)
            self._task = self._bar.add_task("", total=total, completed=done, text="", left="?")

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        self._since = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def pause(self) -> None:
        """Time from here to `go_on` (evaluation, saving) is not training time."""
        self._paused = time.monotonic()

    def go_on(self) -> None:
        self._since += time.monotonic() - self._paused

    def step(self, step: Step) -> None:
        """Call it after every step."""
        now = time.monotonic()
        seconds, self._since = max(now - self._since, 1e-9), now
        keep = 0.95 if self._seconds else 0.0
        self._seconds = keep * self._seconds + (1.0 - keep) * seconds
        self.rate = step.images / self._seconds
        left = clock((self.total - step.step) * self._seconds)
        if self._bar is not None:
            text = f"loss {float(step.loss):.4f}  {self.rate:.1f} images/s"
            self._bar.update(self._task, completed=step.step, text=text, left=left)
        if step.step % self.every == 0 or step.step == self.total:
            parts = "  ".join(f"{name} {float(value):.4f}" for name, value in step.losses.items())
            line = f"step {step.step}/{self.total}  loss {float(step.loss):.4f}  {parts}"
            self.say(f"{line}  lr {max(step.lr.values()):.3g}  {self.rate:.1f} images/s  left {left}", bar=False)

    def say(self, sentence: str, *, bar: bool = True) -> None:
        """A sentence to the log and to the person; with `bar=False` not above a bar, which shows the same."""
        self.log(sentence)
        if self._quiet:
            return
        if self._bar is None:
            print(sentence, flush=True)
        elif bar:
            self._bar.console.print(sentence, highlight=False, markup=False)


def clock(seconds: float) -> str:
    """3725 -> "1:02:05"."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
