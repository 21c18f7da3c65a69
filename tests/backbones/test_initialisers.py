import pytest
import torch
from torch import nn

from visionkit.backbones.initialisers import INITIALISERS, initialise_weights
from visionkit.errors import ConfigError

VARIANCES = {  # by fan in and fan out
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun_normal": lambda fan_in, fan_out: 1 / fan_in,
}


@pytest.mark.parametrize("name", INITIALISERS)
@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [(nn.Linear(300, 200), 300, 200), (nn.Conv2d(40, 60, 5), 1000, 1500), (nn.Conv1d(60, 200, 5), 300, 1000)],
)
def test_variance_and_biases(name, layer, fan_in, fan_out):
    nn.init.ones_(layer.bias)
    initialise_weights(layer, name)
    weight = layer.weight.detach()
    variance = VARIANCES[name](fan_in, fan_out)
    assert weight.var().item() == pytest.approx(variance, rel=0.03)  # 60,000 draws: deviation of the estimate 0.6 %
    assert abs(weight.mean().item()) < 5 * (variance / weight.numel()) ** 0.5
    assert not layer.bias.any()


def test_xavier_is_uniform_and_he_is_normal():
    layer = nn.Linear(300, 200)
    initialise_weights(layer, "xavier")
    assert layer.weight.abs().max() <= (6 / 500) ** 0.5
    initialise_weights(layer, "he")
    assert layer.weight.abs().max() > 3.5 * (2 / 300) ** 0.5


def test_a_grouped_convolution_counts_the_inputs_of_its_group():
    layer = nn.Conv2d(80, 60, 5, groups=4, bias=False)
    initialise_weights(layer, "he")
    assert layer.weight.var().item() == pytest.approx(2 / (20 * 25), rel=0.03)


@pytest.mark.parametrize("name", INITIALISERS)
def test_he_keeps_the_signal_through_relus(name):
    net = nn.Sequential(*(layer for _ in range(12) for layer in (nn.Linear(256, 256, bias=False), nn.ReLU())))
    initialise_weights(net, name)
    squares = net(torch.randn(64, 256)).square().mean().item()
    if name == "he":
        assert 0.2 < squares < 5
    else:  # half the variance is lost in every layer
        assert squares < 0.01


def test_every_layer_inside_and_nothing_else():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.PReLU(), nn.Linear(4, 4)))
    for parameter in net.parameters():
        nn.init.constant_(parameter, 7)
    initialise_weights(net, "he")
    kept = [key for key, value in net.named_parameters() if (value == 7).all()]
    assert kept == ["1.weight", "1.bias", "2.0.weight"]


def test_an_unknown_name():
    with pytest.raises(ConfigError, match="xavier, he, lecun_normal, not 'hee'"):
        initialise_weights(nn.Linear(2, 2), "hee")
