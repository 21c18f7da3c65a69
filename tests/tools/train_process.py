"""tools/train.py as a process of its own, on generated pictures, with a network that is done in seconds."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from visionkit.engine import checkpoint

CLONE = Path(__file__).resolve().parents[2]
TINY = (
    *("experiment=quickstart", "data=scenes_tiny", "task.short=64", "task.long=96"),
    *("trainer.precision=fp32", "trainer.batch_size=4", "trainer.threads=1", "trainer.device=cpu"),
    *("trainer.workers=0", "trainer.log_steps=1", "trainer.checkpoint_steps=3", "trainer.evaluate_epochs=1"),
)  # 24 training images: an epoch has 6 steps, and ends with an evaluation
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
LONGEST = 300.0  # seconds until a process that should have ended, or got somewhere, counts as hanging


class TrainProcess:
    """A started `tools/train.py`; of two equal settings the later one counts.

    Args:
        folder: for what it prints.
        settings: `key=value`, added to `TINY`.
        processes: above 1, that many under torchrun.
    """

    def __init__(self, folder: Path, *settings: str, processes: int = 1) -> None:
        launcher = () if processes == 1 else (*TORCHRUN, str(processes))
        chosen = {setting.partition("=")[0]: setting for setting in (*TINY, *settings)}
        variables = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "VISIONKIT_TRACEBACK")
        environment = {name: value for name, value in os.environ.items() if name not in variables}
        folder.mkdir(parents=True, exist_ok=True)
        self._printed = folder / "printed.txt"
        self._errors = folder / "errors.txt"
        with open(self._printed, "wb") as printed, open(self._errors, "wb") as errors:
            self.popen = subprocess.Popen(
                [sys.executable, *launcher, str(CLONE / "tools" / "train.py"), *chosen.values()],
                stdout=printed,
                stderr=errors,
                env=environment | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
                start_new_session=True,  # a group of its own, to signal as a terminal does
            )

    def __enter__(self) -> "TrainProcess":
        return self

    def __exit__(self, *error: Any) -> None:
        if self.alive():
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()

    def alive(self) -> bool:
        return self.popen.poll() is None

    def printed(self) -> str:
        return self._printed.read_text()

    def errors(self) -> str:
        return self._errors.read_text()

    def step(self) -> int:
        """The last step that it told of; 0 before any."""
        steps = re.findall(r"^step (\d+)/", self.printed(), re.MULTILINE)
        return int(steps[-1]) if steps else 0

    def steps_told(self) -> int:
        return len(re.findall(r"^step \d+/", self.printed(), re.MULTILINE))

    def wait_until(self, reached: Callable[[], bool], pause: float = 0.01) -> None:
        """Returns when `reached()` or when the process has ended."""
        end = time.monotonic() + LONGEST
        while self.alive() and not reached():
            assert time.monotonic() < end, f"nothing happened: {self.printed()}{self.errors()}"
            time.sleep(pause)

    def code(self) -> int:
        """Waits for its end; the exit code, negative for a signal."""
        return self.popen.wait(LONGEST)


def processes_under(pid: int) -> list[int]:
    """Ids of the living processes that this one has started, in the order of their start; none when it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def wait_for_the_end_of(pids: list[int], seconds: float = 30) -> None:
    """Loading processes of a killed run end by themselves."""
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end, "the loader's workers outlive the killed run"
        time.sleep(0.05)


def train(folder: Path, *settings: str, processes: int = 1, code: int = 0) -> TrainProcess:
    """Runs it to the end, which must be this exit code."""
    with TrainProcess(folder, *settings, processes=processes) as process:
        assert process.code() == code, process.errors()
    return process


def result_of(output: Path) -> dict[str, Any]:
    """All that must not depend on how often a run was stopped."""
    kept = {name: checkpoint.load(output / "checkpoints" / f"{name}.pt") for name in ("last", "best")}
    return {
        "metrics": (output / "metrics.jsonl").read_bytes(),
        "evaluation": (output / "eval" / "metrics.json").read_bytes(),
        "detections": (output / "eval" / "predictions.json").read_bytes(),
        **{f"{name} {part}": state[part] for name, state in kept.items() for part in ("model", "optimizer", "cursor")},
    }


def differing(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two results are not equal bit for bit."""
    import torch

    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [found for key in a for found in differing(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [found for i, (x, y) in enumerate(zip(a, b, strict=True)) for found in differing(x, y, f"{where}/{i}")]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b
    return [] if same else [where]
