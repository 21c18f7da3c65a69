import numpy as np
import pytest

from visionkit.viz.class_sheet import LETTERS, class_sheet, shortened
from visionkit.viz.text import font


def gray(h, w):
    return np.full((h, w, 3), 128, np.uint8)


@pytest.mark.parametrize("width", [60, 192])
def test_a_long_name_keeps_its_number(width):
    line = ("found: a class with a name that is very much too long for its picture", "0.98")
    text = shortened(line, width)
    assert text.endswith("… 0.98") and font(LETTERS).getlength(text) <= width + 1
    assert shortened(("found: cat", "0.98"), 192) == "found: cat 0.98"
    assert shortened(("cat", ""), 192) == "cat"


def test_every_picture_has_room_for_its_lines():
    images = [gray(10, 10), gray(400, 30), gray(100, 600), gray(192, 192)]
    lines = [[("truth: a long enough name", "0.01"), ("found: b", "0.99")]] * 4
    sheet = class_sheet(images, lines)
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 2 * 192 + 3 * 4
    assert (sheet == 128).all(axis=2).sum() > 190 * 190 + 192 * 32, "the small one was enlarged, the large ones shrunk"
    other = class_sheet(images, [[("truth: a long enough name", "0.02"), ("found: b", "0.99")]] * 4)
    assert other.shape == sheet.shape and (other != sheet).any(), "the number is drawn"
    assert class_sheet([], []).ndim == 3
    with pytest.raises(ValueError):
        class_sheet(images, lines[:3])
