import numpy as np
import pytest
from PIL import Image

from visionkit.viz.segmentation_plots import plot_class_iou, plot_pixel_confusion


def picture(path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("count", [1, 11, 60])
def test_bars_grow_with_the_iou(tmp_path, count):
    names = [f"class {k} with a name that is too long to stand beside a bar" for k in range(count)]
    low, high = ([value] * count for value in (0.1, 0.9))
    drawn = [picture(plot_class_iou(names, ious, tmp_path / f"{i}.png")) for i, ious in enumerate((low, high))]
    blue = [((p[:, :, 2] > 200) & (p[:, :, 0] < 80)).sum() for p in drawn]
    assert blue[1] > 5 * blue[0] > 0 and drawn[0].shape == drawn[1].shape


def test_classes_without_pixels_and_no_classes(tmp_path):
    some = picture(plot_class_iou(["a", "b"], [0.5, None], tmp_path / "a.png"))
    none = picture(plot_class_iou(["a", "b"], [None, None], tmp_path / "b.png"))
    assert some.shape == none.shape and (some != none).any()
    red = [((p[:, :, 0] > 200) & (p[:, :, 1] < 90)).sum() for p in (some, none)]
    assert red[0] > 0 == red[1], "the mean's line"
    assert plot_class_iou([], [], tmp_path / "c.png").exists()


@pytest.mark.parametrize("count", [2, 20, 24, 150])
def test_a_per_cent_is_seen_in_the_matrix(tmp_path, count):
    names, right = [f"class {k}" for k in range(count)], 1000 * np.eye(count, dtype=np.int64)
    wrong = right.copy()
    wrong[count - 1, 0] += 20
    drawn = [picture(plot_pixel_confusion(names, c, tmp_path / f"{i}.png")) for i, c in enumerate((right, wrong))]
    changed = np.abs(drawn[0] - drawn[1]).max(axis=2) > 15
    assert drawn[0].shape == drawn[1].shape and changed.sum() > 4 and max(drawn[0].shape) < 2600


def test_rows_without_pixels_are_grey(tmp_path):
    empty = picture(plot_pixel_confusion(["x" * 300, "b"], np.zeros((2, 2), np.int64), tmp_path / "a.png"))
    assert (empty == 0xDD).all(axis=2).mean() > 0.1
