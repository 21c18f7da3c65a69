"""What a mask head shall learn equals torchvision's own targets, at the borders of padded pictures too."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from visionkit.ops.mask_targets import mask_targets, mask_targets_reference

SIZES = torch.tensor([[90, 128], [96, 111]])


def scene(count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks (2, 3, 96, 128) of random blots without the padding, boxes inside the pictures, their images and truths."""
    random = torch.Generator().manual_seed(seed)
    masks = torch.rand(2, 3, 12, 16, generator=random) > 0.5
    masks = masks.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    for image, (height, width) in enumerate(SIZES.tolist()):
        masks[image, :, height:] = masks[image, :, :, width:] = False
    image_index = torch.arange(count) % 2
    corners = torch.rand(count, 2, 2, generator=random) * SIZES[image_index].flip(1)[:, None]
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    boxes[0] = torch.tensor([0.0, 0.0, 128.0, 90.0])  # the whole first picture: its border is not the canvas's
    boxes[1] = torch.tensor([100.0, 80.0, 111.0, 96.0])
    boxes[2, 2:] = boxes[2, :2]
    return masks, boxes, image_index, torch.randint(0, 3, (count,), generator=random)


def theirs(masks: Tensor, boxes: Tensor, image_index: Tensor, matched: Tensor, side: int) -> Tensor:
    found = torch.zeros(len(boxes), side, side)
    for image, (height, width) in enumerate(SIZES.tolist()):
        rows = image_index == image
        shapes = masks[image, :, :height, :width].to(torch.uint8)
        found[rows] = project_masks_on_boxes(shapes, boxes[rows], matched[rows], side)
    return found


@pytest.mark.parametrize("side", [14, 28])
def test_equal_torchvisions(side):
    masks, boxes, image_index, matched = scene()
    found = mask_targets(masks, SIZES, boxes, image_index, matched, side)
    expected = theirs(masks, boxes, image_index, matched, side)
    assert 0.2 < expected.mean() < 0.8 and ((expected > 0.1) & (expected < 0.9)).any()
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(found, mask_targets_reference(masks, SIZES, boxes, image_index, matched, side), atol=1e-4)


def test_a_border_cuts_where_the_picture_ends():
    full = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    full[:, :, 50:] = False
    zero = torch.zeros(1, dtype=torch.int64)
    found = mask_targets(full, torch.tensor([[50, 64]]), torch.tensor([[10.0, 10.0, 40.0, 50.0]]), zero, zero, 28)
    assert torch.allclose(found, torch.ones(1, 28, 28))


def test_autocast_rounds_nothing():
    masks, boxes, image_index, matched = scene()
    with torch.autocast("cpu", torch.bfloat16):
        inside = mask_targets(masks, SIZES, boxes, image_index, matched, 28)
    assert torch.equal(inside, mask_targets(masks, SIZES, boxes, image_index, matched, 28))


def test_impossible_boxes_read_nothing_outside():
    masks, boxes, image_index, matched = scene()
    boxes[0, 2], boxes[1, 0], boxes[3] = 4000.0, float("nan"), torch.tensor([-500.0, -500.0, -400.0, -400.0])
    found = mask_targets(masks, SIZES, boxes, image_index, matched, 14)
    assert found.isfinite().all() and found[3].sum() == 0


def test_no_regions():
    masks, _, _, _ = scene()
    none = torch.zeros(0, dtype=torch.int64)
    assert mask_targets(masks, SIZES, torch.zeros(0, 4), none, none, 28).shape == (0, 28, 28)
