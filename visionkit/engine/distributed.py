"""Data parallelism as torchrun starts it. In a single process every function here is the identity or does nothing."""

import inspect
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from visionkit.engine.precision import pick_device
from visionkit.errors import VisionKitError

T = TypeVar("T")
PATIENCE = timedelta(days=7)


def start(device: str) -> torch.device:
    """Joins the processes of `torchrun`, if there are any, and returns this process's device (see `pick_device`).

    Raises:
        ConfigError: no such device.
    """
    chosen = pick_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        # gloo beside nccl: small agreements among processes (stop? save?) then need no GPU synchronisation.
        # Rank 0 alone searches proposals and fits SVMs, for hours on a large set, while the others wait. A process that
        # has ended is noticed by its closed connection, not by the clock.
        dist.init_process_group("gloo" if chosen.type == "cpu" else "cpu:gloo,cuda:nccl", timeout=PATIENCE)
    return chosen


def cleanup() -> None:
    """Leaves the process group. Not called on errors: torchrun ends the other processes then."""
    if _many():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if _many() else 0


def world_size() -> int:
    return dist.get_world_size() if _many() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and talks to the person."""
    return rank() == 0


def barrier() -> None:
    if _many():
        dist.all_reduce(torch.zeros(1))


def main_first(work: Callable[[], T]) -> T:
    """`work()` on rank 0, then on the others, which find what it has made. What rank 0 refuses, all refuse.

    Raises:
        VisionKitError: the one of rank 0, on every rank, so that none waits for another.
    """
    if not _many():
        return work()
    result: list[T] = []
    refused: tuple[type[VisionKitError], str] | None = None
    if is_main():
        try:
            result.append(work())
        except VisionKitError as error:
            refused = type(error), str(error)
    refused = broadcast_object(refused)
    if refused is not None:
        kind, sentence = refused
        raise kind(sentence)
    return result[0] if result else work()


def peer_lost(error: BaseException) -> bool:
    """Whether an exchange failed because another process has ended. That one says why; this one has no fault."""
    text = str(error)
    return _many() and isinstance(error, RuntimeError) and ("by peer" in text or "remote process exited" in text)


def broadcast_object(value: T) -> T:
    """Rank 0's value, on every rank. Any picklable value."""
    if not _many():
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return cast(T, box[0])


def gather_objects(value: T) -> list[T] | None:
    """The values of all ranks, in the order of ranks, on rank 0; None on the others. Any picklable value."""
    if not _many():
        return [value]
    everyone = all_gather_objects(value)
    return everyone if rank() == 0 else None


def all_gather_objects(value: T) -> list[T]:
    """The values of all ranks, in the order of ranks, on every rank."""
    if not _many():
        return [value]
    everyone: list[Any] = [None] * world_size()
    dist.all_gather_object(everyone, value)
    return cast(list[T], everyone)


def mean_across(values: Tensor) -> Tensor:
    """Mean over all ranks, elementwise. Any shape; on the device of the model. No gradient."""
    if not _many():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def highest(value: int) -> int:
    """The highest of all ranks' values, on every rank."""
    if not _many():
        return value
    shared = torch.tensor([value])
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared.item())


def share_buffers(model: nn.Module) -> None:
    """Gives rank 0's buffers to all ranks, in place.

    Each process keeps batch norm statistics of its own while it trains, and the checkpoint holds rank 0's. With them
    shared before an evaluation, what is measured is what is saved, and a resumed run measures the same.
    """
    if _many():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def wrap(model: nn.Module) -> nn.Module:
    """The model with its gradients averaged over all ranks. In a single process the model itself.

    Buffers are not exchanged at each step: the kit's normalisation is frozen, or each process keeps its own statistics.
    """
    if not _many():
        return model
    names = inspect.signature(DistributedDataParallel.__init__).parameters
    switch = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"  # its older name
    switches: dict[str, Any] = {switch: False}
    return DistributedDataParallel(model, **switches)


def _many() -> bool:
    return dist.is_available() and dist.is_initialized()
