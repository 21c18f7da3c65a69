import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.torchvision_parity import assert_equals_torchvision, logits_of
from visionkit.backbones import imagenet, shufflenet_v2
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.shufflenet_v2 import ShuffleNetV2, Unit
from visionkit.errors import ConfigError

# Torchvision's metadata: parameters, and multiply-adds in millions (table 5 of the paper: 41, 146, 299, 591 M).
SIZES = {
    "shufflenet_v2_x0_5": (1_366_792, 40),
    "shufflenet_v2_x1_0": (2_278_604, 145),
    "shufflenet_v2_x1_5": (3_503_624, 296),
    "shufflenet_v2_x2_0": (7_393_996, 583),
}


@pytest.mark.parametrize("name", SIZES)
def test_keys_shapes_and_figures_are_torchvisions(name):
    from torchvision import models

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ours, theirs = getattr(shufflenet_v2, name)().eval(), models.get_model(name, weights=None)
        classifier = ours.new_classifier(1000)
        logits_of(ours, classifier, torch.empty(1, 3, 224, 224))
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    found = {key: value.shape for key, value in ours.state_dict().items()}
    assert list(found) == list(expected)
    assert found == expected
    parameters = sum(p.numel() for module in (ours, classifier) for p in module.parameters())
    assert (parameters, round(counter.get_total_flops() / 2e6)) == SIZES[name]
    assert ours.weights_url == imagenet.URLS[name]


def test_logits_and_gradients_equal_torchvisions(tmp_path):
    from torchvision import models

    name = "shufflenet_v2_x0_5"
    theirs = models.get_model(name, weights=None)
    assert_equals_torchvision(getattr(shufflenet_v2, name)(), theirs, tmp_path, size=64)


@pytest.mark.parametrize("norm", ["batch", "frozen", "none"])
def test_contract(norm):
    net = shufflenet_v2.shufflenet_v2_x0_5(norm=norm)
    assert [tuple(stage) for stage in net.stages.values()] == [(24, 2), (24, 4), (48, 8), (96, 16), (1024, 32)]
    assert_is_backbone(net)


def test_contract_with_group_norm():
    """At x0.5 the groups have three channels, and bf16's rounding of so few values is beyond the contract's bound."""
    assert_is_backbone(shufflenet_v2.shufflenet_v2_x1_0(norm="group"))


def test_compiles_and_exports():
    assert_compiles(shufflenet_v2.shufflenet_v2_x0_5())
    assert_exports(shufflenet_v2.shufflenet_v2_x0_5())


@torch.no_grad()
def test_half_of_the_channels_pass_a_unit_untouched():
    unit = Unit(8, 8, 1, "batch").eval()
    x = torch.randn(1, 8, 5, 5)
    y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :4])  # shuffled: every other channel
    torch.testing.assert_close(y[:, 1::2], unit.branch2(x[:, 4:]))


@torch.no_grad()
def test_a_unit_of_stride_2_convolves_all_in_both_branches():
    unit = Unit(6, 16, 2, "batch").eval()
    x = torch.randn(1, 6, 7, 8)
    y = unit(x)
    assert y.shape == (1, 16, 4, 4)
    torch.testing.assert_close(y[:, 0::2], unit.branch1(x))
    torch.testing.assert_close(y[:, 1::2], unit.branch2(x))


@torch.no_grad()
def test_c5_is_the_tail_over_the_whole_map():
    net = shufflenet_v2.shufflenet_v2_x0_5().eval()
    maps = net(torch.rand(1, 3, 70, 90), ("c4", "c5"))
    torch.testing.assert_close(net.dense_tail(maps["c4"]), maps["c5"])


@torch.no_grad()
def test_channels_last_is_kept():
    net = shufflenet_v2.shufflenet_v2_x0_5().eval().to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    assert net(images, ("c4",))["c4"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("widths", [(24, 48, 96, 192), (24, 47, 96, 192, 1024)])
def test_bad_widths(widths):
    with pytest.raises(ConfigError, match="widths must be five numbers"):
        ShuffleNetV2(widths)


def test_unknown_norm():
    with pytest.raises(ConfigError, match="batch, frozen, group, none, not 'layer'"):
        shufflenet_v2.shufflenet_v2_x0_5(norm="layer")
