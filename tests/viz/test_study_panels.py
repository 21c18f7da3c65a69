"""A panel for each column of a study, on a logarithmic axis where values lie far apart; nothing known at all."""

import cv2

from visionkit.viz.study_panels import plot_panels

NAMES = ["rcnn", "fast_rcnn", "faster_rcnn"]


def test_a_picture_with_a_panel_for_each_column(tmp_path):
    one = {"test_seconds": [(47.0, None), (2.3, None), (0.2, 0.01)]}
    two = one | {"AP50": [(0.66, 0.01), (None, None), (0.7, None)]}
    widths = []
    for i, columns in enumerate((one, two)):
        path = plot_panels(NAMES, columns, tmp_path / f"{i}.png")
        image = cv2.imread(str(path))
        assert len(set(map(tuple, image.reshape(-1, 3).tolist()))) > 10
        widths.append(image.shape[1])
    assert widths[1] > 1.5 * widths[0]


def test_nothing_is_known(tmp_path):
    assert plot_panels(["a"], {"AP": [(None, None)]}, tmp_path / "x.png").exists()
