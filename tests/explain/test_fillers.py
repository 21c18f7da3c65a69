"""What stands in the window: by definition, and the blur beside scipy's."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from visionkit.errors import ConfigError
from visionkit.explain.fillers import blur_filler, gray_filler, mean_filler, noise_filler
from visionkit.models.pixels import Normalize, batch_of
from visionkit.ops.keep_size import KeepSize


def test_mean_is_zero():
    images = torch.randn(2, 3, 4, 5).bfloat16()
    assert torch.equal(mean_filler(images), torch.zeros_like(images))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_gray_is_what_a_gray_picture_becomes(level):
    normalize = Normalize()
    gray = normalize(batch_of(np.full((6, 7, 3), level, np.uint8), KeepSize()))
    found = gray_filler(normalize, level)(torch.randn(2, *gray.shape[1:]))
    torch.testing.assert_close(found, gray.expand(2, -1, -1, -1))


@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_blur_against_scipy(sigma):
    images = torch.randn(2, 3, 40, 31)
    found = blur_filler(sigma)(images)
    expected = gaussian_filter(
        images.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=np.ceil(3 * sigma) / sigma
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_blur_of_pictures_smaller_than_its_reach():
    found = blur_filler(20)(torch.ones(1, 3, 5, 9))
    torch.testing.assert_close(found, torch.ones(1, 3, 5, 9))
    assert blur_filler(2)(torch.ones(1, 3, 1, 4).bfloat16()).dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="sigma=0"):
        blur_filler(0)


def test_noise_follows_from_the_seed_and_has_the_deviation_of_data():
    images = torch.zeros(2, 3, 100, 100)
    found = noise_filler(4)(images)
    assert torch.equal(found[0], found[1]) and torch.equal(found, noise_filler(4)(images))
    assert not torch.equal(found, noise_filler(5)(images))
    assert abs(float(found.std()) - 1) < 0.02 and abs(float(found.mean())) < 0.02
