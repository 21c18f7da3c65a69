"""Where the windows of a pyramid lie, and what a level shows."""

import pytest
import torch

from visionkit.ops.window_pyramid import WindowPyramid, resize_level

PYRAMID = WindowPyramid((0.5, 1.0, 1.41), view=48, side=32, step=16)


def test_windows_stand_a_step_apart_in_the_order_level_row_column():
    boxes = WindowPyramid((2.0,), view=40, side=40, step=16).boxes((30, 50))
    expected = [
        [x, y, x + 20, y + 20] for y in (0, 8, 16) for x in (0, 8, 16, 24, 32)
    ]  # middles 10, 18 ... below 30, 50
    assert boxes.tolist() == expected
    of_all = PYRAMID.boxes((64, 96))
    alone = [WindowPyramid((scale,), 48, 32, 16).boxes((64, 96)) for scale in PYRAMID.scales]
    assert torch.equal(of_all, torch.cat(alone))


@pytest.mark.parametrize("canvas", [(64, 96), (65, 97), (33, 200), (3, 5), (1, 1)])
def test_positions_find_every_window_again(canvas):
    pyramid = WindowPyramid((0.5, 0.71, 1.0, 1.41, 2.0, 2.83), view=96, side=48, step=16, margin=32)
    boxes = pyramid.boxes(canvas)
    assert len(boxes) == sum(rows * columns for rows, columns in (pyramid.grid(canvas, s) for s in pyramid.scales))
    assert torch.equal(pyramid.positions(boxes, canvas), torch.arange(len(boxes)))
    assert pyramid.positions(boxes[:0], canvas).shape == (0,)


def test_windows_count_where_their_middle_is_on_the_image():
    boxes = PYRAMID.boxes((64, 96))
    valid = PYRAMID.on_image(boxes, torch.tensor([[64, 96], [20, 40], [1, 1]]))
    assert valid[0].all()
    for row, (height, width) in ((1, (20, 40)), (2, (1, 1))):
        for box, counts in zip(boxes.tolist(), valid[row].tolist(), strict=True):
            inside = [
                low == 0 or (low + high) / 2 < size
                for low, high, size in ((box[0], box[2], width), (box[1], box[3], height))
            ]
            assert counts == all(inside)
    assert valid[2].sum() == len(PYRAMID.scales), "the smallest image has one window on every level"


def test_the_windows_of_an_image_do_not_depend_on_its_canvas():
    small, large = PYRAMID.boxes((40, 72)), PYRAMID.boxes((96, 128))
    kept = large[PYRAMID.on_image(large, torch.tensor([[40, 72]]))[0]]
    assert torch.equal(kept, small)


@pytest.mark.parametrize("scale", [0.5, 0.71, 1.0, 1.41, 2.0])
def test_a_level_shows_each_point_where_its_windows_say(scale):
    """On a picture whose values are its coordinates, what a window sees begins at its box's corner."""
    pyramid = WindowPyramid((scale,), view=48, side=32, step=16, margin=16)
    y, x = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(120) + 0.5, indexing="ij")
    level = pyramid.level(torch.stack((x, y))[None], torch.tensor([[80, 120]]), scale)[0]
    rows, columns = pyramid.grid((80, 120), scale)
    assert level.shape[1:] == (32 + 48 + 16 * (rows - 1), 32 + 48 + 16 * (columns - 1))
    boxes = pyramid.boxes((80, 120)).unflatten(0, (rows, columns))
    row, column = rows // 2, columns // 2
    inner = 16 + 8  # the margin, and the surroundings of the box
    first = level[:, row * 16 + inner, column * 16 + inner]
    assert torch.allclose(first, boxes[row, column, :2] + 0.5 / scale, atol=0.03)  # the antialiasing filter is a sum
    assert level[:, :inner].abs().max() == level[:, :, :inner].abs().max() == 0, "zeros around"


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.0, 1.7])
def test_a_level_does_not_depend_on_the_canvas(scale):
    image = torch.randn(1, 3, 41, 53)
    size = torch.tensor([[41, 53]])
    padded = torch.nn.functional.pad(image, (0, 43, 0, 23))
    alone, within = resize_level(image, size, scale), resize_level(padded, size, scale)
    assert torch.allclose(within[..., : alone.shape[2], : alone.shape[3]], alone, atol=1e-6)
    assert not within[..., alone.shape[2] :, :].any() and not within[..., alone.shape[3] :].any()


def test_shrinking_is_antialiased():
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    level = resize_level(stripes, torch.tensor([[64, 64]]), 0.25)
    assert level.shape == (1, 1, 16, 16)
    assert torch.allclose(level[..., 2:-2, 2:-2], torch.tensor(0.5), atol=0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scales": ()},
        {"scales": (0.0,)},
        {"scales": (1.0, 1.0)},
        {"side": 49},
        {"side": 31},
        {"side": 0},
        {"step": 0},
        {"margin": 8},
        {"margin": -16},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        WindowPyramid(**{"scales": (1.0,), "view": 48, "side": 32, "step": 16} | wrong)
