"""The p4 network and its twin: the contract, what a quarter turn of the picture does, and their sizes."""

import copy

import pytest
import torch

from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.p4_cnn import p4_cnn, plain_cnn
from visionkit.errors import ConfigError
from visionkit.models.build import classifier
from visionkit.ops.p4_conv import turned


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
@pytest.mark.parametrize("make", [p4_cnn, plain_cnn])
def test_contract(make, norm):
    assert_is_backbone(make(norm=norm, width=8))
    if norm == "batch":
        assert_is_backbone(make(color="rgb"))


@pytest.mark.slow
def test_graphs():
    assert_compiles(p4_cnn(), (32, 32))
    assert_exports(p4_cnn(), (32, 32))


def spread_statistics(net):
    """Batch norms as after training: no two channels alike."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for part in (module.weight.data, module.bias.data, module.running_mean):
                part.add_(0.3 * torch.randn_like(part))
            module.running_var.mul_(0.5 + torch.rand_like(module.running_var))
    return net.eval()


@pytest.mark.parametrize("turns", [1, 2, 3])
@torch.no_grad()
def test_maps_turn_with_the_picture_and_scores_stay(turns):
    net = spread_statistics(p4_cnn()).double()
    model = classifier(net, 10).double().eval()
    images = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    of_turned, names = torch.rot90(images, turns, (2, 3)), tuple(net.stages)
    for stage, maps in net(images, names).items():
        expected = turned(maps.unflatten(1, (4, 10)), turns).flatten(1, 2)
        torch.testing.assert_close(net(of_turned, (stage,))[stage], expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(model.scores(of_turned), model.scores(images), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_twin_does_neither_and_mirrors_are_not_followed():
    plain, group = (classifier(spread_statistics(make()), 10).eval() for make in (plain_cnn, p4_cnn))
    images = torch.randn(4, 1, 32, 32)
    assert (plain.scores(torch.rot90(images, 1, (2, 3))) - plain.scores(images)).abs().max() > 1e-3
    assert (group.scores(images.flip(3)) - group.scores(images)).abs().max() > 1e-3


@torch.no_grad()
def test_sides_that_the_pools_cut_are_not_exact():
    model = classifier(spread_statistics(p4_cnn()), 10).eval()
    images = torch.randn(4, 1, 33, 33)
    assert (model.scores(torch.rot90(images, 1, (2, 3))) - model.scores(images)).abs().max() > 1e-4


def test_trains_in_the_memory_layout_of_a_run():
    net = p4_cnn().to(memory_format=torch.channels_last)
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(
        net.eval()(images, ("c2",)), copy.deepcopy(net).to(memory_format=torch.contiguous_format)(images, ("c2",))
    )


def test_as_many_weights_in_every_layer_but_the_first():
    group, plain = p4_cnn(), plain_cnn()
    counts = [[p.numel() for name, p in net.named_parameters() if "conv" in name] for net in (group, plain)]
    assert counts == [[90] + [3600] * 5, [180] + [3600] * 5]
    head = sum(p.numel() for p in group.new_classifier(10).parameters())
    assert sum(p.numel() for p in group.parameters()) + head == 90 + 5 * 3600 + 6 * 20 + 110


@pytest.mark.parametrize("make", [p4_cnn, plain_cnn])
def test_refused(make):
    with pytest.raises(ConfigError, match="width=0"):
        make(width=0)
    with pytest.raises(ConfigError, match="color=cmyk"):
        make(color="cmyk")
