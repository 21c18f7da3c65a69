"""Warping regions: against a plain loop and OpenCV, context by the paper's rule, borders, and independence."""

import cv2
import numpy as np
import pytest
import torch

from visionkit.ops.warp import warp, warp_reference


def images(count: int = 2, height: int = 32, width: int = 40) -> torch.Tensor:
    return torch.randn(count, 3, height, width)


SIZES = torch.tensor([[30, 37], [32, 20]])
BOXES = torch.tensor([[3, 4, 20, 25.0], [-5, -6, 10, 50], [10, 10, 10, 10], [30, 20, 60, 90], [0.5, 1, 36, 29.2]])
INDEX = torch.tensor([0, 1, 0, 1, 0])


@pytest.mark.parametrize("context", [0.0, 2.5])
def test_equals_the_plain_loop(context):
    some = images()
    crops = warp(some, BOXES, INDEX, SIZES, 12, context)
    assert crops.shape == (5, 3, 12, 12)
    torch.testing.assert_close(crops, warp_reference(some, BOXES, INDEX, SIZES, 12, context), atol=2e-5, rtol=0)


def test_equals_opencv_in_the_middle_of_a_picture():
    picture = np.random.default_rng(0).normal(size=(40, 50, 3)).astype(np.float32)
    theirs = cv2.resize(picture[5:31, 8:47], (20, 20), interpolation=cv2.INTER_LINEAR)
    some = torch.from_numpy(picture).permute(2, 0, 1)[None]
    ours = warp(some, torch.tensor([[8.0, 5, 47, 31]]), torch.tensor([0]), torch.tensor([[40, 50]]), 20)
    np.testing.assert_allclose(ours[0].permute(1, 2, 0).numpy(), theirs, atol=1e-4)


def test_context_is_as_wide_in_the_warped_frame_whatever_the_shape():
    """R-CNN, app. A: p pixels of the warped picture on each side, so the box is the middle 227 - 2p of it."""
    some = torch.zeros(1, 1, 200, 200)
    some[:, :, 50:150, 80:120] = 1  # a box of 40 x 100
    crop = warp(some, torch.tensor([[80.0, 50, 120, 150]]), torch.tensor([0]), torch.tensor([[200, 200]]), 227, 16)[
        0, 0
    ]
    inside = crop > 0.5
    assert inside[:, 113].sum() == inside[113].sum() == 227 - 32
    assert not inside[:15].any() and not inside[:, -15:].any() and inside[17:-17, 17:-17].all()


def test_beyond_the_picture_is_zero_and_the_border_is_not_mixed_with_it():
    some = torch.ones(1, 1, 10, 10)
    some[:, :, :, 6:] = 99  # padding of the canvas
    crop = warp(some, torch.tensor([[-6.0, 0, 18, 10]]), torch.tensor([0]), torch.tensor([[10, 6]]), 24)[0, 0]
    assert crop[:, 6:12].eq(1).all() and crop[:, :6].eq(0).all() and crop[:, 12:].eq(0).all()


def test_a_region_depends_on_its_own_picture_and_box_alone():
    some = images()
    together = warp(some, BOXES, INDEX, SIZES, 16, 2)
    alone = warp(some[1:, :, :32, :20], BOXES[1:2], torch.tensor([0]), SIZES[1:], 16, 2)
    torch.testing.assert_close(together[1:2], alone, atol=2e-5, rtol=0)


def test_no_regions_and_no_numbers():
    assert warp(images(), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), SIZES, 8).shape == (0, 3, 8, 8)
    odd = torch.tensor([[float("nan"), 0, 10, float("inf")]])
    assert warp(images(), odd, torch.tensor([0]), SIZES, 8).isfinite().all()


def test_context_that_leaves_nothing():
    with pytest.raises(ValueError, match="leave nothing of a side of 16"):
        warp(images(), BOXES, INDEX, SIZES, 16, 8)
