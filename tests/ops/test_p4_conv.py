"""Convolution over shifts and quarter turns: its definition, and what it promises when the image is turned."""

import pytest
import torch
import torch.nn.functional as F

from visionkit.ops.p4_conv import (
    group_conv,
    group_conv_reference,
    group_filters,
    lifting_conv,
    lifting_conv_reference,
    lifting_filters,
    pool_rotations,
    turned,
)


def weights(inputs=2, outputs=3, side=3):
    first, later = torch.randn(outputs, inputs, side, side), torch.randn(outputs, 4, inputs, side, side)
    return first / first[0].numel() ** 0.5, later / later[0].numel() ** 0.5


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("side", [1, 3])
def test_as_defined(side, padding):
    first, later = weights(side=side)
    images, maps = torch.randn(1, 2, 4, 5), torch.randn(1, 4, 2, 4, 5)
    torch.testing.assert_close(
        lifting_conv(images, first, padding=padding), lifting_conv_reference(images, first, padding)
    )
    torch.testing.assert_close(group_conv(maps, later, padding=padding), group_conv_reference(maps, later, padding))


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize(("stride", "padding", "side"), [(1, 0, 9), (1, 1, 8), (2, 0, 9), (2, 1, 9)])
def test_a_turned_image_gives_turned_maps(turns, stride, padding, side):
    first, later = weights()
    images, bias = torch.randn(2, 2, side, side), torch.randn(3)
    maps = lifting_conv(images, first, bias, stride, padding)
    of_turned = lifting_conv(torch.rot90(images, turns, (2, 3)), first, bias, stride, padding)
    torch.testing.assert_close(of_turned, turned(maps, turns), atol=1e-5, rtol=0)
    given = torch.randn(2, 4, 2, side, side)
    after = group_conv(turned(given, turns), later, bias, stride, padding)
    torch.testing.assert_close(after, turned(group_conv(given, later, bias, stride, padding), turns), atol=1e-5, rtol=0)


def test_a_stride_that_does_not_fit_the_turned_grid_is_not_exact():
    maps, (_, later) = torch.randn(1, 4, 2, 8, 8), weights()
    after = group_conv(turned(maps, 1), later, stride=2, padding=1)
    assert (after - turned(group_conv(maps, later, stride=2, padding=1), 1)).abs().max() > 0.1


def test_a_plain_convolution_does_not_follow_turns():
    images, filters = torch.randn(2, 2, 9, 9), torch.randn(3, 2, 3, 3)
    difference = F.conv2d(torch.rot90(images, 1, (2, 3)), filters) - torch.rot90(F.conv2d(images, filters), 1, (2, 3))
    assert difference.abs().max() > 0.1


def test_other_angles_and_mirrors_are_not_followed():
    images, (first, _) = torch.randn(1, 2, 9, 9), weights()
    mirrored = lifting_conv(images.flip(3), first)
    assert all((mirrored - turned(lifting_conv(images, first), k).flip(4)).abs().max() > 0.1 for k in range(4))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_whole_network_pooled_over_rotations_and_places_ignores_turns(turns):
    (first, _), (_, later) = weights(), weights(inputs=3)
    images = torch.randn(2, 2, 8, 8)

    def vectors(given):
        maps = F.relu(lifting_conv(given, first, padding=1))
        maps = F.max_pool2d(maps.flatten(1, 2), 2).unflatten(1, (4, 3))  # (B, 4, 3, 4, 4)
        return pool_rotations(group_conv(maps, later, padding=1))

    plain, of_turned = vectors(images), vectors(torch.rot90(images, turns, (2, 3)))
    torch.testing.assert_close(of_turned, torch.rot90(plain, turns, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(of_turned.mean((2, 3)), plain.mean((2, 3)), atol=1e-5, rtol=0)
    assert (of_turned - plain).abs().max() > 0.1, "the maps themselves turn"


def test_turning():
    maps = torch.randn(1, 4, 2, 3, 5)
    assert torch.equal(turned(turned(maps, 1), 3), maps) and torch.equal(turned(maps, 4), maps)
    assert turned(maps, 1).shape == (1, 4, 2, 5, 3)
    assert torch.equal(turned(maps, 1)[:, 1], torch.rot90(maps[:, 0], 1, (2, 3)))


def test_filters_are_the_one_filter_turned():
    first, later = weights()
    assert lifting_filters(first).shape == (4, 3, 2, 3, 3) and group_filters(later).shape == (4, 3, 4, 2, 3, 3)
    assert torch.equal(lifting_filters(first)[3], torch.rot90(first, 3, (2, 3)))
    assert torch.equal(group_filters(later)[1, :, 2], torch.rot90(later[:, 1], 1, (2, 3)))


def test_gradients_reach_the_one_filter():
    first = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    later = torch.randn(2, 4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    images = torch.randn(1, 1, 5, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: group_conv(lifting_conv(images, a), b), (first, later))


def test_no_images():
    first, later = weights(outputs=2)
    maps = lifting_conv(torch.zeros(0, 2, 8, 8), first, padding=1)
    assert maps.shape == (0, 4, 2, 8, 8) and pool_rotations(group_conv(maps, later)).shape == (0, 2, 6, 6)


@pytest.mark.parametrize("shape", [(3, 2, 3, 5), (3, 2, 3), (3, 3, 2, 3, 3), (3, 4, 2, 3, 5)])
def test_other_filters_are_refused(shape):
    weight = torch.zeros(shape)
    with pytest.raises(ValueError, match="filters"):
        lifting_conv(torch.zeros(1, 2, 8, 8), weight)
    with pytest.raises(ValueError, match="filters"):
        group_conv(torch.zeros(1, 4, 2, 8, 8), weight)
