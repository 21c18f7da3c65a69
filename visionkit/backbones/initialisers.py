"""Initial weights, chosen by name."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from visionkit.errors import ConfigError


def xavier(weight: Tensor) -> None:
    """Uniform of variance 2 / (fan in + fan out), for tanh and sigmoid (Glorot and Bengio 2010, eq. 16)."""
    nn.init.xavier_uniform_(weight)


def he(weight: Tensor) -> None:
    """Normal of variance 2 / fan in, for ReLU and its kin (He et al. 2015, eq. 10)."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


def lecun_normal(weight: Tensor) -> None:
    """Normal of variance 1 / fan in (LeCun et al., "Efficient BackProp", 1998, eq. 16)."""
    nn.init.normal_(weight, 0, 1 / math.sqrt(weight[0].numel()))


INITIALISERS: dict[str, Callable[[Tensor], None]] = {"xavier": xavier, "he": he, "lecun_normal": lecun_normal}


def initialise_weights(module: nn.Module, name: str) -> None:
    """Fresh weights for every convolution and linear layer inside `module`, itself included; their biases become zero.

    Args:
        name: "xavier", "he" or "lecun_normal".

    Raises:
        ConfigError: another name.
    """
    if name not in INITIALISERS:
        raise ConfigError(f"initial weights must be one of {', '.join(INITIALISERS)}, not {name!r}")
    for layer in module.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            INITIALISERS[name](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
