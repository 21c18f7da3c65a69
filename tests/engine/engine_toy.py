"""A model and a loader small enough that a whole run takes a tenth of a second, and ways to run and break them."""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visionkit.engine import checkpoint, schedule
from visionkit.engine.fit import FitResult, FitSettings, fit
from visionkit.engine.optim import parameter_groups
from visionkit.engine.phases import Phase
from visionkit.ops.hashing import mix
from visionkit.ops.reduce import across_processes
from visionkit.structures import Batch, Targets

SCHEDULES: dict[str, Callable[[], schedule.Schedule]] = {
    "constant": schedule.constant,
    "multistep": partial(schedule.multistep, milestones=[0.5, 10], warmup=3),
    "cosine": partial(schedule.cosine, warmup=0.2),
    "plateau": partial(schedule.plateau, factor=0.5, patience=0),
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adamw": torch.optim.AdamW,
}


class Toy(nn.Module):
    """Mean colours -> the first box's corner; every valid box counts, the sum divided by their number."""

    def __init__(self, *, dropout: float = 0.2, norm: bool = True, ballast: int = 0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU())
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(4, 4)
        self.register_buffer("ballast", torch.zeros(ballast))  # makes a checkpoint take its time

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        found = self.head(self.drop(self.body(batch.pixels / 255.0).mean((2, 3))))  # (B, 4)
        weight = targets.valid[..., None].float()  # (B, G, 1)
        count = across_processes(weight.sum()).clamp(min=0.5)
        square = ((found[:, None] - targets.boxes) ** 2 * weight).sum() / count
        size = (found.abs().sum(1) * targets.valid.any(1)).sum() / count
        return {"square": square, "size": 0.1 * size}


class ToyLoader:
    """Batches of 12 images in an order that follows from (seed, epoch); image k has k % 3 boxes."""

    def __init__(
        self,
        batch_size: int = 3,
        rank: int = 0,
        world: int = 1,
        on_batch: Callable[[int], None] | None = None,
        accumulate: int = 1,
    ) -> None:
        self.batch_size, self.rank, self.world, self.on_batch = batch_size, rank, world, on_batch
        self.accumulate = accumulate
        self.steps_per_epoch = 12 // (batch_size * world * accumulate)

    def batches(self, start_step: int) -> Iterator[tuple[Batch, Targets]]:
        step = start_step
        while True:
            if self.on_batch is not None:
                self.on_batch(step)
            epoch, within = divmod(step, self.steps_per_epoch)
            order = torch.randperm(12, generator=torch.Generator().manual_seed(mix(7, epoch)))
            for part in range(self.accumulate):
                begin = ((within * self.accumulate + part) * self.world + self.rank) * self.batch_size
                yield toy_batch(order[begin : begin + self.batch_size].tolist())
            step += 1


def toy_batch(ids: list[int]) -> tuple[Batch, Targets]:
    generators = [torch.Generator().manual_seed(mix(5, i)) for i in ids]
    pixels = torch.stack([torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=g) for g in generators])
    boxes = torch.stack([torch.rand(2, 4, generator=g) for g in generators])
    counts = torch.tensor([i % 3 for i in ids])
    valid = torch.arange(2) < counts[:, None]
    size = torch.full((len(ids), 2), 8)
    labels = torch.zeros(len(ids), 2, dtype=torch.int64)
    return (
        Batch(pixels, size, torch.tensor(ids), torch.tensor(ids)),
        Targets(boxes * valid[..., None], labels, valid, torch.zeros_like(valid)),
    )


def validate(model: nn.Module, step: int) -> dict[str, float | None]:
    """A value that goes up and down with the weights; higher is better."""
    assert not model.training and not torch.is_grad_enabled()
    torch.rand(3)  # an evaluation may draw at random without disturbing the training
    return {"AP": float(torch.sin(1000 * sum(p.double().sum() for p in model.parameters()))), "AP_small": None}


def phase(
    name: str = "train", steps: int = 12, optimizer: str = "sgd", plan: str = "cosine", lr: float = 0.05, **extra: Any
) -> Phase:
    groups = partial(parameter_groups, lr=lr, weight_decay=1e-3, lr_multipliers={"body": 0.5})
    return Phase(name, steps, groups, OPTIMIZERS[optimizer], SCHEDULES[plan], **extra)


def run(
    folder: Path,
    phases: list[Any] | None = None,
    *,
    resume: Path | str | None = None,
    on_batch: Callable[[int], None] | None = None,
    model: Callable[[], nn.Module] = Toy,
    loader: Any = None,
    monitor: str = "AP",
    evaluate: Any = validate,
    **settings: Any,
) -> FitResult:
    """One run with the toy; `resume="auto"` goes on from last.pt where there is one."""
    torch.manual_seed(0)
    last = folder / "checkpoints" / "last.pt"
    chosen = (last if last.exists() else None) if resume == "auto" else resume
    defaults: dict[str, Any] = {"log_steps": 1, "tensorboard": False, "quiet": True, "seed": 3}
    return fit(
        model(),
        phases or [phase()],
        loader=lambda _: loader or ToyLoader(on_batch=on_batch, accumulate=settings.get("accumulate", 1)),
        validate=evaluate,
        monitor=monitor,
        folder=folder,
        meta={"names": ("a", "b")},
        settings=FitSettings(**(defaults | settings)),
        resume=chosen,  # type: ignore[arg-type]
    )


def stop_at(step: int, number: signal.Signals = signal.SIGTERM) -> Callable[[int], None]:
    """A signal that arrives while the batch of this step is loaded."""
    return lambda now: signal.raise_signal(number) if now == step else None


def result_of(folder: Path) -> dict[str, Any]:
    """Everything that has to be equal, bit for bit, however often a run was stopped."""
    states = {name: checkpoint.load(folder / "checkpoints" / f"{name}.pt") for name in ("last", "best")}
    for state in states.values():
        assert state.pop("seconds") >= 0  # the one thing that no two runs share
    return {"metrics": (folder / "metrics.jsonl").read_bytes(), **states}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def fork(work: Callable[[], None]) -> int:
    """Does the work in a forked process (torch is imported already, so this costs milliseconds); gives its id."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return child


def exit_code(child: int) -> int:
    """Waits for a forked process; minus the signal's number when one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_two_processes(work: Callable[[int], None]) -> list[int]:
    """The work on ranks 0 and 1, with torchrun's variables set; gives the exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def one(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        work(rank)

    return [exit_code(child) for child in [fork(partial(one, rank)) for rank in range(2)]]
