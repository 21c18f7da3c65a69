"""Motions of pictures and of maps: which are exact, what a grid means, which cells are compared."""

import pytest
import torch
import torch.nn.functional as F

from visionkit.explain.motions import Grid, interior, mirror, moved, rotate, scale, shift, turn_over

SIZE = (12, 12)


def picture(height=12, width=12):
    return torch.rand(2, 3, height, width)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns):
    images = picture()
    assert torch.equal(moved(images, rotate(90 * turns), SIZE), torch.rot90(images, turns, (2, 3)))


def test_mirrorings_and_whole_shifts_are_exact():
    images = picture(7, 12)
    size = (7, 12)
    assert torch.equal(moved(images, mirror(), size), images.flip(3))
    assert torch.equal(moved(images, turn_over(), size), images.flip(2))
    right, left = moved(images, shift(3), size), moved(images, shift(-3), size)
    assert torch.equal(right[..., 3:], images[..., :-3]) and torch.equal(right[..., :3], images[..., :3].flip(3))
    assert torch.equal(left[..., :-3], images[..., 3:]) and torch.equal(left[..., -3:], images[..., -3:].flip(3))
    for still in (shift(0), rotate(0), rotate(360), scale(1)):
        assert torch.equal(moved(images, still, size), images)


def test_a_shift_beyond_the_picture_is_mirrored_again():
    images = torch.arange(4.0).view(1, 1, 1, 4)  # goes on as 0 1 2 3 3 2 1 0 0 1 2 3
    assert moved(images, shift(5), (1, 4)).flatten().tolist() == [3, 3, 2, 1]
    assert moved(images, shift(-9), (1, 4)).flatten().tolist() == [1, 2, 3, 3]


def test_interpolated_between_pixels():
    ramp = torch.arange(12.0).expand(1, 1, 12, 12)
    assert torch.allclose(moved(ramp, shift(0.25), SIZE)[..., 1:], ramp[..., 1:] - 0.25)
    large = moved(ramp, scale(2), SIZE)  # about the middle, 6 px, between the pixels 5 and 6
    assert torch.allclose(large[0, 0, 0, 2:10], 5.5 + (torch.arange(2.0, 10) - 5.5) / 2)
    straight = moved(ramp, rotate(30), SIZE)[0, 0, 5:7, 5:7]  # values rise to the right: after the turn also upwards
    assert straight[0, 0] > straight[1, 0] and straight[0, 1] > straight[0, 0]


def test_rotation_is_about_the_middle_and_counter_clockwise():
    dot = torch.zeros(1, 1, 21, 21)
    dot[0, 0, 10, 14] = 1  # right of the middle
    found = moved(dot, rotate(45), (21, 21))[0, 0]
    assert divmod(int(found.argmax()), 21) == (7, 13), "up and to the right"


@pytest.mark.parametrize("motion", [shift(4), rotate(90), rotate(180), mirror(), turn_over()])
def test_maps_move_as_their_pictures_do(motion):
    images, size = picture(16, 16), (16, 16)
    maps = F.avg_pool2d(images, 4)  # cells at 2, 6, 10 ... pixels
    found = moved(maps, motion, size, Grid(2, 2, 4, 4))
    torch.testing.assert_close(found, F.avg_pool2d(moved(images, motion, size), 4))


def test_a_grid_that_is_not_in_the_middle_is_interpolated():
    maps = torch.arange(4.0).expand(1, 1, 4, 4)  # of every fourth pixel from the first on: 0, 4, 8, 12 of 16
    found = moved(maps, mirror(), (16, 16), Grid(0.5, 0.5, 4, 4))
    # The mirrored picture has pixel 15 - x at x, so its cell j sees pixel 15 - 4 j, three quarters of the way from cell
    # 3 - j to the next.
    assert torch.allclose(found[0, 0, 0, 1:], torch.tensor([2.75, 1.75, 0.75]))


def test_the_interior():
    grid, cells = Grid(2, 2, 4, 4), (4, 4)
    whole = interior(shift(0), (16, 16), grid, cells, 0.0)
    assert whole.all() and interior(shift(0), (16, 16), grid, cells, 0.25).sum() == 4
    moved_in = interior(shift(8), (16, 16), grid, cells, 0.0)
    assert moved_in.tolist() == [[False, False, True, True]] * 4, "what comes from outside is not compared"
    assert not interior(shift(16), (16, 16), grid, cells, 0.0).any()
    assert interior(rotate(45), (16, 16), grid, cells, 0.1).tolist()[0] == [False, True, True, False], "corners"


def test_no_pictures():
    assert moved(torch.zeros(0, 3, 8, 8), rotate(10), (8, 8)).shape == (0, 3, 8, 8)
    assert moved(torch.zeros(0, 3, 8, 8), mirror(), (8, 8)).shape == (0, 3, 8, 8)


def test_gradients_pass():
    images = picture().requires_grad_()
    moved(images, rotate(20), SIZE).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
