"""Ctrl-C and SIGTERM as a request: the step is finished, the state saved, and the run leaves with 130 or 143."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

from visionkit.engine.distributed import highest, world_size
from visionkit.errors import VisionKitError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(VisionKitError):
    """The run was asked to stop and did, its state saved. `exit_code` is 128 + the signal's number."""

    def __init__(self, signal_number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_code = 128 + signal_number


class Interrupt:
    """Context manager: while inside, the first SIGINT or SIGTERM is only noted; a second one (1 s later) acts at once.

    Under torchrun repeated signals are only noted: a terminal's Ctrl-C reaches each process twice there. Outside the
    main thread, where Python allows no handlers, nothing is noted.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._noted_at = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def agreed(self) -> int:
        """The number of the signal that any process has received, 0 = none. The same on all; all must ask."""
        return highest(self.signal_number)

    def __enter__(self) -> "Interrupt":
        try:
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        except ValueError:  # not in the main thread
            self._previous = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal_number and world_size() == 1 and now - self._noted_at > 1.0:
            self._restore()
            signal.raise_signal(number)
            return
        if not self.signal_number:
            self.signal_number, self._noted_at = number, now

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
