import pytest
import torch
from torch import nn

from visionkit.backbones import resnet
from visionkit.backbones.contract import assert_is_backbone
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.errors import ConfigError

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


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


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_shapes_are_torchvisions(name):
    from torchvision import models

    with torch.device("meta"):
        ours, theirs = getattr(resnet, name)(), models.get_model(name, weights=None)
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    found = {key: value.shape for key, value in ours.state_dict().items()}
    assert list(found) == list(expected)
    assert found == expected
    own = sum(p.numel() for p in ours.parameters()) + sum(p.numel() for p in ours.new_classifier(1000).parameters())
    assert own == sum(p.numel() for p in theirs.parameters())


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
    "name",
    [
        "resnet18",
        "resnet34",
        "resnet50",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet101", "resnet152")),
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
