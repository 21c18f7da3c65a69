import pytest
import torch
from torch import nn

from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.mlp import mlp
from visionkit.errors import ConfigError


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": [16]},
        {"hidden": [16, 8], "color": "gray", "resolution": 28, "dropout": 0.2},
        {"hidden": [64], "norm": "group", "resolution": 8},
    ],
)
def test_contract(settings):
    assert_is_backbone(mlp(**settings))


@torch.no_grad()
def test_equals_linear_layers_written_one_after_another():
    net = mlp(hidden=[20, 12], resolution=8).eval()
    first, second = nn.Linear(3 * 8 * 8, 20), nn.Linear(20, 12)
    first.weight.copy_(net.layers[0].weight.flatten(1))
    first.bias.copy_(net.layers[0].bias)
    second.weight.copy_(net.layers[3].weight.flatten(1))
    second.bias.copy_(net.layers[3].bias)
    images = torch.randn(5, 3, 8, 8)
    written = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU())
    torch.testing.assert_close(net.tail(net.pool(net(images, ("c0",))["c0"])), written(images), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_hidden_layers_it_is_the_pixels():
    net = mlp(hidden=[], resolution=4, color="gray")
    images = torch.randn(3, 1, 4, 4)
    assert torch.equal(net.tail(net.pool(images)), images.flatten(1))
    assert net.out_channels == 16 and list(net.parameters()) == []
    assert net.tail(images[:0]).shape == (0, 16)
    larger = torch.randn(1, 1, 5, 6)
    dense = net.dense_tail(larger)
    assert dense.shape == (1, 16, 2, 3)
    assert torch.equal(dense[0, :, 1, 2], larger[0, :, 1:5, 2:6].flatten())


@torch.no_grad()
def test_a_larger_image_is_brought_to_its_resolution():
    net = mlp(hidden=[], resolution=2, color="gray")
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert net.tail(net.pool(image)).tolist() == [[2.5, 4.5, 10.5, 12.5]], "means of 2 x 2"


def test_compiles_and_exports():
    assert_compiles(mlp(hidden=[8]))
    assert_exports(mlp(hidden=[8]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hidden": [0]}, "hidden=.0.: the hidden layers of an MLP are whole numbers"),
        ({"hidden": [2.5]}, "hidden=.2.5.: the hidden layers"),
        ({"color": "cmyk"}, "color=cmyk: an MLP sees rgb or gray"),
        ({"resolution": 1}, "resolution=1: an MLP's is a whole number of at least 2"),
        ({"dropout": 1}, "dropout=1: a number from 0 to below 1"),
        ({"norm": "layer"}, "norm must be one of .*, not 'layer'"),
        ({"weights": "imagenet"}, "no ImageNet weights are published for this MLP"),
    ],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        mlp(**settings)


def test_a_small_image_is_refused():
    with pytest.raises(ConfigError, match="MLP takes images of at least 32 x 32 pixels, not 28 x 28"):
        mlp()(torch.rand(1, 3, 28, 28), ("c0",))
