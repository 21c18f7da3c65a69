"""Unpooling beside loops that anyone can read, and beside torch's own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visionkit.ops.unpool import bed_of_nails, max_unpool, nearest_unpool, pool_switches

SIZES = [(2, 2), (4, 6), (5, 4), (4, 7), (9, 5), (3, 3)]


def readable_unpool(maps: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Window by window, (C, h // 2, w // 2) and (C, h, w) -> (C, h, w)."""
    found = np.zeros_like(before)
    for c, i, j in np.ndindex(maps.shape):
        window = before[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        y, x = divmod(int(window.argmax()), 2)  # argmax is the first of equals
        found[c, 2 * i + y, 2 * j + x] = maps[c, i, j]
    return found


def random_maps(size, ties, channels=3, batch=2):
    maps = torch.randn(batch, channels, *size)
    return maps.round().relu() if ties else maps  # of what ReLU leaves, many are equal


def test_by_hand():
    before = torch.tensor([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])[None, None]
    maps = torch.tensor([[1.0, 2], [3, 4]])[None, None]
    expected = torch.tensor([[0.0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]])
    assert torch.equal(max_unpool(maps, before)[0, 0], expected)
    assert torch.equal(pool_switches(before)[0, 0], expected > 0)
    nails = torch.tensor([[1.0, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])
    assert torch.equal(bed_of_nails(maps, 2)[0, 0], nails)
    near = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
    assert torch.equal(nearest_unpool(maps, 2)[0, 0], near)


def test_of_equals_the_first_row_by_row():
    for values, place in (([0, 0, 0, 0], 0), ([1, 2, 2, 2], 1), ([1, 1, 2, 2], 2), ([0, 1, 0, 2], 3)):
        switches = pool_switches(torch.tensor(values).float().reshape(1, 1, 2, 2))
        assert switches.flatten().tolist() == [i == place for i in range(4)]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_max_unpool_equals_the_loop_and_torchs(size, ties):
    before = random_maps(size, ties)
    pooled, places = F.max_pool2d(before, 2, return_indices=True)
    maps = torch.randn_like(pooled)
    found = max_unpool(maps, before)
    assert found.shape == before.shape
    assert torch.equal(found, F.max_unpool2d(maps, places, 2, output_size=size))
    for i in range(len(before)):
        assert np.array_equal(found[i].numpy(), readable_unpool(maps[i].numpy(), before[i].numpy()))


@pytest.mark.parametrize("size", SIZES)
def test_one_switch_a_window_and_none_where_the_pool_does_not_look(size):
    switches = pool_switches(random_maps(size, ties=True))
    assert switches.dtype == torch.bool and switches.shape[2:] == size
    even = [side // 2 * 2 for side in size]
    assert (F.avg_pool2d(switches.float(), 2) * 4 == 1).all()
    assert not switches[:, :, even[0] :].any() and not switches[:, :, :, even[1] :].any()


def test_pooling_what_was_unpooled_gives_it_back():
    before = random_maps((8, 10), ties=True)
    maps = torch.rand(2, 3, 4, 5)  # above 0, else the zeros around would win
    assert torch.equal(F.max_pool2d(max_unpool(maps, before), 2), maps)


def test_the_gradient_is_what_stands_at_the_switches_and_none_for_the_map_before():
    before = random_maps((5, 6), ties=True).requires_grad_()
    maps = torch.randn(2, 3, 2, 3, requires_grad=True)
    weight = torch.randn(2, 3, 5, 6)
    (max_unpool(maps, before) * weight).sum().backward()
    _, places = F.max_pool2d(before, 2, return_indices=True)
    assert torch.equal(maps.grad, weight.flatten(2).gather(2, places.flatten(2)).view_as(maps))
    assert before.grad is None
    exact = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    for unpool in (
        lambda x: max_unpool(x, before[:1, :2, :, :5].double().detach()),
        lambda x: nearest_unpool(x, 3),
        lambda x: bed_of_nails(x, 3),
    ):
        assert torch.autograd.gradcheck(unpool, exact)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_nearest_and_nails_equal_the_loop_and_torchs(factor):
    maps = torch.randn(2, 3, 4, 5)
    near, nails = nearest_unpool(maps, factor), bed_of_nails(maps, factor)
    assert torch.equal(near, F.interpolate(maps, scale_factor=factor, mode="nearest"))
    kernel = torch.zeros(3, 3, factor, factor)
    kernel[range(3), range(3), 0, 0] = 1
    assert torch.equal(nails, F.conv_transpose2d(maps, kernel, stride=factor))
    for y, x in np.ndindex(4 * factor, 5 * factor):
        value = maps[:, :, y // factor, x // factor]
        assert torch.equal(near[:, :, y, x], value)
        corner = y % factor == 0 and x % factor == 0
        assert torch.equal(nails[:, :, y, x], value if corner else torch.zeros_like(value))


@pytest.mark.parametrize("shape", [(0, 3, 4, 6), (2, 0, 4, 6), (2, 3, 1, 6), (2, 3, 5, 1), (2, 3, 1, 1)])
def test_no_pictures_no_channels_no_windows(shape):
    before = torch.rand(shape)
    maps = torch.rand(*shape[:2], shape[2] // 2, shape[3] // 2, requires_grad=True)
    found = max_unpool(maps, before)
    assert found.shape == shape and not found.any() and not pool_switches(before).any()
    found.sum().backward()
    assert maps.grad.shape == maps.shape
    for unpool in (nearest_unpool, bed_of_nails):
        assert unpool(maps, 2).shape == (*shape[:2], maps.shape[2] * 2, maps.shape[3] * 2)


def test_values_that_are_not_finite():
    before = torch.tensor([[1.0, float("inf"), -float("inf"), -float("inf")], [2, 3, -float("inf"), -float("inf")]])
    assert pool_switches(before[None, None]).nonzero()[:, 2:].tolist() == [[0, 1], [0, 2]]
    assert not pool_switches(torch.tensor([[1.0, float("nan")], [2, 3]])[None, None]).any()
    maps = torch.full((1, 1, 1, 1), float("inf"))
    found = max_unpool(maps, torch.rand(1, 1, 2, 2))
    assert found.isinf().sum() == 1 and found.isnan().sum() == 0  # zeros, not inf * 0


def test_any_layout_and_type():
    before = random_maps((6, 9), ties=True).to(memory_format=torch.channels_last)
    maps = torch.randn(2, 3, 3, 4)
    expected = max_unpool(maps, before.contiguous())
    assert torch.equal(max_unpool(maps.to(memory_format=torch.channels_last), before), expected)
    half = max_unpool(maps.bfloat16(), before.bfloat16())
    assert half.dtype == torch.bfloat16 and torch.equal(half, expected.bfloat16())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 1, 2, 2\) do not fit a pool of \(1, 1, 6, 4\)"):
        max_unpool(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 6, 4))
    for unpool in (nearest_unpool, bed_of_nails):
        with pytest.raises(ValueError, match="at least 1"):
            unpool(torch.zeros(1, 1, 2, 2), 0)
