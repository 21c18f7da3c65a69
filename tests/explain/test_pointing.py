"""The pointing game on maps with one peak, and boxes as the network sees them."""

import math

import numpy as np
import pytest
import torch

from visionkit.explain.pointing import Shot, accuracy, class_accuracies, distance, hard, point_at, strongest
from visionkit.explain.seen_boxes import seen_boxes
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.square_resize import SquareResize

BOXES = torch.tensor([[10.0, 20.0, 30.0, 50.0], [60.0, 60.0, 70.0, 70.0]])


def peak(x: int, y: int) -> torch.Tensor:
    found = torch.rand(100, 120)
    found[y, x] = 2
    return found


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (10, 20, 0.0),  # the corner's pixel
        (29, 49, 0.0),
        (65, 66, 0.0),  # in the other box
        (30, 30, 0.5),  # the first pixel outside, whose middle is half a pixel further
        (9, 30, 0.5),
        (20, 52, 2.5),
        (6, 16, math.hypot(3.5, 3.5)),  # at a corner
        (80, 75, math.hypot(10.5, 5.5)),
    ],
)
def test_the_distance_of_a_peak(x, y, expected):
    shot = point_at(peak(x, y), BOXES, 3)
    assert shot.label == 3 and shot.distance == pytest.approx(expected)
    assert shot.hits(expected + 1e-6) and shot.hits(0) == (expected == 0)
    assert expected == 0 or not shot.hits(expected - 1e-6)


def test_the_published_tolerance_is_the_usual_one():
    assert point_at(peak(44, 30), BOXES[:1], 0).hits()  # 14.5 px away
    assert not point_at(peak(45, 30), BOXES[:1], 0).hits()


def test_ties_go_to_the_first():
    found = torch.zeros(4, 5)
    assert strongest(found) == (0, 0)
    found[1, 3] = found[1, 4] = found[2, 0] = 1
    assert strongest(found) == (3, 1)


def test_no_box_is_never_hit():
    assert distance((3, 4), torch.zeros(0, 4)) == math.inf
    assert not point_at(peak(3, 4), torch.zeros(0, 4), 0).hits(1e9)


def test_hard_is_small_and_beside_the_middle():
    corner = torch.tensor([[0.0, 0.0, 50.0, 49.0]])
    assert hard(corner, (100, 100))
    assert not hard(torch.tensor([[0.0, 0.0, 100.0, 26.0]]), (100, 100)), "more than a quarter"
    assert not hard(torch.cat([corner, corner]), (100, 100)), "two of them are more than a quarter"
    assert not hard(torch.tensor([[45.0, 45.0, 55.0, 55.0]]), (100, 100)), "holds the middle"
    assert not hard(torch.cat([corner, torch.tensor([[50.0, 50.0, 51.0, 51.0]])]), (100, 100)), "one holds the middle"
    assert hard(torch.zeros(0, 4), (100, 100))


def test_shares_of_hits():
    shots = [Shot(0, 0.0, False), Shot(0, 20.0, False), Shot(4, 16.0, True), Shot(0, 15.0, False)]
    assert accuracy(shots) == 0.5 and class_accuracies(shots) == {0: 2 / 3, 4: 0.0}
    assert accuracy(shots, 16) == 0.75 and accuracy(shots, 0) == 0.25
    assert accuracy([]) is None and class_accuracies([]) == {}


SIZES = [(300, 400), (401, 300), (224, 224), (50, 37), (30, 700), (500, 21)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", [CenterCrop(256, 224), CenterCrop(64, 64), SquareResize(160)])
def test_boxes_go_where_the_pixels_go(size, resize):
    """A bright rectangle in the middle of a dark picture is where its box is said to be."""
    height, width = size
    x1, y1, x2, y2 = width // 2 - 5, height // 2 - 4, width // 2 + 6, height // 2 + 3
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    found = torch.from_numpy(resize(image)[..., 0].astype(np.float32) / 255)  # (h, w)
    left, top, right, bottom = seen_boxes(resize, size, torch.tensor([[x1, y1, x2, y2]]))[0].tolist()
    assert float(found.sum()) == pytest.approx((right - left) * (bottom - top), rel=0.03)
    side_x, side_y = (torch.arange(found.shape[k]) + 0.5 for k in (1, 0))
    mean_x, mean_y = ((found.sum(k) * side).sum() / found.sum() for k, side in ((0, side_x), (1, side_y)))
    assert (float(mean_x), float(mean_y)) == pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=0.3)


def test_boxes_are_cut_at_the_border_and_those_outside_have_no_extent():
    boxes = torch.tensor([[0.0, 0.0, 150.0, 100.0], [0.0, 0.0, 40.0, 100.0], [160.0, 0.0, 200.0, 50.0]])
    found = seen_boxes(CenterCrop(100, 100), (100, 200), boxes)
    assert found.tolist() == [[0, 0, 100, 100], [0, 0, 0, 100], [100, 0, 100, 50]]
    assert seen_boxes(CenterCrop(100, 100), (100, 200), boxes[:0]).shape == (0, 4)
    assert seen_boxes(SquareResize(100), (100, 200), boxes[:1]).tolist() == [[0, 0, 75, 100]]
