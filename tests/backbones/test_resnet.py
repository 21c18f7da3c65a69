import pytest
import torch
from torch import nn

from tests.backbones.torchvision_parity import assert_equals_torchvision
from visionkit.backbones import imagenet, resnet, resnext
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.backbones.resnet import ResNet
from visionkit.backbones.resnet_blocks import BasicBlock, Bottleneck
from visionkit.errors import ConfigError

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
COUNTS = {  # torchvision's metadata
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}


def torchvision_net(name: str) -> nn.Module:
    """Random weights and random statistics, tame enough for logits of order one."""
    from torchvision import models

    net = models.get_model(name, weights=None).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(module.weight, 0.4, 0.6)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return net


@pytest.mark.parametrize("name", COUNTS)
def test_keys_and_shapes_are_torchvisions(name):
    from torchvision import models

    with torch.device("meta"):
        ours = getattr(resnet if name in NAMES else resnext, name)()
        theirs = models.get_model(name, weights=None)
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    found = {key: value.shape for key, value in ours.state_dict().items()}
    assert list(found) == list(expected)
    assert found == expected
    own = sum(p.numel() for p in ours.parameters()) + sum(p.numel() for p in ours.new_classifier(1000).parameters())
    assert own == sum(p.numel() for p in theirs.parameters()) == COUNTS[name]
    assert ours.weights_url == imagenet.URLS[name] == models.get_model_weights(name).IMAGENET1K_V1.url


@torch.no_grad()
@pytest.mark.parametrize("norm", ["batch", "frozen"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_logits_equal_torchvisions(name, norm):
    theirs = torchvision_net(name)
    ours = getattr(resnet, name)(norm=norm).eval()
    classifier = ours.new_classifier(1000)
    state = theirs.state_dict()
    classifier.linear.load_state_dict({"weight": state.pop("fc.weight"), "bias": state.pop("fc.bias")})
    ours.load_state_dict(state)
    images = torch.rand(1, 3, 224, 224)
    windows = ours.pool(ours(images, ("c4",))["c4"])  # (1, C, 14, 14)
    assert windows.shape[2:] == (ours.window, ours.window)
    expected = theirs(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(classifier(ours.tail_maps(windows)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("groups", "width_per_group"), [(32, 4), (1, 128)], ids=["as resnext50_32x4d", "as wide_resnet50_2"]
)
def test_groups_and_widths_are_torchvisions(groups, width_per_group, tmp_path):
    from torchvision.models.resnet import Bottleneck as TheirBottleneck
    from torchvision.models.resnet import ResNet as TheirResNet

    theirs = TheirResNet(TheirBottleneck, [1, 2, 1, 1], groups=groups, width_per_group=width_per_group)
    ours = ResNet(Bottleneck, (1, 2, 1, 1), groups=groups, width_per_group=width_per_group)
    assert_equals_torchvision(ours, theirs, tmp_path, size=64)


def test_resnext50_equals_torchvisions(tmp_path):
    from torchvision import models

    theirs = models.get_model("resnext50_32x4d", weights=None)
    assert_equals_torchvision(resnext.resnext50_32x4d(), theirs, tmp_path, size=64)


@pytest.mark.parametrize("options", [{"groups": 4, "width_per_group": 16}, {"width_per_group": 128}])
def test_contract_of_narrow_bottlenecks(options):
    assert_is_backbone(ResNet(Bottleneck, (1, 1, 1, 1), (16, 16, 32, 32), **options))


@pytest.mark.parametrize("norm", ["frozen", "group", "none"])
def test_contract_of_narrow_grouped_bottlenecks_with_every_norm(norm):
    assert_is_backbone(ResNet(Bottleneck, (1, 1, 1, 1), (16, 16, 32, 64), norm, groups=4, width_per_group=16))


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet34", "resnet101", "resnet152")),
    ],
)
def test_contract(name):
    assert_is_backbone(getattr(resnet, name)())


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
def test_contract_of_the_narrow_trunk_with_every_norm(norm):
    net = resnet.basic_resnet(norm=norm)
    assert [stage.channels for stage in net.stages.values()] == [32, 32, 64, 128, 256]
    assert [stage.stride for stage in net.stages.values()] == [2, 4, 8, 16, 32]
    assert_is_backbone(net)


def test_frozen_replaces_every_batch_norm():
    with torch.device("meta"):
        net = resnet.resnet50(norm="frozen")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert sum(isinstance(m, FrozenBatchNorm2d) for m in net.modules()) == 53


def test_stride_in_1x1_is_a_stride_earlier_with_the_same_keys():
    ours, msra = (
        resnet.ResNet(Bottleneck, (1, 1, 1, 1), (8,) * 4),
        ResNet(Bottleneck, (1, 1, 1, 1), (8,) * 4, stride_in_1x1=True, std=(1 / 255,) * 3),
    )
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in msra.state_dict().items()}
    assert msra.std == (1 / 255,) * 3 and msra.mean == ours.mean and ours.std == (0.229, 0.224, 0.225)
    strides = [(g[0].conv1.stride, g[0].conv2.stride) for g in (msra.layer1, msra.layer2, msra.layer3, msra.layer4)]
    assert strides == [((1, 1), (1, 1))] + [((2, 2), (1, 1))] * 3
    block, x = msra.layer2[0].eval(), torch.rand(1, 32, 9, 12)
    every_other = x[:, :, ::2, ::2]  # a strided 1x1 convolution sees no more
    unstrided = Bottleneck(32, 8, 1, "batch").eval()
    unstrided.downsample = nn.Sequential(nn.Conv2d(32, 32, 1, bias=False), nn.BatchNorm2d(32))
    unstrided.load_state_dict(block.state_dict())
    torch.testing.assert_close(block(x), unstrided.eval()(every_other))
    assert_is_backbone(msra)


def test_a_wrong_std_and_weights_of_the_other_form():
    with torch.device("meta"):
        for std in ((1, 2), (0.2, 0.2, 0.0)):
            with pytest.raises(ConfigError, match="three numbers above 0"):
                resnet.resnet50(std=std)
        with pytest.raises(ConfigError, match="no ImageNet weights are published"):
            resnet.resnet50("imagenet", stride_in_1x1=True)


def test_dilation_equals_torchvisions_but_for_the_first_block():
    from torchvision.models.resnet import Bottleneck as Theirs
    from torchvision.models.resnet import ResNet as TheirNet

    ours = ResNet(Bottleneck, (1, 1, 1, 3), dilation=2).eval()
    theirs = TheirNet(Theirs, [1, 1, 1, 3], replace_stride_with_dilation=[False, False, True]).eval()
    first = theirs.layer4[0].conv2  # torchvision dilates it with the group before; detectron2 with its own
    first.dilation, first.padding = (2, 2), (2, 2)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 96)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
    torch.testing.assert_close(ours(images, ("c5",))["c5"], expected)
    assert expected.shape == (1, 2048, 4, 6) and ours.stages["c5"].stride == 16 and ours.dense_stride == 1
    assert_is_backbone(ResNet(Bottleneck, (1, 1, 1, 1), (8,) * 4, dilation=2))


