"""Filters and maps as pictures."""

import numpy as np
import pytest

from visionkit.viz.filter_grid import around_gray, enlarged, filter_grid, filter_pictures, map_grid, signed_picture


def test_around_gray():
    assert around_gray(np.array([-2.0, -1, 0, 1, 2])).tolist() == [0, 64, 128, 191, 255]
    assert around_gray(np.array([0.0, 1])).tolist() == [128, 255]
    assert around_gray(np.zeros(3)).tolist() == [128, 128, 128]
    assert around_gray(np.zeros((0, 3))).shape == (0, 3)
    many = np.append(np.full(99, 1.0), [50.0])
    assert around_gray(many)[0] == 130 and (around_gray(many, share=0.9) == 255).all()
    assert around_gray(np.append(np.zeros(99), -1.0), share=0.9)[-1] == 0, "what little there is stays visible"


def test_colour_filters_by_themselves_and_together():
    weights = np.zeros((2, 3, 2, 2))
    weights[0, 0], weights[1, 1, 0, 0] = 1.0, -0.5  # red; a corner without green
    alone, together = filter_pictures(weights), filter_pictures(weights, together=True)
    assert alone.shape == (2, 2, 2, 3) and alone.dtype == np.uint8
    assert alone[0, 0, 0].tolist() == together[0, 0, 0].tolist() == [255, 128, 128]
    assert alone[1, 0, 0].tolist() == [128, 0, 128] and together[1, 0, 0].tolist() == [128, 64, 128]
    assert alone[1, 1, 1].tolist() == [128, 128, 128]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_filters_are_gray_channel_by_channel(channels):
    weights = np.random.default_rng(0).normal(size=(4, channels, 3, 5))
    pictures = filter_pictures(weights)
    assert pictures.shape == (4 * channels, 3, 5, 3)
    assert (pictures == pictures[..., :1]).all(), "gray"
    for i in range(4):
        own = pictures[i * channels : (i + 1) * channels, ..., 0]
        np.testing.assert_array_equal(own, around_gray(weights[i]))
    np.testing.assert_array_equal(filter_pictures(weights, True)[..., 0], around_gray(weights).reshape(-1, 3, 5))
    assert filter_pictures(weights[:0]).shape == (0, 3, 5, 3)


def test_enlarged_by_whole_numbers():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarged(image, 7)
    assert large.shape == (6, 6, 3) and (large[:3, 3:] == image[0, 1]).all()
    assert enlarged(np.zeros((9, 4, 3), np.uint8), 7).shape == (9, 4, 3), "never made smaller"


def test_filter_grid():
    filters = np.full((5, 7, 7, 3), 200, np.uint8)
    grid = filter_grid(filters, side=64)
    assert grid.shape == (2 * 66 + 3, 3 * 66 + 3, 3) and (grid == 200).all(axis=2).sum() == 5 * 63 * 63
    assert filter_grid(filters[:0]).ndim == 3


def test_signed_pictures():
    picture = signed_picture(np.array([[0.0, 2], [-1, -2]]))
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[0, 1, 0] == 255 and picture[0, 1, 2] > 200, "near white"
    assert picture[1, 1, 2] == 255 and picture[1, 1, 0] < 100, "blue"
    assert picture[1, 0, 2] == 128, "half as far below"
    assert (signed_picture(np.zeros((2, 2))) == 0).all()


def test_map_grid():
    maps = np.zeros((2, 4, 4))
    maps[0, 1, 1], maps[1] = 5, -3
    grid = map_grid(np.full((30, 30, 3), (7, 77, 177), np.uint8), maps, [9, 4], side=32)
    assert (grid == (7, 77, 177)).all(axis=2).sum() == 30 * 30, "the picture comes too, not enlarged past its place"
    assert (grid == np.array([255, 244, 214])).all(axis=2).sum() == 8 * 8
    assert (grid == np.array([90, 150, 255])).all(axis=2).sum() == 32 * 32
    assert map_grid(np.zeros((8, 8, 3), np.uint8), maps[:0], []).ndim == 3
