"""Activation functions, chosen by name."""

from collections.abc import Callable

from torch import Tensor, nn

from visionkit.errors import ConfigError


class Maxout(nn.Module):
    """The largest of every `pieces` neighbouring channels (Goodfellow et al., "Maxout Networks", 2013, sec. 3).

    (B, C, ...) -> (B, C / pieces, ...): a layer before it has to make `pieces` times the channels that the layer after
    it takes, each piece with weights of its own; `pieces_of(name)` is that factor for any activation. C must be a
    multiple of `pieces`.
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.pieces)).amax(dim=2)  # (B, C / pieces, ...)

    def extra_repr(self) -> str:
        return f"{self.pieces}"


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,  # 0.01 x below 0 (Maas et al. 2013)
    "prelu": nn.PReLU,  # one learned slope below 0, from 0.25 (He et al. 2015)
    "elu": nn.ELU,  # exp(x) - 1 below 0 (Clevert et al. 2015)
    "maxout": Maxout,
    "swish": nn.SiLU,  # x sigmoid(x) (Ramachandran et al. 2017)
    "mish": nn.Mish,  # x tanh(softplus(x)) (Misra 2019)
    "hardswish": nn.Hardswish,  # x relu6(x + 3) / 6 (Howard et al. 2019, sec. 5.2)
}


def activation_layer(name: str) -> Callable[[], nn.Module]:
    """What makes the activation called `name`, a new module each time. Raises ConfigError for another name.

    All keep the shape but "maxout", which halves the channels: see `pieces_of`.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {name!r}")
    return ACTIVATIONS[name]


def pieces_of(name: str) -> int:
    """How many channels before the activation make one after it: 2 for "maxout", else 1."""
    module = activation_layer(name)()
    return module.pieces if isinstance(module, Maxout) else 1
