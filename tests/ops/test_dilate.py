import cv2
import numpy as np
import pytest
import torch

from visionkit.ops.dilate import dilate, dilate_reference

RADII = (0, 0.7, 1, 1.41, 1.42, 2, 2.3, 3.75, 4.5, 5, 9, 40)


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("shape", [(1, 1), (1, 13), (17, 1), (9, 14), (2, 3, 7, 11)])
def test_equals_all_pairs_of_pixels(radius, shape):
    masks = torch.rand(shape) < 0.04
    before = masks.clone()
    found = dilate(masks, radius)
    assert torch.equal(found, dilate_reference(masks, radius)) and found.dtype == torch.bool
    assert torch.equal(masks, before), "the input stays"


@pytest.mark.parametrize("radius", RADII)
def test_equals_opencvs_dilation_by_the_same_disk(radius):
    mask = np.random.default_rng(0).random((60, 80)) < 0.01
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (y**2 + x**2 <= radius**2).astype(np.uint8)
    expected = cv2.dilate(mask.astype(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    assert np.array_equal(dilate(torch.from_numpy(mask), radius).numpy(), expected.astype(bool))


def test_one_pixel_becomes_a_disk():
    mask = torch.zeros(7, 7, dtype=torch.bool)
    mask[3, 3] = True
    assert dilate(mask, 2)[1].tolist() == [False, False, False, True, False, False, False]
    assert dilate(mask, 2).sum() == 13 and dilate(mask, 2.25).sum() == 21 and dilate(mask, 0.99).sum() == 1


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 0, 5), (3, 5, 0)])
def test_nothing_to_grow(shape):
    assert dilate(torch.zeros(shape, dtype=torch.bool), 3.5).shape == shape
    assert not dilate(torch.zeros(4, 5, dtype=torch.bool), 3.5).any()


def test_what_is_no_mask_or_no_radius():
    with pytest.raises(ValueError, match="of bool"):
        dilate(torch.zeros(3, 3), 1)
    for radius in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="at least 0 pixels"):
            dilate(torch.zeros(3, 3, dtype=torch.bool), radius)
