"""Pasted masks equal torchvision's and the plain reference's pixel by pixel; boxes may lie anywhere."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from visionkit.ops.paste_masks import paste_masks, paste_masks_reference


def some_boxes(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Boxes inside a picture, narrow and empty ones among them."""
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=random) * torch.tensor([width, height])
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    if count > 3:
        boxes[0] = torch.tensor([0.0, 0.0, width, height])
        boxes[1, 2:] = boxes[1, :2]
        boxes[2, 2] = boxes[2, 0] + 0.3
    return boxes


@pytest.mark.parametrize("side", [2, 14, 28])
def test_equals_torchvision_and_the_reference(side):
    size = (61, 83)
    masks, boxes = torch.rand(30, side, side), some_boxes(30, *size)
    theirs = paste_masks_in_image(masks[:, None], boxes, size)[:, 0]
    certain = (theirs - 0.5).abs() > 1e-5  # else the order of the sums decides
    found = paste_masks(masks, boxes, size)
    assert found.dtype == torch.bool and found.shape == (30, *size)
    assert certain.float().mean() > 0.99 and 0.05 < found.float().mean() < 0.95
    assert torch.equal(found[certain], (theirs > 0.5)[certain])
    assert torch.equal(found[certain], paste_masks_reference(masks, boxes, size)[certain])


def test_boxes_outside_the_picture():
    size = (40, 50)
    boxes = torch.tensor(
        [[-20, -10, 30, 20], [30, 20, 90, 70], [60, 5, 80, 20], [-9, -9, -3, -2], [-30, -30, 99, 99.0]]
    )
    masks = torch.rand(5, 8, 8)
    found = paste_masks(masks, boxes, size)
    assert torch.equal(found, paste_masks_reference(masks, boxes, size))
    assert found.flatten(1).any(dim=1).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_impossible_coordinates_stay_in_bounds(bad):
    found = paste_masks(torch.ones(2, 4, 4), torch.tensor([[1, 1, bad, 9], [bad, 1, 9, 9]]), (12, 10))
    assert found.shape == (2, 12, 10)


def test_a_full_mask_fills_its_box():
    found = paste_masks(torch.ones(1, 28, 28), torch.tensor([[10.0, 20.0, 38.0, 76.0]]), (100, 60))[0]
    ys, xs = found.nonzero().unbind(1)
    corners = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    assert (corners - torch.tensor([10, 20, 38, 76])).abs().max() <= 1  # torchvision's rounding of the box
    assert found.sum() == (corners[2] - corners[0]) * (corners[3] - corners[1])


def test_the_threshold_cuts():
    box = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    even = torch.full((1, 4, 4), 0.6)
    assert paste_masks(even, box, (20, 20), threshold=0.5).any()
    assert not paste_masks(even, box, (20, 20), threshold=0.6).any()


def test_autocast_rounds_nothing():
    masks, boxes = torch.rand(8, 28, 28), some_boxes(8, 60, 60)
    with torch.autocast("cpu", torch.bfloat16):
        inside = paste_masks(masks, boxes, (60, 60))
    assert torch.equal(inside, paste_masks(masks, boxes, (60, 60)))


def test_no_masks_and_no_pixels():
    assert paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (30, 40)).shape == (0, 30, 40)
    assert paste_masks(torch.ones(1, 28, 28), torch.tensor([[0.0, 0, 5, 5]]), (0, 40)).shape == (1, 0, 40)


def test_memory_of_a_large_picture_is_bounded():
    """100 boxes of a picture of 12 million pixels: the result, and never a float picture of each."""
    size = (3000, 4000)
    found = paste_masks(torch.ones(4, 28, 28), some_boxes(4, *size), size)
    assert found.element_size() * found.nelement() == 4 * 12_000_000 and found[0].float().mean() > 0.99
