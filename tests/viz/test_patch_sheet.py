"""Sheets of patches, and what is cut out."""

import numpy as np
import pytest

from visionkit.viz.patch_sheet import PADDING, SIDE, Unit, cut, patch_sheet

IMAGE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


@pytest.mark.parametrize(
    "box", [(1, 1, 4, 3), (0, 0, 7, 5), (-2, -1, 3, 2), (4, 3, 10, 9), (-3, -3, 12, 11), (8, 0, 11, 5), (-9, 1, -4, 3)]
)
def test_cut_beside_padding_all_around(box):
    x1, y1, x2, y2 = box
    padded = np.pad(IMAGE, ((20, 20), (20, 20), (0, 0)), constant_values=PADDING)
    np.testing.assert_array_equal(cut(IMAGE, box), padded[20 + y1 : 20 + y2, 20 + x1 : 20 + x2])


def test_cut_keeps_the_kind_of_number():
    found = cut(np.ones((2, 2, 1), np.float32), (-1, -1, 2, 2), fill=0)
    assert found.dtype == np.float32 and found.sum() == 4 and found.shape == (3, 3, 1)


def test_projections_stand_at_the_right():
    red, blue = (np.full((SIDE, SIDE, 3), color, np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    sheet = patch_sheet([Unit("7: 1 ... 2", [red] * 9, [blue] * 9), Unit("8: 3 ... 4", [red] * 5, [blue] * 5)])
    left, right = ((sheet == color).all(axis=2) for color in ((255, 0, 0), (0, 0, 255)))
    assert left.sum() == right.sum() == 14 * SIDE * SIDE
    first = sheet.shape[1] // 2  # two units beside each other
    assert left[:, :first].nonzero()[1].max() < right[:, :first].nonzero()[1].min()


def test_without_projections_and_without_units():
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    sheet = patch_sheet([Unit("1", [red] * 4)] * 3)
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 12 * SIDE * SIDE, "enlarged by whole numbers"
    assert patch_sheet([]).shape[2] == 3 and patch_sheet([Unit("never excited", [])]).shape[2] == 3


def test_a_unit_without_patches_beside_others():
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    sheet = patch_sheet([Unit("never excited", []), Unit("1", [red], [red])])
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 2 * SIDE * SIDE
