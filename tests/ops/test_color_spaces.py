import colorsys

import cv2
import numpy as np
import pytest

from visionkit.ops.color_spaces import COLOR_SPACES, hsv, hue, intensity, lab, rgi


@pytest.fixture
def image() -> np.ndarray:
    random = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    random[0, :6] = [(0, 0, 0), (255, 255, 255), (7, 7, 7), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    return random


def test_hsv_is_that_of_the_standard_library(image):
    ours = hsv(image).reshape(-1, 3)
    for pixel, found in zip(image.reshape(-1, 3) / 255, ours, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        assert np.allclose(found, (min(h * 256, 255), s * 255, v * 255), atol=1e-3)


def test_lab_is_opencvs(image):
    theirs = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    wanted = theirs * [2.55, 1, 1] + [0, 128, 128]
    assert np.abs(lab(image) - np.clip(wanted, 0, 255)).max() < 0.5


def test_shares_intensity_and_hue(image):
    pixel = np.array([[[30, 60, 90]]], np.uint8)
    assert np.allclose(rgi(pixel), [[[255 / 6, 255 / 3, 60]]], atol=1e-4)
    assert np.allclose(intensity(pixel), 0.299 * 30 + 0.587 * 60 + 0.114 * 90, atol=1e-4)
    assert np.array_equal(hue(image), hsv(image)[..., :1])


@pytest.mark.parametrize("name", COLOR_SPACES)
def test_all_stay_in_a_bytes_range(name, image):
    channels = COLOR_SPACES[name](image)
    assert channels.dtype == np.float32 and channels.shape[:2] == image.shape[:2]
    assert np.isfinite(channels).all() and channels.min() >= 0 and channels.max() <= 255
    assert channels.max() > 128  # a range of 0 ... 1 would make the segmentation see nothing
