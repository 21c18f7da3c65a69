import pytest
import torch
from torch import nn

from visionkit.backbones import lenet
from visionkit.backbones.activations import ACTIVATIONS
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.errors import ConfigError

NETS = {"lenet": (nn.Tanh, nn.AvgPool2d), "lenet_relu": (nn.ReLU, nn.MaxPool2d)}


def size_of(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", NETS)
def test_parameters_are_the_papers(name):
    net = getattr(lenet, name)()
    # Sec. II-B: C1 156, C5 48,120, F6 10,164. C3 has 1,516 with table I's connections, all of them make 2,416.
    assert [size_of(layer) for layer in (net.conv1, net.conv2, net.c5, net.f6)] == [156, 2416, 48120, 10164]
    assert size_of(net) + size_of(net.new_classifier(10)) == 61_706


@torch.no_grad()
@pytest.mark.parametrize("name", NETS)
def test_equals_the_layers_written_one_after_another(name):
    activation, pool = NETS[name]
    net = getattr(lenet, name)().eval()
    head = net.new_classifier(10)
    fc5, fc6 = nn.Linear(400, 120), nn.Linear(120, 84)
    fc5.weight.copy_(net.c5.weight.flatten(1))
    fc5.bias.copy_(net.c5.bias)
    fc6.weight.copy_(net.f6.weight.flatten(1))
    fc6.bias.copy_(net.f6.bias)
    trunk = (net.conv1, activation(), pool(2), net.conv2, activation(), pool(2))
    written = nn.Sequential(*trunk, nn.Flatten(), fc5, activation(), fc6, activation(), head.linear)
    images = torch.randn(3, 1, 32, 32)
    found = head(net.tail_maps(net.pool(net(images, ("c1",))["c1"])))
    torch.testing.assert_close(found, written(images), atol=1e-6, rtol=1e-5)


def test_maps_are_the_papers():
    net = lenet.lenet()
    maps = net(torch.rand(2, 1, 32, 32), ("c0", "c1", "c2"))
    assert [tuple(m.shape[1:]) for m in maps.values()] == [(6, 28, 28), (16, 10, 10), (16, 5, 5)]
    assert net.tail_maps(maps["c1"]).shape == (2, 84, 1, 1)
    assert (net.color, net.mean, net.std) == ("gray", (0.1307,), (0.3081,))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("norm", ["none", "batch", "frozen", "group"])
def test_contract(name, norm):
    assert_is_backbone(getattr(lenet, name)(norm=norm))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_contract_with_every_activation(activation):
    net = lenet.lenet(activation=activation)
    assert_is_backbone(net)
    assert type(net.act2) is type(ACTIVATIONS[activation]())
    assert net.conv2.out_channels == (32 if activation == "maxout" else 16)


@torch.no_grad()
def test_a_larger_image_has_the_mean_of_its_windows_scores():
    net = lenet.lenet_relu().eval()
    head = net.new_classifier(10)
    image = torch.randn(1, 1, 40, 36)
    scores = []
    for top in (0, 4, 8):
        for left in (0, 4):  # one cell of the tail is 4 pixels
            crop = image[:, :, top : top + 32, left : left + 32]
            scores.append(head(net.tail_maps(net(crop, ("c1",))["c1"])))
    found = head(net.dense_tail(net(image, ("c1",))["c1"]))
    torch.testing.assert_close(found, torch.stack(scores).mean(0), atol=1e-5, rtol=1e-5)


def test_initial_weights_follow_the_activation():
    fan_in, fan_out = 16 * 25, 120 * 25
    xavier, he = lenet.lenet().c5.weight, lenet.lenet(activation="relu").c5.weight
    assert xavier.var().item() == pytest.approx(2 / (fan_in + fan_out), rel=0.05)
    assert he.var().item() == pytest.approx(2 / fan_in, rel=0.05)


def test_compiles_and_exports():
    assert_compiles(lenet.lenet())
    assert_exports(lenet.lenet())


def test_a_small_image_is_refused():
    with pytest.raises(ConfigError, match="LeNet takes images of at least 32 x 32 pixels, not 28 x 28"):
        lenet.lenet()(torch.rand(1, 1, 28, 28), ("c1",))


@pytest.mark.parametrize("bad", [{"activation": "gelo"}, {"norm": "layer"}])
def test_an_unknown_argument(bad):
    (value,) = bad.values()
    with pytest.raises(ConfigError, match=f"one of .*, not '{value}'"):
        lenet.lenet(**bad)
