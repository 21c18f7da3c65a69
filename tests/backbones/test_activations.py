import pytest
import torch
from torch import nn

from visionkit.backbones.activations import ACTIVATIONS, Maxout, activation_layer, pieces_of
from visionkit.errors import ConfigError

X = torch.linspace(-5, 5, 41)

FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x)),
    "relu": lambda x: torch.where(x > 0, x, 0.0),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "swish": lambda x: x / (1 + torch.exp(-x)),
    "mish": lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))),
    "hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_is_its_formula(name):
    module = activation_layer(name)()
    assert isinstance(module, nn.Module)
    torch.testing.assert_close(module(X), FORMULAS[name](X), atol=1e-6, rtol=1e-5)
    assert pieces_of(name) == 1


def test_every_activation_has_a_test():
    assert set(ACTIVATIONS) == {*FORMULAS, "maxout"}


def test_each_call_makes_a_module_of_its_own():
    make = activation_layer("prelu")
    assert make() is not make()


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 3, 5), (0, 6, 3, 5)])
@pytest.mark.parametrize("pieces", [2, 3])
def test_maxout_is_the_largest_of_neighbouring_channels(shape, pieces):
    x = torch.randn(shape)
    found = Maxout(pieces)(x)
    expected = [x[:, i : i + pieces].max(dim=1).values for i in range(0, 6, pieces)]
    torch.testing.assert_close(found, torch.stack(expected, dim=1), atol=0, rtol=0)


def test_maxout_of_two_linear_layers_makes_an_absolute_value():
    net = nn.Sequential(nn.Linear(1, 2, bias=False), activation_layer("maxout")())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(net(X[:, None]), X[:, None].abs())
    assert pieces_of("maxout") == 2


@pytest.mark.parametrize("ask", [activation_layer, pieces_of])
def test_an_unknown_name(ask):
    with pytest.raises(ConfigError, match="sigmoid, tanh, relu, .*maxout.*, not 'gelo'"):
        ask("gelo")
