"""Stochastic depth (Huang et al., "Deep Networks with Stochastic Depth", 2016), as a layer before a shortcut's sum."""

from collections.abc import Sequence

from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, zeros the whole branch of a sample with `probability` and scales the others up; else identity.

    Torchvision's `StochasticDepth(p, "row")`: dividing by the survival probability in training replaces the paper's
    multiplying by it in testing (sec. 3, "stochastic depth at test time").
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        if self.probability == 1:
            return x * 0
        survival = 1 - self.probability
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(survival).div_(survival)  # (B, 1, 1, 1)

    def extra_repr(self) -> str:
        return f"{self.probability:g}"


def drop_path(probability: float) -> nn.Module:
    """A `DropPath`, or nothing where nothing is dropped."""
    return DropPath(probability) if probability else nn.Identity()


def linear_rule(last: float, depths: Sequence[int]) -> list[list[float]]:
    """The probability of every block by group, rising from near 0 at the first to `last` (sec. 3, eq. 4)."""
    total = sum(depths)
    rates = [last * (i + 1) / total for i in range(total)]
    return [[rates.pop(0) for _ in range(depth)] for depth in depths]
