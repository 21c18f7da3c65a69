import pytest
import torch
from torch import nn

from tests.backbones.torchvision_parity import assert_equals_torchvision
from visionkit.backbones import efficientnet
from visionkit.backbones.compound_scaling import (
    EFFICIENTNET,
    compound_scale,
    scaled_depth,
    scaled_width,
)
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.drop_path import DropPath
from visionkit.backbones.efficientnet import EfficientNet, MBConv
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.backbones.pretrained import initialise
from visionkit.errors import ConfigError

NAMES = tuple(f"efficientnet_b{i}" for i in range(8))
PARAMETERS = (5_288_548, 7_794_184, 9_109_994, 12_233_232, 19_341_616, 30_389_784, 43_040_704, 66_347_960)


def narrow(weights: str | None = None, norm: str = "batch") -> EfficientNet:
    return initialise(EfficientNet(width=0.25, depth=0.3, norm=norm), weights)


@pytest.mark.parametrize(("name", "parameters"), list(zip(NAMES, PARAMETERS, strict=True)))
def test_all_sizes_are_torchvisions(name, parameters):
    from torchvision import models
    from torchvision.ops import StochasticDepth

    with torch.device("meta"):
        ours, theirs = getattr(efficientnet, name)(), models.get_model(name, weights=None)
        classifier = ours.new_classifier(1000)
    found = {key: value.shape for key, value in ours.state_dict().items()}
    published = {key: value.shape for key, value in theirs.state_dict().items()}
    assert published.pop("classifier.1.weight") == classifier.linear.weight.shape
    assert published.pop("classifier.1.bias") == classifier.linear.bias.shape
    assert list(found) == list(published)
    assert found == published
    assert sum(p.numel() for net in (ours, classifier) for p in net.parameters()) == parameters
    assert classifier.dropout.p == theirs.classifier[0].p
    norms, published_norms = ([m for m in net.modules() if isinstance(m, nn.BatchNorm2d)] for net in (ours, theirs))
    assert [(m.eps, m.momentum) for m in norms] == [(m.eps, m.momentum) for m in published_norms]
    rates = [block.stochastic_depth.p for block in theirs.modules() if hasattr(block, "stochastic_depth")]
    blocks = [block for block in ours.modules() if isinstance(block, MBConv)]
    assert len(rates) == len(blocks)
    assert sum(isinstance(m, StochasticDepth) for m in theirs.modules()) == len(rates)
    for rate, block in zip(rates, blocks, strict=True):  # a block without shortcut drops nothing, torchvision's neither
        found = block.drop_path.probability if isinstance(block.drop_path, DropPath) else 0
        assert found == pytest.approx(rate if block.has_shortcut else 0)


def test_logits_and_gradients_equal_torchvisions(tmp_path):
    from torchvision import models

    theirs = models.get_model("efficientnet_b0", weights=None)
    assert_equals_torchvision(efficientnet.efficientnet_b0(), theirs, tmp_path, size=64)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
def test_contract_of_a_narrow_one(norm):
    assert_is_backbone(narrow(norm=norm))


def test_contract():
    net = efficientnet.efficientnet_b0()
    assert [tuple(stage) for stage in net.stages.values()] == [(16, 2), (24, 4), (40, 8), (112, 16), (1280, 32)]
    assert_is_backbone(net, sizes=((64, 96),))


def test_compiles_and_exports():
    assert_compiles(narrow())
    assert_exports(narrow())


def test_an_image_of_224_has_one_window():
    with torch.device("meta"):
        net = narrow()
        assert net(torch.rand(1, 3, 224, 224), ("c4",))["c4"].shape[2:] == (net.window, net.window)


def test_published_settings_of_the_norms_stay_when_they_are_frozen():
    with torch.device("meta"):
        net = efficientnet.efficientnet_b5(norm="frozen")
    frozen = [m for m in net.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert frozen and all(m.eps == 1e-3 for m in frozen)


def test_drop_path_and_dropout_are_options():
    with torch.device("meta"):
        net = efficientnet.efficientnet_b0(dropout=0.0, drop_path=0.0)
    assert not any(isinstance(m, (DropPath, nn.Dropout)) for m in (*net.modules(), *net.new_classifier(3).modules()))
    with torch.device("meta"), pytest.raises(ConfigError, match="from 0 to 1, not 1.01"):
        efficientnet.efficientnet_b0(drop_path=1.01)


def test_a_block_without_its_branch_is_its_shortcut():
    block = MBConv(8, 8, expansion=6, kernel=3, stride=1, norm="batch", drop_path=0.0).eval()
    nn.init.zeros_(block.block[-1][1].weight)
    x = torch.rand(1, 8, 5, 5)
    assert torch.equal(block(x), x)
    assert block.block[2].fc1.out_channels == 2, "squeezed to a quarter of the block's input, not of its inner width"


def test_a_step_of_the_rule_doubles_the_cost():
    assert 1.9 < compound_scale(1).cost < 2.1
    for phi in (0.5, 2, 3):
        assert compound_scale(phi).cost == pytest.approx(compound_scale(1).cost ** phi)
    assert compound_scale(0) == (1, 1, 1)


@pytest.mark.parametrize(("name", "phi"), [("b0", 0), ("b2", 1), ("b3", 2)])
def test_published_sizes_follow_the_rule(name, phi):
    published, rule = EFFICIENTNET[name], compound_scale(phi)
    assert published.depth == round(rule.depth, 1)
    assert published.width == round(rule.width, 1)
    assert published.resolution == pytest.approx(224 * rule.resolution, rel=0.02)


def test_published_sizes_grow_in_every_direction():
    sizes = list(EFFICIENTNET.values())
    for smaller, larger in zip(sizes, sizes[1:], strict=False):
        assert all(a <= b for a, b in zip(smaller, larger, strict=True))
        assert smaller.resolution < larger.resolution
    with torch.device("meta"):
        assert [getattr(efficientnet, name)().resolution for name in NAMES] == [size.resolution for size in sizes]


def test_widths_are_divisible_and_depths_rounded_up():
    assert [scaled_width(32, width) for width in (1.0, 1.1, 1.2, 1.4)] == [32, 32, 40, 48]
    assert scaled_width(1280, 1.1) == 1408
    assert [scaled_depth(4, depth) for depth in (1.0, 1.1, 3.1)] == [4, 5, 13]


def test_initial_classifier():
    linear = narrow().new_classifier(25).linear
    assert 0.15 < linear.weight.abs().max() <= 0.2, "1 / sqrt(classes)"
    assert not linear.bias.any()


def test_feature_pyramid():
    assert_is_backbone(build_fpn(narrow, names=("c2", "c3", "c4", "c5"), channels=8, hidden=16))
    net = build_fpn(narrow, names=("c3", "c4"), channels=8, hidden=16)
    assert max(int(key.split(".")[2]) for key in net.state_dict() if key.startswith("body.features.")) == 5
    assert_is_backbone(net)


def test_unknown_norm():
    with pytest.raises(ConfigError, match="norm must be one of batch, frozen, group, none, not 'layer'"):
        efficientnet.efficientnet_b0(norm="layer")
