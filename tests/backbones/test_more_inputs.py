"""A first layer with further channels: the same convolution as one layer over all of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visionkit.backbones.more_inputs import WiderConv2d, add_inputs
from visionkit.backbones.resnet import resnet18
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError


@pytest.mark.parametrize("settings", [{"stride": 2, "padding": 3, "bias": False}, {"padding": 1}, {"dilation": 2}])
def test_it_is_one_convolution_over_all_channels(settings):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 3, **settings)
    wider = WiderConv2d(conv, 4)
    nn.init.normal_(wider.extra.weight)
    maps = torch.randn(2, 7, 11, 12)
    weight = torch.cat((conv.weight, wider.extra.weight), dim=1)
    expected = F.conv2d(maps, weight, conv.bias, conv.stride, conv.padding, conv.dilation)
    torch.testing.assert_close(wider(maps), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("make", "name"), [(vgg11_bn_narrow, "features.0"), (resnet18, "conv1")])
@torch.no_grad()
def test_a_network_gives_what_it_gave_and_keeps_its_keys(make, name):
    torch.manual_seed(0)
    net, images = make().eval(), torch.randn(1, 3, 64, 64)
    before, state = net(images, ("c3",))["c3"], dict(net.state_dict())
    assert add_inputs(net, 2) == name
    assert torch.equal(net(torch.cat((images, torch.randn(1, 2, 64, 64)), dim=1), ("c3",))["c3"], before)
    assert set(net.state_dict()) - set(state) == {f"{name}.extra.weight"} and set(state) <= set(net.state_dict())
    net.get_submodule(name).extra.weight.fill_(0.1)
    assert not torch.equal(net(torch.cat((images, torch.randn(1, 2, 64, 64)), dim=1), ("c3",))["c3"], before)


def test_a_network_without_a_plain_first_convolution_is_refused():
    net = vgg11_bn_narrow()
    add_inputs(net, 2)
    with pytest.raises(ConfigError, match="VGG does not begin with a plain convolution of 3 channels"):
        add_inputs(net, 2)  # not twice
