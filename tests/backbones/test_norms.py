import pytest
import torch
from torch import nn

from visionkit.backbones.norms import FrozenBatchNorm2d, group_norm, norm_layer
from visionkit.errors import ConfigError


def random_batch_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels).eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.uniform_(0.5, 2)
    norm.running_var[:2] = torch.tensor([0.0, 1e-4])  # where eps counts
    return norm


def test_frozen_equals_batch_norm_in_eval_with_its_gradient():
    """In double precision: with a variance of nothing, x * scale + shift cancels, and single precision sees that."""
    norm, frozen = random_batch_norm(6), FrozenBatchNorm2d(6)
    frozen.load_state_dict(norm.state_dict())  # holds num_batches_tracked
    norm, frozen = norm.double(), frozen.double()
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    expected, found = norm(x), frozen.train()(x)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    weight = torch.randn_like(x)
    (grad_expected,) = torch.autograd.grad((expected * weight).sum(), x)
    (grad_found,) = torch.autograd.grad((found * weight).sum(), x)
    torch.testing.assert_close(grad_found, grad_expected, atol=1e-9, rtol=1e-9)


def test_frozen_equals_torchvision():
    from torchvision.ops.misc import FrozenBatchNorm2d as Theirs

    norm, ours, theirs = random_batch_norm(6), FrozenBatchNorm2d(6), Theirs(6)
    ours.load_state_dict(norm.state_dict())
    theirs.load_state_dict(norm.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=2e-5)


def test_frozen_has_no_parameters_and_keeps_dtype_and_layout():
    frozen = FrozenBatchNorm2d(4)
    assert not list(frozen.parameters())
    x = torch.randn(2, 4, 6, 6, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    y = frozen(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert frozen(x[:0]).shape == (0, 4, 6, 6)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (16, 16), (48, 16), (7, 1)])
def test_group_norm_divides_the_channels(channels, groups):
    norm = group_norm(channels)
    assert norm.num_groups == groups
    assert norm(torch.randn(1, channels, 3, 3)).shape == (1, channels, 3, 3)


def test_names():
    assert isinstance(norm_layer("batch")(3), nn.BatchNorm2d)
    assert isinstance(norm_layer("none")(3), nn.Identity)
    with pytest.raises(ConfigError, match="batch, frozen, group, none, not 'layer'"):
        norm_layer("layer")
