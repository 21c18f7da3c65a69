"""Two processes as torchrun starts them (gloo, forked here: torch is imported already)."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toy import Toy, ToyLoader, in_two_processes, phase, result_of, run, same, stop_at, toy_batch

from visionkit.engine import checkpoint, distributed
from visionkit.engine.interrupt import Interrupted
from visionkit.errors import ConfigError, NonFiniteLossError


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def plain_toy() -> Toy:
    return Toy(dropout=0.0, norm=False)


class Halves(ToyLoader):
    """Of the batch [2, 5 | 0, 3] the second process gets the images without objects."""

    def batches(self, start_step: int) -> Any:
        for k in range(start_step * self.accumulate, 10**6):
            ids = [2 + k % 3, 5, 0, 3] if k % 2 else [1, 4, 7, 8]
            size = len(ids) // self.world
            yield toy_batch(ids[self.rank * size : (self.rank + 1) * size])


def one_rank(rank: int, folder: Path, loader: type[ToyLoader], **options: Any) -> None:
    distributed.start("cpu")
    data = loader(2, rank, 2, accumulate=options["accumulate"])
    run(folder, [phase(steps=6)], model=plain_toy, loader=data, **options)
    distributed.cleanup()


@pytest.mark.parametrize("loader", [ToyLoader, Halves])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_equal_one_with_the_doubled_batch(
    tmp_path: Path, loader: type[ToyLoader], accumulate: int
) -> None:
    options = {"accumulate": accumulate, "evaluate_steps": 3, "clip_norm": 0.5}
    run(tmp_path / "one", [phase(steps=6)], model=plain_toy, loader=loader(4, accumulate=accumulate), **options)
    codes = in_two_processes(lambda rank: one_rank(rank, tmp_path / "two", loader, **options))
    assert codes == [0, 0]
    alone, together = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert len(alone) == len(together) == 8
    for a, b in zip(alone, together, strict=True):
        assert a.keys() == b.keys() and a["step"] == b["step"]
        for key in ("loss", "loss_square", "loss_size", "grad_norm", "lr"):
            assert a.get(key) == pytest.approx(b.get(key), abs=1e-5)
    for name in ("last", "best"):
        a, b = (checkpoint.load(tmp_path / f / "checkpoints" / f"{name}.pt")["model"] for f in ("one", "two"))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_signal_to_one_process_stops_both_and_the_run_goes_on_exactly(tmp_path: Path) -> None:
    def work(rank: int, folder: Path, on_batch: Any = None) -> None:
        distributed.start("cpu")
        loader = ToyLoader(3, rank, 2, on_batch if rank == 1 else None)
        try:
            run(folder, loader=loader, resume="auto", evaluate_steps=5)
        except Interrupted as stopped:
            os._exit(stopped.exit_code)
        distributed.cleanup()

    assert in_two_processes(lambda rank: work(rank, tmp_path / "whole")) == [0, 0]
    assert in_two_processes(lambda rank: work(rank, tmp_path / "b", stop_at(6, signal.SIGINT))) == [130, 130]
    assert checkpoint.load(tmp_path / "b" / "checkpoints" / "last.pt")["cursor"]["step"] == 7
    assert in_two_processes(lambda rank: work(rank, tmp_path / "b")) == [0, 0]
    assert same(result_of(tmp_path / "b"), result_of(tmp_path / "whole"))


def test_a_loss_that_is_not_finite_on_one_process_stops_both(tmp_path: Path) -> None:
    class Broken(ToyLoader):
        def batches(self, start_step: int) -> Any:
            for step, (batch, targets) in enumerate(super().batches(start_step)):
                bad = self.rank == 1 and step == 2
                yield batch, replace(targets, boxes=targets.boxes * float("nan")) if bad else targets

    def work(rank: int) -> None:
        distributed.start("cpu")
        try:
            run(tmp_path, loader=Broken(2, rank, 2))
        except NonFiniteLossError as error:
            (tmp_path / f"error{rank}").write_text(str(error))
            os._exit(error.exit_code)

    assert in_two_processes(work) == [4, 4]
    messages = [(tmp_path / f"error{rank}").read_text() for rank in range(2)]
    ids = next(batch for k, (batch, _) in enumerate(ToyLoader(2, 1, 2).batches(0)) if k == 2).ids.tolist()
    assert messages[0] == messages[1] and "step 3" in messages[0] and str(sorted(ids)) in messages[0]


def test_small_agreements(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        device = distributed.start("auto" if not torch.cuda.is_available() else "cpu")
        assert device == torch.device("cpu")
        assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (rank, 2, rank == 0)
        assert distributed.broadcast_object({"from": rank}) == {"from": 0}
        gathered = distributed.gather_objects([rank] * (3 * rank))  # of unequal length, one empty
        assert gathered == ([[], [1, 1, 1]] if rank == 0 else None)
        assert distributed.all_gather_objects(rank) == [0, 1]
        assert distributed.highest(5 * rank) == 5
        mean = distributed.mean_across(torch.tensor([1.0, float(rank)], requires_grad=True))
        assert mean.tolist() == [1.0, 0.5] and not mean.requires_grad
        if rank == 1:
            time.sleep(0.2)
            (tmp_path / "seen").touch()
        distributed.barrier()
        assert (tmp_path / "seen").exists()
        distributed.cleanup()

    assert in_two_processes(work) == [0, 0]


def test_alone_everything_is_the_identity() -> None:
    assert distributed.start("cpu") == torch.device("cpu")
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather_objects("a") == ["a"] and distributed.broadcast_object("a") == "a"
    assert distributed.highest(3) == 3 and distributed.mean_across(torch.ones(2)).tolist() == [1, 1]
    model = plain_toy()
    assert distributed.wrap(model) is model
    distributed.barrier()
    distributed.cleanup()


@pytest.mark.parametrize("device", ["gpu", "meta"])
def test_a_device_that_is_none(device: str) -> None:
    with pytest.raises(ConfigError, match=f"device {device} is none of cpu, cuda, cuda:N and auto"):
        distributed.start(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="GPU 0 is wanted, 0 are there"):
        distributed.start("cuda")
