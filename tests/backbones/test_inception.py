import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visionkit.backbones.inception import ConvNormReLU, Inception, NaiveInception
from visionkit.errors import ConfigError


def multiply_adds(module: nn.Module, *shape: int) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        module.to("meta")(torch.empty(shape))
    return counter.get_total_flops() // 2  # it counts two per multiply-add


def test_naive_module_on_28x28x256():
    net = NaiveInception(256, 128, 192, 96)
    assert net.out_channels == 672
    assert net(torch.rand(1, 256, 28, 28)).shape == (1, 672, 28, 28)
    assert multiply_adds(net, 1, 256, 28, 28) == 854_196_224  # "854M" of the lectures


def test_bottlenecks_of_64_on_28x28x256():
    net = Inception(256, 128, 64, 192, 64, 96, 64)
    assert net.out_channels == 480
    assert net(torch.rand(1, 256, 28, 28)).shape == (1, 480, 28, 28)
    counts = {
        "1x1 128": multiply_adds(net.branch1, 1, 256, 28, 28),
        "reduce 3x3": multiply_adds(net.branch2[0], 1, 256, 28, 28),
        "3x3 192": multiply_adds(net.branch2[1], 1, 64, 28, 28),
        "reduce 5x5": multiply_adds(net.branch3[0], 1, 256, 28, 28),
        "5x5 96": multiply_adds(net.branch3[1], 1, 64, 28, 28),
        "projection": multiply_adds(net.branch4, 1, 256, 28, 28),
    }
    whole = multiply_adds(net, 1, 256, 28, 28)
    assert whole == sum(counts.values()) == 271_351_808
    # The lectures' six terms are these, their sum of "358M" has the 3x3's in it twice.
    assert round((whole + counts["3x3 192"]) / 1e6) == 358


def test_naive_module_is_its_four_branches():
    net = NaiveInception(3, 2, 4, 5).eval()
    x = torch.randn(2, 3, 9, 7)
    ones, threes, fives, pooled = net(x).split((2, 4, 5, 3), dim=1)
    for branch, y, size in ((net.branch1, ones, 1), (net.branch2, threes, 3), (net.branch3, fives, 5)):
        expected = nn.functional.conv2d(x, branch.conv.weight, branch.conv.bias, padding=size // 2).relu()
        torch.testing.assert_close(y, expected)
    torch.testing.assert_close(pooled, nn.functional.max_pool2d(x, 3, 1, 1))


@pytest.mark.parametrize("size", [3, 5])
def test_third_branch(size):
    net = Inception(8, 2, 3, 4, 5, 6, 7, fives_size=size)
    assert net.branch3[1].conv.weight.shape == (6, 5, size, size)
    assert net(torch.rand(1, 8, 6, 7)).shape == (1, 2 + 4 + 6 + 7, 6, 7)


@pytest.mark.parametrize(("norm", "biased"), [("none", True), ("batch", False), ("frozen", False), ("group", False)])
def test_norms(norm, biased):
    net = ConvNormReLU(3, 8, 3, norm=norm)
    assert (net.conv.bias is not None) == biased
    if norm in ("batch", "frozen"):
        assert net.bn.eps == 0.001
    assert net(torch.randn(2, 3, 5, 5)).min() >= 0


def test_unknown_norm():
    with pytest.raises(ConfigError, match="batch, frozen, group, none, not 'layer'"):
        Inception(8, 2, 3, 4, 5, 6, 7, norm="layer")
