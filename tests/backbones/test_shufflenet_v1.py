import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visionkit.backbones.shufflenet_v1 import ShuffleUnit, channel_shuffle
from visionkit.errors import ConfigError


@pytest.mark.parametrize(("channels", "groups"), [(12, 3), (12, 4), (8, 2), (6, 1), (6, 6)])
def test_channel_shuffle(channels, groups):
    x = torch.randn(2, channels, 3, 4)
    y = channel_shuffle(x, groups)
    assert torch.equal(y, x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2))
    assert torch.equal(channel_shuffle(y, channels // groups), x), "the table's columns and rows exchanged undo it"


def test_channel_shuffle_of_the_papers_figure():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)  # three groups of two
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
@pytest.mark.parametrize(("channels", "out", "stride"), [(48, 48, 1), (24, 48, 2)])
def test_shapes(channels, out, stride, norm):
    unit = ShuffleUnit(channels, out, 3, stride, norm)
    for height, width in ((8, 6), (7, 9)):
        y = unit(torch.randn(2, channels, height, width))
        assert y.shape == (2, out, -(-height // stride), -(-width // stride))
        assert y.min() >= 0


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_multiply_adds_of_sec_3_2(groups):
    channels, height, width = 384, 7, 5
    bottleneck = channels // 4
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ShuffleUnit(channels, channels, groups)(torch.empty(1, channels, height, width))
    expected = height * width * (2 * channels * bottleneck // groups + 9 * bottleneck)
    assert counter.get_total_flops() == 2 * expected  # two per multiply-add


def reach(unit: ShuffleUnit, groups: int) -> list[list[bool]]:
    """Whether output group i of the branch (the unit without its shortcut) depends on input group j."""
    unit.eval()
    unit.relu = nn.Identity()
    x = torch.randn(1, 48, 3, 3, dtype=torch.float64, requires_grad=True)
    table = []
    for part in (unit(x) - x).chunk(groups, dim=1):
        (gradient,) = torch.autograd.grad(part.square().sum(), x, retain_graph=True)
        table.append([bool(g.abs().max() > 1e-9) for g in gradient.chunk(groups, dim=1)])
    return table


def test_shuffle_mixes_groups(monkeypatch):
    unit = ShuffleUnit(48, 48, 3, norm="none").double()
    assert reach(unit, 3) == [[True] * 3] * 3
    monkeypatch.setattr("visionkit.backbones.shufflenet_v1.channel_shuffle", lambda x, groups: x)
    assert reach(unit, 3) == [[i == j for j in range(3)] for i in range(3)]


@torch.no_grad()
def test_shortcuts():
    for parameter in (unit := ShuffleUnit(24, 24, 2)).up.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 24, 6, 6)
    torch.testing.assert_close(unit.eval()(x), x.relu())  # (b): added
    y = ShuffleUnit(24, 48, 2, stride=2).eval()(x)
    torch.testing.assert_close(y[:, :24], nn.functional.avg_pool2d(x, 3, 2, 1).relu())  # (c): concatenated


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((24, 48, 2, 1), "24 to 48 at stride 1"),
        ((24, 24, 2, 2), "24 to 24 at stride 2"),
        ((48, 24, 2, 2), "48 to 24 at stride 2"),
        ((24, 48, 2, 3), "at stride 3"),
        ((24, 24, 5, 1), "divisible by 5 groups"),
        ((24, 50, 2, 2), "divisible by 2 groups"),
    ],
)
def test_units_that_do_not_exist(arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ShuffleUnit(*arguments)
