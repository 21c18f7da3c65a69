"""A weight matrix as the product of two thin ones: Fast R-CNN, sec. 3.1."""

import torch
from torch import Tensor


def truncated_svd(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best approximation of `weight` (u, v) by second @ first, with first (rank, v) and second (u, rank).

    `rank` is cut to the smaller side. The singular values go with `first`, as in the paper. Computed in float64.
    """
    u, s, vh = torch.linalg.svd(weight.double(), full_matrices=False)  # (u, m), (m,), (m, v)
    rank = min(rank, len(s))
    return (s[:rank, None] * vh[:rank]).to(weight.dtype), u[:, :rank].to(weight.dtype)
