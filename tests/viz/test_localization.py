import numpy as np
from PIL import Image

from visionkit.viz.localization import draw_pair, plot_ious


def test_both_boxes_are_drawn_on_the_resized_picture():
    image = np.zeros((100, 200, 3), np.uint8)
    drawn = draw_pair(image, [20, 40, 100, 90], [120.0, 10.0, 190.0, 60.0], side=400)
    assert drawn.shape == (200, 400, 3)
    truth, found = drawn[150, 40], drawn[100, 379]  # the left edge of the truth, the right edge of the found
    assert truth.argmax() == 1 and truth.max() > 100, "green"
    assert found.argmax() == 0 and found.max() > 100, "red"
    assert draw_pair(np.zeros((900, 50, 3), np.uint8), [0, 0, 50, 900], [0, 0, 1, 1]).shape == (280, 16, 3)


def test_a_histogram_of_many_of_none_and_without_a_baseline(tmp_path):
    for name, ious, baseline in (("many", [0.1, 0.5, 1.0], 0.4), ("none", [], None), ("bare", [0.7], None)):
        path = plot_ious(ious, tmp_path / f"{name}.png", baseline)
        assert np.asarray(Image.open(path)).std() > 1
