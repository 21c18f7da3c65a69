import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.torchvision_parity import lively_, logits_of, relative
from visionkit.backbones.contract import assert_is_backbone
from visionkit.backbones.mobilenet_v1 import mobilenet_v1
from visionkit.errors import ConfigError


@pytest.mark.parametrize(
    ("width", "parameters", "printed", "multiply_adds"),
    [
        (1.0, 4_231_976, "4.2", 569),
        (0.75, 2_585_560, "2.6", 325),
        (0.5, 1_331_592, "1.3", 149),
        (0.25, 470_072, "0.5", 41),
    ],
)
def test_parameters_and_multiply_adds_of_tables_4_and_6(width, parameters, printed, multiply_adds):
    """Both in millions; the paper's figures are those printed."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = mobilenet_v1(width=width).eval()
        classifier = net.new_classifier(1000)
        logits_of(net, classifier, torch.empty(1, 3, 224, 224))
    found = sum(p.numel() for module in (net, classifier) for p in module.parameters())
    assert found == parameters
    assert f"{found / 1e6:.1f}" == printed
    assert round(counter.get_total_flops() / 2e6) == multiply_adds


def timm_key(key: str) -> str:
    """Our name of a tensor -> timm's: groups of blocks by stride there, one list here."""
    layer, name = re.fullmatch(r"features\.(\d+)\.(.+)", key).groups()
    if layer == "0":
        return name.replace("0.", "conv_stem.").replace("1.", "bn1.")
    starts = (1, 2, 4, 6, 12)  # our first layer of each of timm's groups
    group = sum(int(layer) >= start for start in starts) - 1
    for own, theirs in (("depthwise", "conv_dw"), ("pointwise", "conv_pw"), ("norm", "bn")):
        name = name.replace(own, theirs)
    return f"blocks.{group}.{int(layer) - starts[group]}.{name}"


@torch.no_grad()
@pytest.mark.parametrize(("name", "width"), [("mobilenetv1_100", 1.0), ("mobilenetv1_125", 1.25)])
def test_logits_equal_timms(name, width):
    import timm

    theirs = lively_(timm.create_model(name)).eval()
    ours = mobilenet_v1(width=width).eval()
    classifier = ours.new_classifier(1000)
    state = theirs.state_dict()
    classifier.linear.load_state_dict({key: state.pop(f"classifier.{key}") for key in ("weight", "bias")})
    ours.load_state_dict({key: state.pop(timm_key(key)) for key in ours.state_dict()})
    assert not state
    images = 20 * torch.randn(1, 3, 64, 64)
    assert ours(images, ("c1",))["c1"].max() == 6, "the test sees the 6 of ReLU6"
    expected = theirs(images)
    assert expected.std() > 1e-3
    assert relative(logits_of(ours, classifier, images), expected) < 1e-5


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
def test_contract_of_a_narrow_one(norm):
    net = mobilenet_v1(norm=norm, width=0.25)
    assert [tuple(stage) for stage in net.stages.values()] == [(16, 2), (32, 4), (64, 8), (128, 16), (256, 32)]
    assert_is_backbone(net)


def test_window_and_tail_of_a_224_image():
    with torch.device("meta"):
        net = mobilenet_v1()
        maps = net(torch.empty(1, 3, 224, 224), tuple(net.stages))
    assert [maps[name].shape[1:] for name in maps] == [
        (64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7),
    ]  # fmt: skip
    assert net.window == 14


@torch.no_grad()
def test_c5_is_the_tail_over_the_whole_map():
    net = mobilenet_v1(width=0.25).eval()
    maps = net(torch.rand(1, 3, 70, 90), ("c4", "c5"))
    torch.testing.assert_close(net.dense_tail(maps["c4"]), maps["c5"])


@torch.no_grad()
def test_first_weights_keep_the_signal_without_norms():
    maps = mobilenet_v1(norm="none").eval()(torch.randn(2, 3, 64, 64), ("c1", "c5"))
    assert 0.01 < maps["c5"].std() / maps["c1"].std() < 100


def test_bad_arguments():
    with pytest.raises(ConfigError, match="above 0.*not -1"):
        mobilenet_v1(width=-1)
    with pytest.raises(ConfigError, match="batch, frozen, group, none, not 'layer'"):
        mobilenet_v1(norm="layer")
    with pytest.raises(ConfigError, match="no ImageNet weights are published"):
        mobilenet_v1(weights="imagenet")
