"""The plot of counts."""

import numpy as np
import pytest
from PIL import Image

from visionkit.viz.counting import plot_counts


@pytest.mark.parametrize("count", [0, 1, 30])
def test_plot(tmp_path, count):
    truth = np.arange(count, dtype=float)
    path = plot_counts(truth, truth * 1.1 + 1, tmp_path / "plots" / "counts.png")
    with Image.open(path) as picture:
        picture.load()
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
