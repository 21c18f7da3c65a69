import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from engine_toy import run, stop_at

from visionkit.engine import interrupt
from visionkit.engine.interrupt import Interrupt, Interrupted
from visionkit.engine.progress import Progress, clock
from visionkit.engine.record import Recorder
from visionkit.engine.train import Step


def test_lines_of_the_metrics_file(tmp_path: Path) -> None:
    run(tmp_path, evaluate_steps=6, log_steps=5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["split"]) for line in lines] == [
        (5, "train"), (6, "val"), (10, "train"), (12, "train"), (12, "val"),
    ]  # fmt: skip
    assert list(lines[0]) == [
        "step", "split", "phase", "epoch", "lr_body", "lr", "grad_norm", "loss", "loss_square", "loss_size",
    ]  # fmt: skip
    assert lines[0]["epoch"] == 5 / 4 and lines[0]["loss"] == pytest.approx(
        lines[0]["loss_square"] + lines[0]["loss_size"]
    )
    assert lines[0]["lr_body"] == pytest.approx(0.5 * lines[0]["lr"])
    assert lines[1]["AP_small"] is None and -1 <= lines[1]["AP"] <= 1


def test_full_precision_and_undefined_numbers(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, tensorboard=False)
    value = float(torch.tensor(0.1))
    recorder.scalars(1, "train", {"loss": value, "odd": float("nan"), "far": float("inf"), "none": None})
    assert recorder.sync() == (tmp_path / "metrics.jsonl").stat().st_size
    recorder.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 1, "split": "train", "loss": value, "odd": None, "far": None, "none": None}


def test_later_lines_are_cut_off(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, tensorboard=False)
    recorder.scalars(1, "train", {"loss": 1.0})
    length = recorder.sync()
    recorder.scalars(2, "train", {"loss": 2.0})
    recorder.close()
    again = Recorder(tmp_path, keep_bytes=length, tensorboard=False)
    again.scalars(2, "train", {"loss": 3.0})
    again.close()
    assert [json.loads(x)["loss"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1.0, 3.0]
    Recorder(tmp_path, keep_bytes=10**6, tensorboard=False).close()  # shorter than the checkpoint says: left as it is
    assert (tmp_path / "metrics.jsonl").stat().st_size == 2 * length
    Recorder(tmp_path, tensorboard=False).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_tensorboard_events(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(Interrupted):
        run(tmp_path, on_batch=stop_at(7), tensorboard=True, evaluate_steps=3)
    run(tmp_path, resume="auto", tensorboard=True, evaluate_steps=3)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 13))
    assert [event.step for event in events.Scalars("val/AP")] == [3, 6, 9, 12]
    assert {"train/lr", "train/loss_square", "speed/images_per_second"} <= set(events.Tags()["scalars"])


def step(number: int) -> Step:
    loss = torch.tensor(0.25)
    return Step(number, loss, {"box": loss}, {"weights": 0.1}, 8, lambda: torch.tensor(1.0))


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logged: list[str] = []
    with Progress(5, 0, 2, logged.append) as progress:
        for number in range(1, 6):
            progress.step(step(number))
        progress.say("a sentence")
    shown = capsys.readouterr().out.splitlines()
    assert shown == logged and len(shown) == 4  # after 2, 4 and the last one
    pattern = r"step 4/5  loss 0\.2500  box 0\.2500  lr 0\.1  \d+\.\d images/s  left 0:00:00"
    assert re.fullmatch(pattern, shown[1]) and shown[3] == "a sentence"


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    logged: list[str] = []
    with Progress(5, 0, 2, logged.append) as progress:
        for number in range(1, 6):
            progress.step(step(number))
        progress.say("a [sentence]")
    shown = capsys.readouterr().out
    assert "5/5" in shown and "loss 0.2500" in shown and "images/s" in shown and "left" in shown
    assert "a [sentence]" in shown and "step 4/5" not in shown and any("step 4/5" in line for line in logged)


def test_time_spent_on_evaluations_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Progress(100, 0, 1000, lambda line: None, quiet=True) as progress:
        for number in range(1, 4):
            now[0] += 2.0
            progress.step(step(number))
            progress.pause()
            now[0] += 500.0
            progress.go_on()
    assert progress.rate == pytest.approx(4.0)


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 3725)] == ["0:00:00", "0:01:00", "1:02:05"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_says_where_and_carries_the_exit_code(tmp_path: Path, number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"interrupted at step 5; .*last\.pt") as caught:
        run(tmp_path, on_batch=stop_at(4, number))
    assert caught.value.exit_code == code and signal.getsignal(number) is before


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C as a terminal's process has it: one that was started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_a_second_signal_acts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(interrupt.time, "monotonic", lambda: now[0])
    with Interrupt() as noted, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the same key press, seen twice
        assert noted.agreed() == signal.SIGINT
        now[0] += 2.0
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one was noted only")
