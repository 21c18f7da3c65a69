"""Pictures that stay as they are."""

import numpy as np
import pytest

from visionkit.ops.keep_size import KeepSize


def test_nothing_is_resized():
    image = np.zeros((33, 50, 3), np.uint8)
    assert KeepSize()(image) is image
    assert KeepSize().shape((33, 50)) == KeepSize().canvas((33, 50)) == (33, 50)


def test_the_canvas_is_rounded_up():
    assert KeepSize(32).canvas((33, 64)) == (64, 64)


def test_a_multiple_below_one():
    with pytest.raises(ValueError, match="multiple >= 1"):
        KeepSize(0)
