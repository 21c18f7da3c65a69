"""Stochastic depth (Huang et al., "Deep Networks with Stochastic Depth", 2016), as a layer before a shortcut's sum."""

from collections.abc import Sequence

from torch import Tensor, nn

from visionkit.errors import ConfigError


class DropPath(nn.Module):
    """In training, zeros the whole branch of a sample with `probability` and scales the others up; else identity.

    Torchvision's `StochasticDepth(p, "row")`: dividing by the survival probability in training replaces the paper's
    multiplying by it in testing (sec. 3, "stochastic depth at test time").
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        _require_probability(probability)
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
    _require_probability(last)
    total = sum(depths)
    rates = [last * (i + 1) / total for i in range(total)]
    return [[rates.pop(0) for _ in range(depth)] for depth in depths]


def _require_probability(value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"drop_path must be a probability from 0 to 1, not {value:g}")
