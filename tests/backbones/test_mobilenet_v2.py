import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.torchvision_parity import assert_equals_torchvision, logits_of
from visionkit.backbones import imagenet
from visionkit.backbones.contract import assert_is_backbone
from visionkit.backbones.mobilenet_v2 import InvertedResidual, make_divisible, mobilenet_v2
from visionkit.errors import ConfigError


@pytest.mark.parametrize("width", [1.0, 0.35, 0.5, 0.75, 1.4])
def test_keys_and_shapes_are_torchvisions(width):
    from torchvision import models

    with torch.device("meta"):
        ours, theirs = mobilenet_v2(width=width), models.get_model("mobilenet_v2", weights=None, width_mult=width)
        classifier = ours.new_classifier(1000)
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("classifier.")}
    found = {key: value.shape for key, value in ours.state_dict().items()}
    assert list(found) == list(expected)
    assert found == expected
    assert classifier.linear.weight.shape == theirs.classifier[1].weight.shape


def test_parameters_and_multiply_adds():
    """Torchvision's metadata: 3,504,872 and 0.301 G; the paper's table 4 has 3.4M and 300M."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = mobilenet_v2().eval()
        classifier = net.new_classifier(1000).eval()
        logits_of(net, classifier, torch.empty(1, 3, 224, 224))
    assert sum(p.numel() for module in (net, classifier) for p in module.parameters()) == 3_504_872
    assert round(counter.get_total_flops() / 2e6) == 301


def test_logits_and_gradients_equal_torchvisions(tmp_path):
    from torchvision import models

    assert_equals_torchvision(mobilenet_v2(), models.get_model("mobilenet_v2", weights=None), tmp_path, size=64)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
def test_contract_of_a_narrow_one(norm):
    net = mobilenet_v2(norm=norm, width=0.35)
    assert [tuple(stage) for stage in net.stages.values()] == [(8, 2), (8, 4), (16, 8), (32, 16), (1280, 32)]
    assert_is_backbone(net)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(1, 8), (8, 8), (11.2, 16), (12, 16), (18, 24), (19.9, 24), (27, 32), (32, 32), (35.9, 40), (44.8, 48)],
)
def test_make_divisible(channels, expected):
    """11.2 and 18 and 27 have a nearer multiple below, which loses more than a tenth."""
    assert make_divisible(channels) == expected
    assert make_divisible(4 * channels, divisor=32) == 4 * expected


@torch.no_grad()
def test_bottlenecks_are_linear_and_all_else_is_relu6():
    net = mobilenet_v2(width=0.35).eval()
    maps = net(1000 * torch.randn(1, 3, 64, 64), tuple(net.stages))
    for name in ("c1", "c2", "c3", "c4"):
        assert maps[name].min() < 0, name
    assert maps["c5"].min() >= 0 and maps["c5"].max() <= 6
    assert net.features[0](1000 * torch.randn(1, 3, 64, 64)).max() == 6
    assert not any(isinstance(m, nn.ReLU) for m in net.modules())


@torch.no_grad()
def test_shortcut_only_where_the_shape_stays():
    x = torch.randn(1, 16, 6, 6)
    for out, stride, shortcut in ((16, 1, True), (16, 2, False), (24, 1, False)):
        block = InvertedResidual(16, out, stride, 6, "batch").eval()
        y = block(x) - block.conv(x)
        assert y.shape == (1, out, 6 // stride, 6 // stride)
        torch.testing.assert_close(y, x if shortcut else torch.zeros_like(y), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_c5_is_the_tail_over_the_whole_map():
    net = mobilenet_v2(width=0.35).eval()
    maps = net(torch.rand(1, 3, 70, 90), ("c4", "c5"))
    torch.testing.assert_close(net.dense_tail(maps["c4"]), maps["c5"])


@torch.no_grad()
def test_first_weights_keep_the_signal_without_norms():
    maps = mobilenet_v2(norm="none").eval()(torch.randn(2, 3, 64, 64), ("c1", "c5"))
    assert 0.01 < maps["c5"].std() / maps["c1"].std() < 100


def test_arguments():
    with torch.device("meta"):
        assert mobilenet_v2().weights_url == imagenet.URLS["mobilenet_v2"]
        assert mobilenet_v2(width=0.5).weights_url == ""
        assert mobilenet_v2(dropout=0.4).new_classifier(3).dropout.p == 0.4
    with pytest.raises(ConfigError, match="above 0.*not 0"):
        mobilenet_v2(width=0)
    with pytest.raises(ConfigError, match="batch, frozen, group, none, not 'layer'"):
        mobilenet_v2(norm="layer")
