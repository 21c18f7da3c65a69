import json

import numpy as np
import pytest

from visionkit.ops.windows import WindowGrid


def image(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_a_grid_by_hand():
    grid = WindowGrid(scales=(0.5,), ratios=(1.0,), stride=0.5)
    found = grid.boxes((40, 40))
    assert found.tolist() == [[x, y, x + 20, y + 20] for y in (0, 10, 20) for x in (0, 10, 20)]


def test_windows_have_their_area_and_shape_and_reach_both_edges():
    grid = WindowGrid(scales=(0.2, 0.4), ratios=(0.5, 1, 2), stride=0.3)
    found = grid.boxes((90, 160))
    sides = found[:, 2:] - found[:, :2]
    root = np.sqrt(90 * 160)
    expected = {(round(s * root / r**0.5, 2), round(s * root * r**0.5, 2)) for s in (0.2, 0.4) for r in (0.5, 1, 2)}
    assert {(round(float(w), 2), round(float(h), 2)) for w, h in sides} == expected
    assert found[:, :2].min() == 0 and found[:, 2].max() == 160 and found[:, 3].max() == 90
    same = np.round(sides, 2) == np.round(sides[0], 2)
    starts = np.unique(found[same.all(axis=1), 0])
    assert np.diff(starts).max() <= 0.3 * sides[0, 0] + 1e-4


def test_a_window_larger_than_the_picture_is_cut_to_it():
    found = WindowGrid(scales=(1.0,), ratios=(4.0,)).boxes((50, 50))
    assert (found[:, 3] - found[:, 1] == 50).all() and (found[:, 2] - found[:, 0] == 25).all()


def test_the_order_is_fixed_and_any_beginning_holds_all_scales():
    boxes, scores = WindowGrid()(image(120, 160))
    again, _ = WindowGrid()(image(120, 160))
    assert np.array_equal(boxes, again) and (np.diff(scores) <= 0).all()
    assert boxes.dtype == scores.dtype == np.float32
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert len(np.unique(np.round(np.log2(areas[: len(areas) // 8])))) == len(np.unique(np.round(np.log2(areas))))
    assert np.array_equal(WindowGrid(top=5)(image(120, 160))[0], boxes[:5])
    assert not np.array_equal(WindowGrid(seed=1)(image(120, 160))[0], boxes)


def test_too_small_windows_go():
    assert WindowGrid(min_side=1000)(image(50, 50))[0].shape == (0, 4)


def test_settings_are_plain():
    settings = WindowGrid(scales=[1]).settings()
    assert json.loads(json.dumps(settings)) == settings and settings["scales"] == [1.0]


@pytest.mark.parametrize("wrong", [{"scales": []}, {"ratios": [0]}, {"stride": 0}])
def test_what_is_refused(wrong):
    with pytest.raises(ValueError, match="above 0"):
        WindowGrid(**wrong)
