"""Normalisation layers, chosen by name."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from visionkit.errors import ConfigError

Norm = Callable[[int], nn.Module]


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics and fixed affine parameters: y = x * scale + shift per channel.

    Detection fine-tunes with one or two images per device, too few for batch statistics, so the published ones are
    kept (Faster R-CNN and FPN releases). Buffers, not parameters: no optimizer and no `requires_grad` reaches them.
    Keys are those of `nn.BatchNorm2d`; a `num_batches_tracked` in a loaded file is accepted and ignored.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()  # (C,)
        shift = self.bias - self.running_mean * scale  # (C,)
        # One pass over the map, and autograd keeps only `scale`, not the map: half the memory of batch norm in eval.
        return torch.addcmul(shift.to(x.dtype)[:, None, None], x, scale.to(x.dtype)[:, None, None])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


def group_norm(channels: int) -> nn.Module:
    """32 groups (Group Normalization, sec. 4), or the largest number below that divides the channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def no_norm(channels: int) -> nn.Module:
    """Nothing at all; convolutions before it carry a bias."""
    return nn.Identity()


def local_response_norm(size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> nn.Module:
    """b = a / (k + alpha * sum of a^2 over `size` neighbouring channels) ^ beta (Krizhevsky et al. 2012, sec. 3.3).

    torch takes the mean of the squares where the paper takes the sum, channels outside counted as zeros: alpha * size.
    """
    return nn.LocalResponseNorm(size, alpha * size, beta, k)


NORMS: dict[str, Norm] = {
    "batch": nn.BatchNorm2d,
    "frozen": FrozenBatchNorm2d,
    "group": group_norm,
    "none": no_norm,
}


def norm_layer(name: str) -> Norm:
    """The norm called "batch", "frozen", "group" or "none": channels -> module. Raises ConfigError otherwise."""
    if name not in NORMS:
        raise ConfigError(f"norm must be one of {', '.join(NORMS)}, not {name!r}")
    return NORMS[name]
