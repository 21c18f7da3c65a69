from functools import partial

import pytest
import torch
from torch import nn

from visionkit.backbones.squeeze_excite import SqueezeExcite


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, partial(nn.ReLU, inplace=True)])
def test_equals_torchvisions(activation):
    from torchvision.ops import SqueezeExcitation

    ours, theirs = SqueezeExcite(12, 3, activation), SqueezeExcitation(12, 3, activation=activation)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 12, 5, 4, requires_grad=True)
    found, expected = ours(x), theirs(x)
    torch.testing.assert_close(found, expected)
    mine, yours = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
    torch.testing.assert_close(mine, yours)


def test_every_channel_is_scaled_by_one_number_in_0_to_1():
    x = torch.rand(2, 8, 3, 3) + 0.5
    scale = SqueezeExcite(8, 2)(x) / x  # (2, 8, 3, 3)
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand_as(scale))
    assert (scale > 0).all() and (scale < 1).all()
    assert scale[0, :, 0, 0].std() > 0.001, "channels differ"


def test_the_scale_follows_from_the_means_alone():
    net = SqueezeExcite(8, 2, nn.SiLU)
    x = torch.rand(1, 8, 4, 4) + 0.5
    shuffled = x.flatten(2)[:, :, torch.randperm(16)].view_as(x)
    torch.testing.assert_close((net(x) / x)[..., 0, 0], (net(shuffled) / shuffled)[..., 0, 0])
    assert not torch.allclose((net(x) / x)[..., 0, 0], (net(3 * x) / (3 * x))[..., 0, 0])


def test_no_windows_and_windows_of_one_cell():
    net = SqueezeExcite(8, 2)
    assert net(torch.rand(0, 8, 4, 4)).shape == (0, 8, 4, 4)
    assert net(torch.rand(2, 8, 1, 1)).shape == (2, 8, 1, 1)
