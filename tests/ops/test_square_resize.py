import numpy as np
import pytest
import torch

from visionkit.ops.boxes import iou, scale
from visionkit.ops.resize import resize_image
from visionkit.ops.square_resize import SquareResize


def test_all_of_the_picture_becomes_a_square():
    image = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    rule = SquareResize(32)
    assert np.array_equal(rule(image), resize_image(image, (32, 32)))
    assert rule.canvas((40, 90)) == rule.canvas((7, 3)) == (32, 32)
    assert rule(image[:32, :32]) is not None and np.array_equal(rule(image[:32, :32]), image[:32, :32])


def test_stretching_leaves_the_iou_as_it_is():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(20, 2, generator=generator) * 40
    boxes = torch.cat((corners, corners + 5 + torch.rand(20, 2, generator=generator) * 40), dim=1)
    stretched = scale(boxes, (32 / 40, 32 / 90))
    torch.testing.assert_close(iou(stretched, stretched), iou(boxes, boxes), atol=1e-5, rtol=1e-5)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        SquareResize(0)
