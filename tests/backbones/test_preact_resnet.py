import re
from functools import partial

import pytest
import torch
from torch import nn

from tests.backbones.torchvision_parity import lively_, logits_of, relative
from visionkit.backbones import preact_resnet
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.preact_resnet import PreactBlock, PreactBottleneck, PreactResNet
from visionkit.backbones.pretrained import load_weights
from visionkit.errors import ConfigError


def small(block=PreactBlock, norm: str = "batch", **options) -> PreactResNet:
    return PreactResNet(block, (1, 2, 1), norm=norm, **options)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
@pytest.mark.parametrize("block", [PreactBlock, PreactBottleneck])
def test_contract_of_a_small_one(block, norm):
    assert_is_backbone(small(block, norm))


@pytest.mark.parametrize("name", ["preact_resnet20", "wide_resnet16_4"])
def test_contract(name):
    assert_is_backbone(getattr(preact_resnet, name)())


@pytest.mark.parametrize("block", [PreactBlock, PreactBottleneck])
def test_contract_of_the_imagenet_form(block):
    net = PreactResNet(block, (1, 1, 2, 1), (8, 8, 16, 16), imagenet=True)
    assert list(net.stages) == ["c1", "c2", "c3", "c4", "c5"] and net.region_stages == ("c4",)
    assert [stage.stride for stage in net.stages.values()] == [2, 4, 8, 16, 32]
    assert_is_backbone(net)


def test_graphs():
    assert_compiles(small(), (32, 32))
    assert_exports(small(), (32, 32))


@pytest.mark.parametrize(
    ("name", "layers", "exact", "paper"),  # in millions as He et al. and Zagoruyko and Komodakis print them
    [
        ("preact_resnet20", 20, 272_282, None),
        ("preact_resnet56", 56, 855_578, None),
        ("preact_resnet110", 110, 1_730_522, 1.7),
        ("preact_resnet164", 164, 1_703_258, 1.7),
        ("wide_resnet28_10", 28, 36_479_194, 36.5),
        ("wide_resnet16_4", 16, 2_748_890, 2.7),
    ],
)
def test_parameter_counts(name, layers, exact, paper):
    with torch.device("meta"):
        net = getattr(preact_resnet, name)()
        whole = nn.ModuleList([net, net.new_classifier(10)])
    count = sum(p.numel() for p in whole.parameters())
    assert count == exact
    assert paper is None or count / 1e6 == pytest.approx(paper, abs=0.05)
    weighted = [m for n, m in whole.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and "shortcut" not in n]
    # a wide network's depth, 6n + 4, counts its three shortcuts and not the linear layer
    assert len(weighted) == (layers - 2 if name.startswith("wide") else layers)


def from_timms(key: str) -> str:
    """Key of timm's `resnetv2` -> ours."""
    key = re.sub(r"^stages\.(\d)\.blocks\.", lambda match: f"layer{int(match[1]) + 1}.", key)
    key = key.replace("stem.conv.", "conv1.").replace("downsample.conv.", "shortcut.").replace("head.fc.", "linear.")
    return re.sub(r"\bnorm(\d?)\.", r"bn\1.", key)


def timms(block: type[nn.Module], depths: tuple[int, ...], widths: tuple[int, ...]) -> nn.Module:
    """Timm's pre-activation network in the form for CIFAR, without its stem's strides."""
    from timm.layers import BatchNormAct2d, create_conv2d
    from timm.models.resnetv2 import ResNetV2

    theirs = ResNetV2(
        list(depths),
        tuple(width * block.expansion for width in widths),
        num_classes=10,
        stem_chs=16,
        basic=block is PreactBlock,
        bottle_ratio=1 / block.expansion,
        conv_layer=create_conv2d,
        norm_layer=partial(BatchNormAct2d, eps=1e-5),
    )
    theirs.stem = nn.Sequential()
    theirs.stem.add_module("conv", nn.Conv2d(3, 16, 3, padding=1, bias=False))
    return theirs


def assert_equals_timms(ours: PreactResNet, theirs: nn.Module, classes: int, size: int, tmp_path) -> None:
    theirs = lively_(theirs).eval()
    state = {from_timms(key): value for key, value in theirs.state_dict().items()}
    state["linear.weight"] = state["linear.weight"].flatten(1)  # theirs is a 1x1 convolution
    torch.save(state, tmp_path / "timm.pth")
    classifier = ours.eval().new_classifier(classes)
    assert not load_weights(ours, tmp_path / "timm.pth", classifier).unused
    images = torch.rand(2, 3, size, size)
    found, expected = logits_of(ours, classifier, images), theirs(images)
    assert expected.std() > 1e-3
    assert relative(found, expected) < 1e-5, relative(found, expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("block", "widths"), [(PreactBlock, (32, 64, 128)), (PreactBottleneck, (16, 32, 64))], ids=["wide", "bottleneck"]
)
def test_logits_equal_timms(block, widths, tmp_path):
    assert_equals_timms(PreactResNet(block, (2, 3, 2), widths), timms(block, (2, 3, 2), widths), 10, 32, tmp_path)


@torch.no_grad()
def test_logits_of_the_imagenet_form_equal_timms(tmp_path):
    import timm

    theirs = timm.create_model("resnetv2_50")
    assert_equals_timms(preact_resnet.preact_resnet50(), theirs, 1000, 64, tmp_path)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("block", [PreactBlock, PreactBottleneck])
def test_only_the_first_block_activates_what_passes_it(block, norm):
    """He et al. 2016, appendix; without a norm the ReLU must not write into what passes."""
    x = torch.randn(2, 16, 4, 4)
    for first, expected in ((True, x.relu()), (False, x)):
        net = block(16, 16 // block.expansion, 1, norm, first, 0.0).eval()
        last = net.conv2 if block is PreactBlock else net.conv3
        last.requires_grad_(False).weight.zero_()
        if last.bias is not None:
            last.bias.zero_()
        torch.testing.assert_close(net(x.clone()), expected, atol=1e-4, rtol=1e-4)


def test_the_first_block_of_a_network_is_its_only_first():
    kinds = [
        "raw" if block.shortcut is None else type(block.shortcut).__name__
        for block in preact_resnet.preact_resnet20().modules()
        if isinstance(block, PreactBlock)
    ]
    assert kinds == ["Identity", "raw", "raw", "Conv2d", "raw", "raw", "Conv2d", "raw", "raw"]


def test_the_last_norm_and_relu_are_the_tail_s():
    net = small().eval()
    maps = net(torch.rand(1, 3, 32, 32), ("c0", "c1", "c2"))
    assert (maps["c2"] >= 0).all() and (maps["c0"] < 0).any() and (maps["c1"] < 0).any()
    torch.testing.assert_close(net.tail_maps(maps["c1"]), maps["c2"])
    net.drop_tail(("c0", "c1"))
    assert not any(key.startswith(("layer3.", "bn.")) for key in net.state_dict())


def test_dropout_stands_in_wide_blocks_only_and_drops_in_training_only():
    net = preact_resnet.wide_resnet16_4(dropout=0.3)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.3] * 6
    x = torch.rand(2, 16, 8, 8)
    torch.testing.assert_close(net.eval().layer1(x), net.layer1(x))
    net.train()
    assert not torch.equal(net.layer1(x), net.layer1(x))


def test_an_unknown_norm():
    with pytest.raises(ConfigError, match="batch, frozen, group, none"):
        preact_resnet.preact_resnet20(norm="layer")
