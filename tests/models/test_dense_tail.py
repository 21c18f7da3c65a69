"""The tail over whole pictures: as many cells as the picture has strides, and equal to the tail on a window."""

import pytest
import torch

from visionkit.backbones.alexnet import alexnet
from visionkit.backbones.googlenet import googlenet
from visionkit.backbones.resnet import resnet18
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.models.dense_tail import covering_tail, deepest_map, skip_stages, tail_margin


def test_margins_by_hand():
    """VGG: fc6 sees 3 cells of pool5, each 2 of c5; zeros for the 4 that it loses. A ResNet's tail is padded."""
    assert tail_margin(vgg11_bn_narrow()) == 4
    assert tail_margin(resnet18()) == 0


@pytest.mark.parametrize("side", [32, 96, 160])
def test_the_maps_cover_the_picture(side):
    net = vgg11_bn_narrow().eval()
    region = net(torch.zeros(1, 3, side, side), ("c5",))["c5"]
    assert covering_tail(net, region, tail_margin(net)).shape[-2:] == (side // 32, side // 32)


def test_the_inside_is_the_tail_on_its_window():
    """Cell (1, 1) of a map of 3 x 3 cells sees exactly the network's own window."""
    torch.manual_seed(0)
    net = vgg11_bn_narrow(dropout=0.0).eval()
    region = torch.randn(1, 128, 6, 6)
    dense = covering_tail(net, region, 4)
    assert dense.shape == (1, 256, 3, 3)
    torch.testing.assert_close(dense[:, :, 1, 1], net.tail(net.pool(region)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("net", "stages"),
    [
        (vgg11_bn_narrow, ["pool4", "pool3"]),  # as the paper has them
        (resnet18, ["c4", "c3"]),
        (googlenet, ["inception4a", "inception3a"]),
        (alexnet, ["conv3", "c3"]),
    ],
)
def test_skips_by_default(net, stages):
    assert skip_stages(net(), 32, 8) == stages


def test_a_deepest_map_of_ones_own():
    assert deepest_map(resnet18(), "c5") == (512, 32)
    assert deepest_map(resnet18(output_stride=8), "tail") == (512, 8)
    assert deepest_map(vgg11_bn_narrow(), "tail") == (256, 32)
