"""Truncated SVD of a detector's fully connected layers."""

import pytest
import torch
from region_pictures import TWO, pictures

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError
from visionkit.models.compress import LowRankLinear, linear_layers, low_rank


def vgg() -> VGG:
    torch.manual_seed(0)
    return VGG((1, 1, 1, 1, 1), widths=(4, 4, 8, 8, 8), hidden=32)


def test_nearly_full_rank_changes_little_and_a_low_one_changes_more():
    windows = torch.randn(5, 8, 7, 7)
    whole = vgg().eval().tail(windows)
    errors = []
    for ranks in ((31, 31), (16, 8), (2, 2)):
        net = vgg().eval()
        low_rank(net, ranks, fit=True)
        assert isinstance(net.classifier[0], LowRankLinear) and net.classifier[0].first.weight.shape == (ranks[0], 392)
        errors.append(float((net.tail(windows) - whole).detach().norm() / whole.detach().norm()))
    assert errors[0] < 0.2 < errors[2] and errors[0] < errors[1] < errors[2]


def test_a_layer_that_has_the_rank_is_kept_exactly():
    net = vgg().eval()
    with torch.no_grad():
        for name in linear_layers(net):
            layer = net.get_submodule(name)
            layer.weight.copy_(torch.randn(layer.out_features, 3) @ torch.randn(3, layer.in_features) * 0.01)
            layer.bias.normal_()
    windows = torch.randn(5, 8, 7, 7)
    whole = net.tail(windows)
    low_rank(net, (3, 3), fit=True)
    assert torch.allclose(net.tail(windows), whole, atol=1e-4)


def test_a_fresh_one_takes_the_state_of_a_fitted_one():
    fitted, fresh = vgg().eval(), vgg().eval()
    low_rank(fitted, (4, 4), fit=True)
    low_rank(fresh, (4, 4))
    fresh.load_state_dict(fitted.state_dict())
    windows = torch.randn(2, 8, 7, 7)
    assert torch.equal(fresh.tail(windows), fitted.tail(windows))


def test_what_it_refuses():
    with pytest.raises(ConfigError, match=r"has 2 fully connected layers \(classifier.0, classifier.3\)"):
        low_rank(vgg(), (4,))
    with pytest.raises(ConfigError, match="none"):
        low_rank(basic_resnet(), (4,))
    with pytest.raises(ConfigError, match="from 1 to 31"):
        low_rank(vgg(), (32, 4))


def test_a_pyramid_s_tail_too():
    net = build_fpn(basic_resnet, norm="group", names=["c3", "c4", "c5"], channels=16, hidden=32, extra=None)
    assert linear_layers(net) == ["box_tail.fc6", "box_tail.fc7"]
    low_rank(net, (8, 8), fit=True)
    assert net.tail(torch.randn(3, 16, 7, 7)).shape == (3, 32)


def test_fast_rcnn_with_ranks_trains():
    from dataclasses import replace

    from region_pictures import images_of, tiled

    from visionkit.models.build import fast_rcnn

    batch = pictures()
    batch = replace(batch, proposals=tiled(images_of(batch)))
    model = fast_rcnn(vgg(), 3, regions=8, ranks=(8, 4))
    sum(model(batch, TWO).values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
