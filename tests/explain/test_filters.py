"""Which convolution, which channels."""

import pytest
import torch

from visionkit.backbones.cifar_resnet import resnet20
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.lenet import lenet
from visionkit.backbones.resnet import resnet18
from visionkit.errors import ConfigError
from visionkit.explain.filters import checked_channels, convolution, strongest_channels
from visionkit.models.build import classifier


@pytest.mark.parametrize(("network", "shape"), [(lenet, (6, 1, 5, 5)), (resnet20, (16, 3, 3, 3))])
def test_the_first_convolution(network, shape):
    model = classifier(network(), 10)
    assert convolution(model)[1].weight.shape == shape


def test_of_a_pyramid_it_is_that_of_the_network_inside():
    path, conv = convolution(build_fpn(resnet18))
    assert path == "conv1" and conv.weight.shape == (64, 3, 7, 7)


def test_a_named_one_and_one_inside_of_a_name():
    model = classifier(resnet18(), 10)
    assert convolution(model, "layer2.0.conv2")[1] is model.backbone.layer2[0].conv2
    assert convolution(model, "layer2.0.downsample")[1] is model.backbone.layer2[0].downsample[0]


def test_refused():
    model = classifier(resnet20(), 10)
    with pytest.raises(ConfigError, match="layer=layer1 holds 6 convolutions"):
        convolution(model, "layer1")
    with pytest.raises(ConfigError, match="holds 0 convolutions"):
        convolution(model, "layer1.0.bn1")
    with pytest.raises(ConfigError, match="there is no layer 'conv11'"):
        convolution(model, "conv11")
    for path, layer in list(model.backbone.named_modules()):
        if isinstance(layer, torch.nn.Conv2d):
            model.backbone.set_submodule(path, torch.nn.Identity())
    with pytest.raises(ConfigError, match="CifarResNet has no convolution"):
        convolution(model)
    for channel in (-1, 16, True, 1.5):
        with pytest.raises(ConfigError, match=r"layer=c1 has the channels 0 \.\.\. 15"):
            checked_channels([0, channel], 16, "c1")


def test_strongest_channels_by_their_peaks():
    maps = torch.zeros(4, 3, 3)
    maps[1, 2, 2], maps[3], maps[2, 0, 0] = 5, 2, 2
    assert strongest_channels(maps, 3).tolist() == [1, 2, 3]
    assert strongest_channels(maps, 9).tolist() == [1, 2, 3, 0]