def test_zero_init_residual_makes_blocks_their_shortcuts():
    net = resnet.basic_resnet(zero_init_residual=True, depths=(2, 1, 1, 1)).eval()
    x = torch.rand(1, 32, 8, 8)
    torch.testing.assert_close(net.layer1(x), x)
    assert not torch.equal(resnet.basic_resnet().eval().layer1(x), x)


def test_c5_is_the_tail_over_the_whole_map():
    net = resnet.basic_resnet().eval()
    maps = net(torch.rand(1, 3, 70, 90), ("c4", "c5"))
    torch.testing.assert_close(net.dense_tail(maps["c4"]), maps["c5"])


def test_channels_last_is_kept():
    net = resnet.basic_resnet().eval().to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    assert net(images, ("c4",))["c4"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("names", "left"), [(("c2", "c3"), 3), (("c1",), 1), (("c5", "c3"), 5)])
def test_drop_tail_leaves_what_the_names_need(names, left):
    net = resnet.basic_resnet().eval()
    images = torch.rand(1, 3, 64, 64)
    before = net(images, names)
    net.drop_tail(names)
    assert list(net.stages) == ["c1", "c2", "c3", "c4", "c5"][:left]
    assert list(net.parts()) == list(net.stages)
    torch.testing.assert_close(net(images, names), before)
    assert any(key.startswith("layer4.") for key in net.state_dict()) == ("c5" in names)


def test_drop_tail_of_an_unknown_stage():
    with pytest.raises(ConfigError, match="'c9'.*c1, c2, c3, c4, c5"):
        resnet.basic_resnet().drop_tail(("c9",))


def test_graphs():
    net = ResNet(Bottleneck, (1, 1, 1, 1), (8, 8, 8, 8), groups=2, width_per_group=32, squeeze_excite=True)
    assert_compiles(net)
    assert_exports(net)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_excitation_and_rates_start_at_nothing(block):
    """Options that are off leave neither a key nor a layer."""
    net = block(16, 16, 1, "batch")
    assert isinstance(net.se, nn.Identity) and isinstance(net.drop_path, nn.Identity)
    assert not any(key.startswith(("se.", "drop_path.")) for key in net.state_dict())


@pytest.mark.parametrize("build", [resnet.resnet18, resnext.resnext50_32x4d, resnext.wide_resnet50_2])
def test_an_unknown_norm(build):
    with torch.device("meta"), pytest.raises(ConfigError, match="batch, frozen, group, none, not 'layer'"):
        build(norm="layer")
