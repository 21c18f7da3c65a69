"""The one number that data-parallel training must agree on inside a loss: what the sums are divided by."""

import torch
import torch.distributed as dist
from torch import Tensor


def across_processes(count: Tensor) -> Tensor:
    """Mean of a loss normaliser over all processes, so that averaged gradients equal those of one large batch.

    DistributedDataParallel averages gradients. With sums divided by the mean count, a process that holds few objects
    gives each of them the same weight as one that holds many (and none at all is fine).

    Identity without torch.distributed, and also when gradients are off: validation stays local, and processes may
    then hold different numbers of batches without waiting for each other.

    Args:
        count: any shape, floating point, on the device of the process group's backend. Left unchanged.
    Returns:
        same shape and dtype, without a gradient where it was reduced.
    """
    if not (torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()):
        return count
    total = count.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
