import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visionkit.backbones.depthwise import depthwise_separable
from visionkit.errors import ConfigError


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
def test_without_a_norm_between_it_is_a_convolution_of_outer_products(stride):
    net = depthwise_separable(6, 10, stride, norm="none", activation=nn.Identity)
    filters, mix = net.depthwise.weight[:, 0], net.pointwise.weight[:, :, 0, 0]  # (6, 3, 3), (10, 6)
    kernel = mix[:, :, None, None] * filters  # (10, 6, 3, 3): out o takes channel c by mix[o, c] times its filter
    bias = mix @ net.depthwise.bias + net.pointwise.bias
    x = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(net(x), nn.functional.conv2d(x, kernel, bias, stride, padding=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("channels", "height", "width"), [(32, 14, 14), (8, 5, 7)])
def test_multiply_adds(channels, height, width):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        depthwise_separable(channels, channels)(torch.empty(1, channels, height, width))
    cells = height * width
    assert counter.get_total_flops() == 2 * (9 * channels * cells + channels**2 * cells)  # two per multiply-add


@torch.no_grad()
def test_norm_and_activation_stand_after_both():
    net = depthwise_separable(4, 8).eval()
    for norm in (net.norm1, net.norm2):
        nn.init.uniform_(norm.weight, 1, 9)
        nn.init.uniform_(norm.bias, -1, 9)
    x = torch.randn(2, 4, 6, 6)
    y = net.norm1(nn.functional.conv2d(x, net.depthwise.weight, padding=1, groups=4)).clamp(0, 6)
    y = net.norm2(nn.functional.conv2d(y, net.pointwise.weight)).clamp(0, 6)
    torch.testing.assert_close(net(x), y)
    assert y.min() == 0 and y.max() == 6


def test_unknown_norm():
    with pytest.raises(ConfigError, match="batch, frozen, group, none, not 'layer'"):
        depthwise_separable(4, 8, norm="layer")
