"""What can be deleted in every kind of network, what is left of it, and that nothing stays behind."""

import copy

import pytest
import torch
from torch import nn

from visionkit.backbones import cifar_resnet, mobilenet_v2, preact_resnet, resnet
from visionkit.backbones.cifar_resnet import CifarResNet
from visionkit.backbones.efficientnet import MBConv
from visionkit.backbones.lenet import lenet_relu
from visionkit.backbones.preact_resnet import PreactBlock, PreactBottleneck, PreactResNet
from visionkit.backbones.resnet import BasicBlock, Bottleneck, ResNet
from visionkit.backbones.shufflenet_v1 import ShuffleUnit
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError
from visionkit.explain.lesions import deletable, deleted, random_groups, residual_blocks, sequential_layers
from visionkit.models.build import classifier


def on_meta(make):
    with torch.device("meta"):
        return make()


@pytest.mark.parametrize(
    ("make", "count", "changing"),
    [
        (cifar_resnet.resnet20, 9, 2),
        (cifar_resnet.resnet56, 27, 2),
        (resnet.resnet18, 8, 3),
        (resnet.resnet50, 16, 4),  # the first group too widens its maps
        (preact_resnet.preact_resnet20, 9, 2),
        (preact_resnet.preact_resnet50, 16, 4),
        (mobilenet_v2.mobilenet_v2, 10, 0),  # others have no shortcut at all
        (cifar_resnet.plain20, 0, 0),
        (lenet_relu, 0, 0),
    ],
)
def test_blocks_are_found(make, count, changing):
    blocks = residual_blocks(on_meta(make))
    assert len(blocks) == count and sum(not block.keeps_shape for block in blocks) == changing
    assert [block.path for block in blocks[:2]] == sorted(block.path for block in blocks[:2]), (
        "in the order of execution"
    )


@pytest.mark.parametrize(
    ("make", "expected", "norm"),
    [
        (cifar_resnet.plain20, 16, True),  # all but the stem and the first of two groups
        (lambda: VGG((1, 1, 2, 2, 2), widths=(4, 4, 8, 8, 8), hidden=8, window=1), 6, False),
        (lambda: VGG((2, 1, 1, 1, 1), norm="batch", widths=(4, 4, 8, 8, 8), hidden=8, window=1), 4, True),
        (cifar_resnet.resnet20, 0, False),  # those inside of blocks are no layers of a sequence
        (lenet_relu, 0, False),
    ],
)
def test_layers_are_found(make, expected, norm):
    model = on_meta(make)
    layers = sequential_layers(model)
    assert len(layers) == expected
    for layer in layers:
        conv, *after = (model.get_submodule(path) for path in layer.skipped)
        assert isinstance(conv, nn.Conv2d) and conv.in_channels == conv.out_channels and len(after) == norm
        assert all(isinstance(module, nn.BatchNorm2d) for module in after)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BasicBlock(4, 4, 1, "batch"),
        lambda: Bottleneck(16, 4, 1, "batch"),
        lambda: PreactBlock(4, 4, 1, "batch", False, 0.0),
        lambda: PreactBottleneck(16, 4, 1, "batch", False, 0.0),
        lambda: MBConv(4, 4, 2, 3, 1, "batch", 0.0),
        lambda: mobilenet_v2.InvertedResidual(4, 4, 1, 2, "batch"),
        lambda: ShuffleUnit(16, 16, 2),
        lambda: cifar_resnet.CifarBlock(4, 4, 1, "batch", True, 0.0),
    ],
)
@torch.no_grad()
def test_a_block_that_keeps_the_shape_becomes_the_identity(make):
    model = nn.Sequential(make()).eval()
    channels = next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    x = torch.rand(2, channels, 6, 6)  # as after a ReLU
    (block,) = residual_blocks(model)
    assert block.keeps_shape
    with deleted(model, [block]):
        assert torch.equal(model(x), x)
    assert not torch.allclose(model(x), x)


@torch.no_grad()
def test_a_block_that_changes_the_shape_becomes_its_shortcut():
    basic, cifar = BasicBlock(4, 8, 2, "batch").eval(), cifar_resnet.CifarBlock(4, 8, 2, "batch", True, 0.0).eval()
    preact, x = PreactBlock(4, 8, 2, "batch", False, 0.0).eval(), torch.rand(2, 4, 6, 6)
    expected = (basic.downsample(x).relu(), cifar.shortcut(x), preact.shortcut(preact.bn1(x).relu()))
    for block, left in zip((basic, cifar, preact), expected, strict=True):
        model = nn.Sequential(block)
        (part,) = residual_blocks(model)
        assert not part.keeps_shape
        with deleted(model, [part]):
            torch.testing.assert_close(model(x), left)


@torch.no_grad()
def test_a_deleted_layer_of_a_sequence_is_skipped_with_its_norm():
    net = CifarResNet(8, shortcuts=False).eval()
    images = torch.randn(2, 3, 16, 16)
    layers = {part.path: part for part in sequential_layers(net)}
    with deleted(net, [layers["plain1.0.conv1"], layers["plain1.0.conv2"]]):
        found = net(images, ("c0",))["c0"]
    torch.testing.assert_close(found, net.relu(net.bn1(net.conv1(images))))


@torch.no_grad()
def test_all_blocks_of_a_network_deleted_leave_one_path():
    net = PreactResNet(PreactBlock, (2, 1), (16, 16)).eval()
    images = torch.randn(2, 3, 16, 16)
    parts = residual_blocks(net)
    with deleted(net, parts):
        found = net(images, ("c1",))["c1"]
    first, last = net.layer1[0], net.layer2[0]
    x = net.conv1(images)
    x = first.relu1(first.bn1(x))
    x = last.shortcut(last.relu1(last.bn1(x)))
    torch.testing.assert_close(found, net.relu(net.bn(x)))


@torch.no_grad()
def test_nothing_stays_behind():
    model = classifier(ResNet(BasicBlock, (1, 1, 1, 1), (4, 4, 8, 8)), 3).eval()
    weights, images = copy.deepcopy(model.state_dict()), torch.randn(2, 3, 64, 64)
    before = model.scores(images)
    with pytest.raises(RuntimeError, match="on the way"), deleted(model, deletable(model)):
        assert not torch.allclose(model.scores(images), before)
        raise RuntimeError("on the way")
    with deleted(model, []):
        assert torch.equal(model.scores(images), before)
    assert torch.equal(model.scores(images), before)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_take_the_paths_that_are_left():
    net = CifarResNet(8).eval()
    (block,) = [part for part in residual_blocks(net) if part.path == "layer1.0"]
    with deleted(net, [block]):
        net(torch.randn(1, 3, 16, 16), ("c0",))["c0"].sum().backward()
    grad = net.layer1[0].conv1.weight.grad
    assert grad is None or not grad.any()
    assert net.conv1.weight.grad.abs().sum() > 0


def test_groups_are_drawn_by_the_seed():
    groups = random_groups(9, (2, 5, 9, 12), 4, seed=3)
    assert [len(group) for group in groups] == [2] * 4 + [5] * 4 + [9] * 4, "none of twelve"
    assert all(list(group) == sorted(set(group)) and group[-1] < 9 for group in groups)
    assert groups == random_groups(9, (2, 5, 9, 12), 4, seed=3) != random_groups(9, (2, 5, 9, 12), 4, seed=4)
    assert len(set(groups[:4])) > 1 and random_groups(0, (1,), 2, 0) == []


def test_nothing_to_delete():
    with pytest.raises(ConfigError, match="LeNet has no residual block"):
        deletable(lenet_relu())
