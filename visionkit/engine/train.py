"""The training loop: a generator of step records. It knows no task; `model(batch, targets)` names its own losses."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from visionkit.engine.distributed import all_gather_objects, mean_across, world_size
from visionkit.engine.precision import Precision
from visionkit.engine.schedule import Schedule
from visionkit.errors import ConfigError, DataError, NonFiniteLossError
from visionkit.ops.hashing import mix
from visionkit.structures import Batch, Targets


@dataclass(frozen=True)
class Step:
    """What one optimizer step did. Losses are means over its batches and over all processes, on the CPU."""

    step: int  # steps done, this one included
    loss: Tensor  # () float32, the sum of `losses`
    losses: dict[str, Tensor]  # name -> () float32
    lr: dict[str, float]  # parameter group -> learning rate
    images: int  # of all processes
    norm: Callable[[], Tensor]

    @property
    def grad_norm(self) -> Tensor:
        """() float32, before clipping, on the device of the model; to be asked before the next step is taken."""
        return self.norm()


def train_steps(
    model: nn.Module,
    batches: Iterator[tuple[Batch, Targets]],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    start: int,
    stop: int,
    seed: int,
    device: torch.device,
    precision: Precision,
    first: int = 0,
    accumulate: int = 1,
    clip_norm: float | None = None,
    channels_last: bool = False,
    losses: Collection[str] | None = None,
) -> Iterator[Step]:
    """Takes the optimizer steps `start + 1` ... `stop`, `accumulate` batches each, and yields a record after each.

    Everything a step draws at random follows from (seed, step, image id), so a run that starts at `start` with the
    right weights, optimizer state and batches goes on as the uninterrupted one did.

    Args:
        first: steps done when the phase began; the schedule sees (step - first, stop - first).
        losses: names of the losses that count, None = all; their sum is minimised.
    Raises:
        NonFiniteLossError: before the optimizer moves, on all processes at the same step.
        DataError: the batches ended early.
        ConfigError: a name in `losses` that the model does not give.
    """
    for step in range(start, stop):
        lr = _set_rates(optimizer, schedule(step - first, stop - first))
        optimizer.zero_grad(set_to_none=True)
        ids: list[list[int]] = []
        sums: list[Tensor] = []
        for part in range(accumulate):
            batch, targets = _next(batches, step)
            ids.append(batch.ids.tolist())
            _seed(mix(seed, step, ids[-1][0]), device)  # dropout and the like: a function of step and image
            if channels_last:
                batch = replace(batch, pixels=batch.pixels.contiguous(memory_format=torch.channels_last))
            batch, targets = batch.to(device), targets.to(device)
            last = part == accumulate - 1
            with _gradients_shared(model, last):
                with precision.autocast():
                    named = _chosen(model(batch, targets), losses)
                    total = torch.stack([value.float() for value in named.values()]).sum() / accumulate
                if not total.requires_grad:
                    raise ConfigError(f"what is trained here has no part in the losses {', '.join(named)}.")
                sums.append(torch.stack([value.detach().float() for value in named.values()]))  # (L,)
                if last:
                    report = _Readback(mean_across(torch.stack(sums).mean(0)))
                precision.backward(total)
        values = report.wait()  # (L,) on the CPU
        if not bool(values.isfinite().all()):
            raise _non_finite(step + 1, dict(zip(named, values.tolist(), strict=True)), ids, sums)
        norm = precision.optimize(optimizer, clip_norm)
        each = dict(zip(named, values.unbind(), strict=True))
        yield Step(step + 1, values.sum(), each, lr, sum(map(len, ids)) * world_size(), norm)


class _Readback:
    """A small tensor on its way to the CPU while the device goes on with the backward pass.

    The copy is queued after the forward pass and awaited after the backward pass is queued, so that looking at the
    loss at every step leaves the device its work.
    """

    def __init__(self, values: Tensor) -> None:
        self.host = values.to("cpu", non_blocking=True)
        self.event = torch.cuda.Event() if values.is_cuda else None  # type: ignore[no-untyped-call]
        if self.event is not None:
            self.event.record()

    def wait(self) -> Tensor:
        if self.event is not None:
            self.event.synchronize()
        return self.host


def _seed(value: int, device: torch.device) -> None:
    """Not `torch.manual_seed`: without a started CUDA that remembers every call, and a long run makes many."""
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)


def _set_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    rates = {}
    for index, group in enumerate(optimizer.param_groups):
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        rates[group.get("name", str(index))] = group["lr"]
    return rates


def _next(batches: Iterator[tuple[Batch, Targets]], step: int) -> tuple[Batch, Targets]:
    try:
        return next(batches)
    except StopIteration:
        raise DataError(f"the training data ended before step {step + 1}; a loader must go on without end.") from None


def _chosen(named: dict[str, Tensor], names: Collection[str] | None) -> dict[str, Tensor]:
    if names is None:
        return named
    unknown = sorted(set(names) - set(named))
    if unknown:
        raise ConfigError(f"the phase wants the loss {unknown[0]!r}; the model gives {', '.join(named)}.")
    return {name: value for name, value in named.items() if name in names}


def _gradients_shared(model: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Processes exchange gradients once a step: with the last of its batches."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return nullcontext()


def _non_finite(step: int, losses: dict[str, float], ids: list[list[int]], sums: list[Tensor]) -> NonFiniteLossError:
    """Names the images of the batches (and processes) at fault; called on all processes alike."""
    guilty = [image for part, values in zip(ids, sums, strict=True) if not values.isfinite().all() for image in part]
    images = sorted({image for process in all_gather_objects(guilty) for image in process})
    shown = ", ".join(f"{name}={value:.6g}" for name, value in losses.items())
    return NonFiniteLossError(f"the loss of step {step} is not finite ({shown}); image ids of its batch: {images}.")
