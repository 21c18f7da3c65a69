"""Fully connected layers as two thin ones, for faster detection (Fast R-CNN, sec. 3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.ops.truncated_svd import truncated_svd


class LowRankLinear(nn.Module):
    """A linear layer through `rank` values: a matrix of (out, in) becomes (rank, in) and (out, rank)."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, rank, bias=False)
        self.second = nn.Linear(rank, outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """(R, in) -> (R, out)."""
        return self.second(self.first(vectors))  # type: ignore[no-any-return]


def linear_layers(backbone: Backbone) -> list[str]:
    """Names of the backbone's fully connected layers in order: fc6 and fc7 of a VGG or of a pyramid's tail."""
    return [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]


def low_rank(backbone: Backbone, ranks: Sequence[int], fit: bool = False) -> None:
    """Replaces the backbone's fully connected layers by `LowRankLinear`s, in place.

    Args:
        ranks: one for each layer of `linear_layers`.
        fit: take the best approximation of the layers' weights; else fresh ones (a checkpoint will bring its own).
    Raises:
        ConfigError: another number of layers, or a rank that is no less than a layer's sides.
    """
    names = linear_layers(backbone)
    if len(names) != len(ranks) or not names:
        raise ConfigError(
            f"ranks={list(ranks)}: {type(backbone.innermost()).__name__} has {len(names)} fully connected layers "
            f"({', '.join(names) or 'none'}); give one rank for each."
        )
    for name, rank in zip(names, ranks, strict=True):
        parent, _, last = name.rpartition(".")
        old = backbone.get_submodule(name)
        assert isinstance(old, nn.Linear)
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank < min(old.weight.shape):
            raise ConfigError(
                f"the rank {rank} of {name}, whose matrix is {old.out_features} x {old.in_features}, has to be a whole "
                f"number from 1 to {min(old.weight.shape) - 1}."
            )
        new = LowRankLinear(old.in_features, old.out_features, rank)
        if fit:
            with torch.no_grad():
                first, second = truncated_svd(old.weight, rank)
                new.first.weight.copy_(first)
                new.second.weight.copy_(second)
                if old.bias is not None:
                    new.second.bias.copy_(old.bias)
                else:
                    new.second.bias.zero_()
        setattr(backbone.get_submodule(parent), last, new.to(old.weight.device))
