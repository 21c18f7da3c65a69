import pytest
import torch
from torch import nn

from visionkit.backbones.box_tails import TwoLayerTail
from visionkit.backbones.fpn import FPN, build_fpn
from visionkit.backbones.freeze import freeze
from visionkit.backbones.resnet import basic_resnet, resnet50
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError


def test_up_to_c2_is_stem_and_first_group():
    net = basic_resnet()
    frozen = freeze(net, "c2")
    assert frozen == [name for name, _ in net.named_parameters() if name.startswith(("conv1.", "bn1.", "layer1."))]
    assert {name for name, p in net.named_parameters() if not p.requires_grad} == set(frozen)


def test_equals_torchvisions_three_trainable_layers():
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    with torch.device("meta"):
        ours = build_fpn(resnet50, norm="frozen")
        theirs = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    expected = [name for name, p in theirs.named_parameters() if not p.requires_grad]
    assert len(expected) == 11
    assert freeze(ours, "c2") == expected


def test_frozen_batch_norms_keep_their_statistics_through_training():
    net = basic_resnet().train()
    freeze(net, "c2")
    assert net.training
    assert not net.bn1.training
    assert net.layer2[0].bn1.training
    for _ in range(2):
        net.train()
        net(torch.rand(2, 3, 64, 64) + 3, ("c3",))
    assert net.bn1.num_batches_tracked == 0
    assert not net.bn1.running_mean.any()
    assert net.layer2[0].bn1.num_batches_tracked == 2


def test_unfreezing_needs_no_more_than_requires_grad():
    net = basic_resnet()
    freeze(net, "c5")
    net.requires_grad_(True)
    assert all(m.training for m in net.train().modules() if isinstance(m, nn.BatchNorm2d))


def test_through_a_pyramid():
    net = FPN(basic_resnet(), channels=8, tail=TwoLayerTail(8, 7, 8))
    frozen = freeze(net, "c2")
    assert frozen and all(name.startswith(("body.conv1.", "body.bn1.", "body.layer1.")) for name in frozen)
    net.train()
    assert not net.body.bn1.training
    assert net.body.layer4[0].bn1.training
    sum(m.sum() for m in net(torch.rand(2, 3, 64, 64), ("p2", "p6")).values()).backward()
    assert net.body.conv1.weight.grad is None
    assert net.body.layer2[0].conv1.weight.grad is not None


def test_of_a_vgg():
    net = VGG((1, 1, 2, 2, 2), widths=(8,) * 5, hidden=8)
    assert freeze(net, "pool2") == ["features.0.weight", "features.0.bias", "features.3.weight", "features.3.bias"]


def test_unknown_stage():
    with pytest.raises(ConfigError, match="'layer1'.*c1, c2, c3, c4, c5"):
        freeze(basic_resnet(), "layer1")
