"""A training that is killed or asked to stop at any moment, and started again with the same command, ends the same."""

import json
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools.train_process import TrainProcess, differing, processes_under, result_of, train, wait_for_the_end_of
from visionkit.engine import checkpoint

STEPS = 30


@dataclass
class Whole:
    """The uninterrupted run."""

    data: str
    output: Path
    seconds: float

    def settings(self, output: Path, workers: int = 0) -> tuple[str, ...]:
        return (
            f"data.root={self.data}",
            f"output={output}",
            f"trainer.max_steps={STEPS}",
            f"trainer.workers={workers}",
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    run = Whole(str(folder / "data"), folder / "run", 0.0)
    begin = time.monotonic()
    train(folder, *run.settings(run.output))
    run.seconds = time.monotonic() - begin
    steps = [json.loads(line)["step"] for line in (run.output / "metrics.jsonl").open()]
    assert steps == sorted([*range(1, STEPS + 1), *range(6, STEPS + 1, 6)])  # an evaluation each epoch
    return run


class Unfinished:
    """Tells whether a checkpoint has been begun, and not completed, since this was made."""

    def __init__(self, output: Path) -> None:
        self._files = [output / "checkpoints" / f".{name}.pt.tmp" for name in ("last", "best")]
        self._before = self._times()  # earlier kills have left theirs

    def _times(self) -> list[int]:
        times = []
        for file in self._files:
            try:
                times.append(file.stat().st_mtime_ns)
            except FileNotFoundError:
                times.append(0)
        return times

    def now(self) -> bool:
        return any(time and time != before for time, before in zip(self._times(), self._before, strict=True))


def kill_once(whole: Whole, folder: Path, moment: str, draw: random.Random, workers: int) -> tuple[bool, str]:
    """Starts, or goes on with, the run in `folder`, and ends it with kill -9. Whether it was alive, and when it was.

    Moments: "step" some time after one or two more steps; "write" while a checkpoint is half on the disk; "any" from
    the interpreter's start on.
    """
    output = folder / "run"
    unfinished = Unfinished(output)
    with TrainProcess(folder, *whole.settings(output, workers)) as process:
        if moment == "step":
            more = draw.randint(1, 2)
            process.wait_until(lambda: process.steps_told() >= more)
            time.sleep(draw.uniform(0, 0.15))
        elif moment == "write":
            more = draw.randint(0, 4)  # else it would always be the first one
            process.wait_until(lambda: process.steps_told() >= more and unfinished.now(), pause=0.0005)
        else:
            time.sleep(draw.uniform(0, 0.3 * whole.seconds))
        readers = processes_under(process.popen.pid)
        process.popen.kill()
        killed = process.code() == -signal.SIGKILL
        wait_for_the_end_of(readers)
        return killed, f"{moment} (step {process.step()}{', half written' if unfinished.now() else ''})"


def interrupt_once(whole: Whole, folder: Path, number: signal.Signals, workers: int) -> None:
    """Ctrl-C reaches the whole process group, as from a terminal; SIGTERM the process alone."""
    with TrainProcess(folder, *whole.settings(folder / "run", workers)) as process:
        process.wait_until(lambda: process.steps_told() >= 2)
        if number == signal.SIGINT:
            os.killpg(process.popen.pid, number)
        else:
            process.popen.send_signal(number)
        assert process.code() == 128 + number, process.errors()
    step = checkpoint.load(folder / "run" / "checkpoints" / "last.pt")["cursor"]["step"]
    said = f"error: interrupted at step {step}; the state is saved in {folder / 'run' / 'checkpoints' / 'last.pt'}.\n"
    assert process.errors() == said and step == process.step()


def test_killed_and_interrupted(whole: Whole, tmp_path: Path) -> None:
    """With and without workers in turn: that may change in the middle of a run, and changes nothing."""
    draw = random.Random(1)
    killed, when = kill_once(whole, tmp_path, "write", draw, workers=2)
    assert killed and "half written" in when
    interrupt_once(whole, tmp_path, signal.SIGINT, workers=2)
    assert kill_once(whole, tmp_path, "step", draw, workers=0)[0]
    train(tmp_path, *whole.settings(tmp_path / "run"))
    assert differing(result_of(tmp_path / "run"), result_of(whole.output)) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_interrupted_by_each_signal(whole: Whole, tmp_path: Path, workers: int) -> None:
    interrupt_once(whole, tmp_path, signal.SIGTERM, workers)
    interrupt_once(whole, tmp_path, signal.SIGINT, workers)
    interrupt_once(whole, tmp_path, signal.SIGTERM, workers)
    train(tmp_path, *whole.settings(tmp_path / "run", workers))
    assert differing(result_of(tmp_path / "run"), result_of(whole.output)) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_ten_times(whole: Whole, tmp_path: Path, workers: int) -> None:
    draw = random.Random(workers)
    moments = ["step"] * 5 + ["write"] * 4 + ["any"]
    draw.shuffle(moments)
    kills = []
    while len(kills) < 10:
        moment = moments.pop() if moments else "any"  # a run that came to its end begins with its imports like others
        killed, when = kill_once(whole, tmp_path, moment, draw, workers)
        kills += [when] * killed
    print(f"workers {workers}, killed at", "; ".join(kills))
    assert any("half written" in when for when in kills)
    train(tmp_path, *whole.settings(tmp_path / "run", workers))
    assert differing(result_of(tmp_path / "run"), result_of(whole.output)) == []


@pytest.mark.slow
def test_workers_change_nothing(whole: Whole, tmp_path: Path) -> None:
    train(tmp_path, *whole.settings(tmp_path / "run", workers=2))
    assert differing(result_of(tmp_path / "run"), result_of(whole.output)) == []


def test_another_configuration_is_refused(whole: Whole, tmp_path: Path) -> None:
    before = (whole.output / "metrics.jsonl").read_bytes()
    settings = (*whole.settings(whole.output), "optim.lr=0.001", "trainer.batch_size=2")
    last = whole.output / "checkpoints" / "last.pt"
    refused = train(tmp_path, *settings, code=2)
    assert refused.errors() == (
        f"error: {last} was trained with another configuration (optim.lr: 0.002 -> 0.001; trainer.batch_size: 4 -> 2): "
        "restore it, choose another output, or start over with resume=none.\n"
    )
    assert (whole.output / "metrics.jsonl").read_bytes() == before


def test_a_damaged_checkpoint_is_refused_and_starting_over_is_possible(whole: Whole, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(whole.output, output)
    last = output / "checkpoints" / "last.pt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    refused = train(tmp_path, *whole.settings(output), code=2)
    assert refused.errors().startswith(f"error: checkpoint {last} is damaged: the checksum of ")
    assert refused.errors().count("\n") == 1 and last.read_bytes() == data

    train(tmp_path, *whole.settings(output), "trainer.max_steps=2", "resume=none")
    steps = [json.loads(line)["step"] for line in (output / "metrics.jsonl").open()]
    assert steps == [1, 2, 2]
    assert checkpoint.load(last)["cursor"]["step"] == 2
    assert checkpoint.load(output / "checkpoints" / "best.pt")["cursor"]["step"] == 2
