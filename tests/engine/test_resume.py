"""A run that was stopped, by a request or by a kill, ends as the uninterrupted one does, bit for bit."""

import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toy import Toy, ToyLoader, exit_code, fork, phase, result_of, run, same, stop_at

from visionkit.engine import checkpoint, record
from visionkit.engine.interrupt import Interrupted
from visionkit.engine.phases import FitPhase
from visionkit.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync guards against power cuts, which no test makes, and is what most of a toy run's time would go into."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize(
    ("optimizer", "plan", "settings"),
    [
        ("sgd", "multistep", {"evaluate_steps": 3}),
        ("adamw", "cosine", {"accumulate": 2, "clip_norm": 0.1}),
        ("sgd", "plateau", {"evaluate_steps": 2, "checkpoint_steps": 5, "channels_last": True}),
        ("adamw", "constant", {"evaluate_steps": 0, "precision": "bf16", "log_steps": 4}),
    ],
)
def test_interrupted_at_every_step(tmp_path: Path, optimizer: str, plan: str, settings: dict[str, Any]) -> None:
    phases = [phase(optimizer=optimizer, plan=plan)]
    whole = run(tmp_path / "whole", phases, **settings)
    expected = result_of(tmp_path / "whole")
    for step in range(12):
        folder = tmp_path / str(step)
        with pytest.raises(Interrupted):
            run(folder, phases, on_batch=stop_at(step), **settings)
        assert checkpoint.load(folder / "checkpoints" / "last.pt")["cursor"]["step"] == step + 1
        assert run(folder, phases, resume="auto", **settings) == whole
        assert same(result_of(folder), expected), step


def test_phases_and_fit_functions_go_on_too(tmp_path: Path) -> None:
    def restart_head(model: Toy) -> None:  # type: ignore[override]
        torch.nn.init.constant_(model.head.weight, 0.1)

    def closed_form(model: Toy) -> dict[str, float]:  # type: ignore[override]
        with torch.no_grad():
            model.head.bias.mul_(0.5)
        return {"halved": 1.0}

    phases = [
        phase("head", 5, trainable=["head"]),
        FitPhase("fit", closed_form),
        phase("all", 6, "adamw", "multistep", weights_from=restart_head, losses=["square"]),
    ]
    whole = run(tmp_path / "whole", phases)
    assert whole.step == 11
    for step in range(6):  # batches are counted from each phase's beginning: both phases meet the signal
        folder = tmp_path / str(step)
        stops = 0
        for _ in range(3):
            try:
                result = run(folder, phases, resume="auto", on_batch=stop_at(step))
                break
            except Interrupted:
                stops += 1
        assert stops == (2 if step < 5 else 1)
        assert result == whole
        assert same(result_of(folder), result_of(tmp_path / "whole"))


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    whole = run(tmp_path)
    before = result_of(tmp_path)
    assert run(tmp_path, resume="auto", on_batch=lambda step: pytest.fail("no batch is needed")) == whole
    assert same(result_of(tmp_path), before)


