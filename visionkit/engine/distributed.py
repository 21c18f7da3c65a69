"""Data parallelism as torchrun starts it. In a single process every function here is the identity or does nothing."""

import os
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from visionkit.engine.precision import pick_device

T = TypeVar("T")


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
        dist.init_process_group("gloo" if chosen.type == "cpu" else "cpu:gloo,cuda:nccl")
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


def wrap(model: nn.Module) -> nn.Module:
    """The model with its gradients averaged over all ranks. In a single process the model itself.

    Buffers are not broadcast: the kit's normalisation is frozen, or each process keeps its own statistics.
    """
    return DistributedDataParallel(model, broadcast_buffers=False) if _many() else model


def _many() -> bool:
    return dist.is_available() and dist.is_initialized()
