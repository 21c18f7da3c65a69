from functools import partial

import pytest
import torch
from torch import nn

from tests.backbones.torchvision_parity import lively_, logits_of, relative
from visionkit.backbones import se_resnet
from visionkit.backbones.contract import assert_is_backbone
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.backbones.pretrained import load_weights
from visionkit.backbones.resnet import ResNet
from visionkit.backbones.resnet_blocks import BasicBlock, Bottleneck
from visionkit.backbones.squeeze_excite import SqueezeExcite
from visionkit.errors import ConfigError


def timms(name: str) -> nn.Module:
    """The same network of timm's: keys are ours. By default it rounds the hidden width up to a multiple of 8; the
    paper's 64 / 16 = 4 are the only ones that differ."""
    import timm
    from timm.layers import SEModule

    return timm.create_model(name.replace("_", "", 1), block_args={"attn_layer": partial(SEModule, rd_divisor=1)})


def narrow(block: type[BasicBlock] | type[Bottleneck] = Bottleneck, norm: str = "batch", **options: int) -> ResNet:
    return ResNet(block, (1, 1, 1, 1), (16, 16, 32, 64), norm, squeeze_excite=True, **options)


@pytest.mark.parametrize(
    ("name", "exact", "paper"),  # Hu et al., table 1: 28.1M, 49.3M, 66.8M; 27.6M and 49.0M with groups
    [
        ("se_resnet18", 11_778_592, None),
        ("se_resnet34", 21_958_868, None),
        ("se_resnet50", 28_088_024, 28.1),
        ("se_resnet101", 49_326_872, 49.3),
        ("se_resnet152", 66_821_848, 66.8),
        ("se_resnext50_32x4d", 27_559_896, 27.6),
        ("se_resnext101_32x4d", 48_955_416, 49.0),
    ],
)
def test_parameter_counts_keys_and_shapes_are_timms(name, exact, paper):
    with torch.device("meta"):
        ours, theirs = getattr(se_resnet, name)(), timms(name)
        classifier = ours.new_classifier(1000)
    count = sum(p.numel() for p in nn.ModuleList([ours, classifier]).parameters())
    assert count == exact == sum(p.numel() for p in theirs.parameters())
    assert paper is None or round(count / 1e6, 1) == paper
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected


@torch.no_grad()
@pytest.mark.parametrize("name", ["se_resnet18", "se_resnet50", "se_resnext50_32x4d"])
def test_logits_equal_timms(name, tmp_path):
    theirs = lively_(timms(name)).eval()
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    ours = getattr(se_resnet, name)().eval()
    classifier = ours.new_classifier(1000)
    assert not load_weights(ours, tmp_path / "timm.pth", classifier).unused
    images = torch.rand(1, 3, 64, 64)
    found, expected = logits_of(ours, classifier, images), theirs(images)
    assert expected.std() > 1e-3
    assert relative(found, expected) < 1e-5, relative(found, expected)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
def test_contract_of_a_narrow_one(norm):
    assert_is_backbone(narrow(norm=norm))


@pytest.mark.parametrize("options", [{}, {"groups": 4, "width_per_group": 16}])
def test_contract_of_narrow_bottlenecks(options):
    assert_is_backbone(narrow(Bottleneck, **options))


def test_contract_of_narrow_basic_blocks():
    assert_is_backbone(narrow(BasicBlock))


def test_contract_of_the_smallest():
    assert_is_backbone(se_resnet.se_resnet18(), sizes=((64, 96),))


def test_excitation_stands_in_every_block_before_the_sum():
    with torch.device("meta"):
        net = se_resnet.se_resnet50()
    found = [module for module in net.modules() if isinstance(module, SqueezeExcite)]
    assert [(m.fc1.in_channels, m.fc1.out_channels) for m in found[::3]][:2] == [(256, 16), (512, 32)]
    assert len(found) == 16
    block = Bottleneck(16, 4, 1, "none", squeeze_excite=True)
    nn.init.zeros_(block.se.fc2.weight)
    nn.init.constant_(block.se.fc2.bias, -100)  # the branch is scaled by 0, the shortcut is not
    x = torch.rand(1, 16, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_frozen_replaces_every_batch_norm():
    with torch.device("meta"):
        net = se_resnet.se_resnet50(norm="frozen")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert sum(isinstance(module, FrozenBatchNorm2d) for module in net.modules()) == 53


def test_no_weights_are_published():
    with pytest.raises(ConfigError, match="no ImageNet weights"):
        se_resnet.se_resnet18(weights="imagenet")


def test_an_unknown_norm():
    with pytest.raises(ConfigError, match="batch, frozen, group, none"):
        se_resnet.se_resnet18(norm="layer")
