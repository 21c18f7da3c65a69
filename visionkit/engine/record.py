"""What a run writes down as it goes: metrics.jsonl, TensorBoard events, log.txt. Rank 0 only."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionkit.engine.distributed import is_main


class Recorder:
    """Appends to the files of one run folder.

    metrics.jsonl holds one JSON object a line: {"step": 20, "split": "train", "phase": "train", "epoch": 0.5, "lr":
    0.02, "grad_norm": 1.5, "loss": 2.1, "loss_box": 0.4, ...}, and with "split": "val" the metrics of an evaluation.
    Numbers have full precision; undefined ones are null. It holds nothing that depends on the clock, so that the file
    of a resumed run equals the uninterrupted run's byte for byte.

    Args:
        folder: the run folder; made when missing.
        keep_bytes: length of metrics.jsonl when the checkpoint was written; what was added later is cut off.
        step: steps done; TensorBoard hides events of later steps.
        tensorboard: whether to write events.
    """

    def __init__(self, folder: Path, *, keep_bytes: int = 0, step: int = 0, tensorboard: bool = True) -> None:
        self.main = is_main()
        if not self.main:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = open(folder / "metrics.jsonl", "ab")  # noqa: SIM115 (open for as long as the run)
        self._metrics.truncate(min(keep_bytes, self._metrics.tell()))
        self._log = open(folder / "log.txt", "a", encoding="utf-8")  # noqa: SIM115
        self._writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # about a second, so not at the top

            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def scalars(self, step: int, split: str, values: Mapping[str, float | str | None]) -> None:
        """One line of metrics.jsonl, and a TensorBoard scalar `split/name` for each number in it."""
        if not self.main:
            return
        line = {"step": step, "split": split, **{name: _json_number(value) for name, value in values.items()}}
        self._metrics.write((json.dumps(line, allow_nan=False) + "\n").encode())
        self._metrics.flush()  # survives a kill of the process; `sync` survives a power cut
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float):
                self.event(step, f"{split}/{name}", value)

    def event(self, step: int, name: str, value: float) -> None:
        """A TensorBoard scalar alone, for what depends on the clock."""
        if self.main and self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def log(self, sentence: str) -> None:
        """A line of log.txt."""
        if self.main:
            self._log.write(sentence + "\n")
            self._log.flush()

    def sync(self) -> int:
        """Everything so far to the disk; the length of metrics.jsonl in bytes, which belongs into the checkpoint."""
        if not self.main:
            return 0
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        if self._writer is not None:
            self._writer.flush()
        return os.fstat(self._metrics.fileno()).st_size

    def close(self) -> None:
        if self.main:
            self._metrics.close()
            self._log.close()
            if self._writer is not None:
                self._writer.close()


def _json_number(value: float | str | None) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