def _kill_self_at(place: str, count: int) -> None:
    """From now on the count-th call at this place ends the process as `kill -9` does."""
    calls = 0

    def deadly(original: Any, after: bool) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **kwargs)
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    match place:
        case "before rename":
            os.replace = deadly(os.replace, after=False)
        case "after rename":
            os.replace = deadly(os.replace, after=True)
        case "half written":
            original = torch.save

            def half(data: Any, file: Any) -> None:
                original(data, file)
                if calls == count:
                    file.flush()
                    file.truncate(file.tell() // 2)

            torch.save = deadly(half, after=True)
        case "after metrics":
            record.Recorder.scalars = deadly(record.Recorder.scalars, after=True)  # type: ignore[method-assign]


PLACES = ["before rename", "after rename", "half written", "after metrics"]


@pytest.mark.parametrize("place", PLACES)
def test_killed_at_every_critical_moment(tmp_path: Path, place: str) -> None:
    settings: dict[str, Any] = {"evaluate_steps": 3, "checkpoint_steps": 4, "resume": "auto"}
    run(tmp_path / "whole", **settings)
    expected = result_of(tmp_path / "whole")
    for count in range(1, 8):

        def killed(count: int = count) -> None:
            _kill_self_at(place, count)
            run(tmp_path / str(count), **settings)

        assert exit_code(fork(killed)) == -signal.SIGKILL, "the moment was not reached"
        run(tmp_path / str(count), **settings)
        assert same(result_of(tmp_path / str(count)), expected), count


def test_killed_at_random_moments_again_and_again(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"evaluate_steps": 4, "checkpoint_steps": 3, "resume": "auto"}
    phases = [phase(steps=60, optimizer="adamw")]

    def work(folder: Path) -> None:
        run(
            folder, phases, model=lambda: Toy(ballast=300_000), **settings
        )  # more than half of the time goes into saving

    begin = time.monotonic()
    work(tmp_path / "whole")
    duration = time.monotonic() - begin
    draw, kills, folder = random.Random(0), 0, tmp_path / "killed"
    while kills < 10:
        child = fork(partial(work, folder))
        time.sleep(draw.uniform(0, 0.4 * duration))
        os.kill(child, signal.SIGKILL)
        if exit_code(child) == -signal.SIGKILL:
            kills += 1
        else:  # it had ended: begin another
            folder = folder.with_name(folder.name + "x")
    work(folder)
    assert same(result_of(folder), result_of(tmp_path / "whole"))


def test_best_follows_the_monitor(tmp_path: Path) -> None:
    values = iter([0.3, 0.5, None, 0.5, 0.4, float("nan")])
    seen: list[torch.Tensor] = []

    def evaluate(model: Toy, step: int) -> dict[str, float | None]:
        seen.append(model.head.weight.clone())
        return {"AP": next(values)}

    result = run(tmp_path, evaluate=evaluate, evaluate_steps=2)
    best = checkpoint.load(tmp_path / "checkpoints" / "best.pt")
    assert result.best == {"step": 4, "AP": 0.5} == best["cursor"]["best"]
    assert torch.equal(best["model"]["head.weight"], seen[1])
    assert result.last["step"] == 12 == checkpoint.load(tmp_path / "checkpoints" / "last.pt")["cursor"]["step"]
    assert b'"AP": null' in (tmp_path / "metrics.jsonl").read_bytes()


def test_losses_are_better_when_lower(tmp_path: Path) -> None:
    values = iter([0.5, 0.3, 0.4])
    result = run(tmp_path, evaluate=lambda m, s: {"val_loss": next(values)}, monitor="val_loss", evaluate_steps=4)
    assert result.best == {"step": 8, "val_loss": 0.3}


def test_a_monitor_that_nobody_measures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'mAP' is not among those of the evaluation: AP, AP_small"):
        run(tmp_path, monitor="mAP", evaluate_steps=3)
    run(tmp_path, evaluate_steps=3, resume="auto")  # nothing was lost, and the evaluation is made up for
    run(tmp_path / "whole", evaluate_steps=3)
    assert same(result_of(tmp_path), result_of(tmp_path / "whole"))


def test_another_thread_count_is_told_and_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, on_batch=stop_at(3))
    torch.set_num_threads(2)
    run(tmp_path, resume="auto", quiet=False)
    assert torch.get_num_threads() == 1
    said = capsys.readouterr().out
    assert "written with 1 CPU threads, this process has 2: set to 1" in said
    assert "set to 1" in (tmp_path / "log.txt").read_text()


def test_resumed_in_another_folder(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "a", on_batch=stop_at(6), evaluate_steps=3)
    run(tmp_path / "b", resume=tmp_path / "a" / "checkpoints" / "last.pt", evaluate_steps=3)
    run(tmp_path / "whole", evaluate_steps=3)
    moved, whole = result_of(tmp_path / "b"), result_of(tmp_path / "whole")
    assert same(moved["last"]["model"], whole["last"]["model"])
    assert whole["metrics"].endswith(moved["metrics"]) and moved["metrics"].count(b'"train"') > 4


def test_without_evaluations_each_epoch_is_saved(tmp_path: Path) -> None:
    def killed() -> None:
        _kill_self_at("before rename", 3)  # after: the beginning, the first epoch
        run(tmp_path, evaluate=None)

    assert exit_code(fork(killed)) == -signal.SIGKILL
    assert checkpoint.load(tmp_path / "checkpoints" / "last.pt")["cursor"]["step"] == 4
    assert run(tmp_path, evaluate=None, resume="auto").best == {}
    run(tmp_path / "whole", evaluate=None)
    last = [checkpoint.load(f / "checkpoints" / "last.pt") for f in (tmp_path, tmp_path / "whole")]
    assert all(state.pop("seconds") >= 0 for state in last) and same(*last)


def test_the_loader_is_closed_whatever_happens(tmp_path: Path) -> None:
    closed: list[int] = []

    class Closing(ToyLoader):
        def batches(self, start_step: int) -> Any:
            try:
                yield from super().batches(start_step)
            finally:
                closed.append(start_step)

    with pytest.raises(Interrupted):
        run(tmp_path, loader=Closing(on_batch=stop_at(5)))
    assert closed == [0]
    run(tmp_path, loader=Closing(), resume="auto")
    assert closed == [0, 6]


def test_starting_over_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    run(tmp_path, [phase(lr=0.01)])
    run(tmp_path, resume=None)
    run(tmp_path / "whole")
    assert same(result_of(tmp_path), result_of(tmp_path / "whole"))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    last = tmp_path / "checkpoints" / "last.pt"
    with pytest.raises(ConfigError, match=r"last.pt has the phases \['train'\], this run has \['other'\]"):
        run(tmp_path / "b", [phase("other")], resume=last)
    with pytest.raises(ConfigError, match="last.pt does not fit the model: .*ballast"):
        run(tmp_path / "b", model=lambda: Toy(ballast=3), resume=last)
    assert not (tmp_path / "b").exists()
