"""One progress line for slow work on data: how much, how fast, how long still."""

import sys
import time
from types import TracebackType
from typing import TextIO


class Progress:
    """Counts `unit`s towards `total`; on a terminal one line that renews itself, elsewhere a line every 10 seconds.

    Use as a context manager and call `advance(amount)`; leaving it prints the total and the rate. `total` 0 means
    unknown: no percentage and no ETA. Writes to standard error, so that standard output stays a program's result.
    """

    def __init__(self, label: str, total: int, unit: str, scale: float = 1.0, stream: TextIO | None = None) -> None:
        self.label, self.total, self.unit, self.scale = label, total, unit, scale
        self.stream = sys.stderr if stream is None else stream
        self.done = self.first = 0  # `first` was there before the clock started (a resumed download)
        self.started = self.printed = time.monotonic()
        self.live = self.stream.isatty()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._print(end="\n")
        elif self.live:
            print(file=self.stream)

    def start_at(self, amount: int) -> None:
        """`amount` is already there and does not count towards the rate."""
        self.done = self.first = amount

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.printed >= (0.2 if self.live else 10.0):
            self.printed = now
            self._print(end="\r" if self.live else "\n")

    def rate(self) -> float:
        """Units a second since the start."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-6)

    def _print(self, end: str) -> None:
        digits = 0 if self.scale == 1 else 1
        text = f"{self.label}: {self.done / self.scale:.{digits}f}"
        if self.total:
            text += f" of {self.total / self.scale:.{digits}f} {self.unit} ({100 * self.done / self.total:.0f} %)"
        else:
            text += f" {self.unit}"
        text += f", {self.rate() / self.scale:.1f} {self.unit}/s"
        if self.total > self.done and self.rate() > 0:
            text += f", {_clock((self.total - self.done) / self.rate())} left"
        print(f"{text:<78}" if self.live else text, end=end, file=self.stream, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:d}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:d}:{seconds:02d}"
