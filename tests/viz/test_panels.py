"""Panels and sheets: sizes, colours at the right places, nothing that divides by zero."""

import numpy as np
import pytest

from visionkit.viz.panels import (
    SIDE,
    Panel,
    class_panel,
    color_panel,
    heat_panel,
    map_panel,
    picture_panel,
    sheet,
    sized,
)

IMAGE = np.full((60, 80, 3), 100, np.uint8)


def hot(picture):
    """How red over blue each pixel is."""
    return picture[:, :, 0].astype(int) - picture[:, :, 2]


def test_heat_is_seen_where_it_is():
    heat = np.zeros((60, 80))
    heat[:20, 60:] = 3.0
    panel = heat_panel(IMAGE, heat, "title")
    assert panel.picture.shape == (SIDE * 60 // 80, SIDE, 3)
    scale = SIDE / 80
    inside = hot(panel.picture)[: int(15 * scale), int(65 * scale) :]
    outside = hot(panel.picture)[int(30 * scale) :, : int(50 * scale)]
    assert inside.min() > 100 and outside.max() == 0
    assert (panel.low, panel.high) == (0.0, 3.0)


@pytest.mark.parametrize(
    "heat", [np.zeros((60, 80)), np.full((60, 80), -1.0), np.full((60, 80), np.nan), np.zeros((0, 0))]
)
def test_no_heat_leaves_the_picture_gray(heat):
    assert np.abs(hot(heat_panel(IMAGE, heat, "").picture)).max() == 0


def test_a_given_highest_value_sets_the_scale():
    weak = heat_panel(IMAGE, np.full((60, 80), 0.1), "", highest=1.0)
    strong = heat_panel(IMAGE, np.full((60, 80), 1.0), "", highest=1.0)
    assert hot(weak.picture).mean() < hot(strong.picture).mean() and weak.high == 1.0


def test_signed_colours_lie_around_gray():
    values = np.zeros((3, 60, 80))
    values[0, :30], values[2, 30:] = 2.0, -2.0
    picture = color_panel(IMAGE, values, "").picture
    assert picture[10, 10].tolist() == [255, 128, 128] and picture[-10, 10].tolist() == [128, 128, 0]
    assert np.unique(color_panel(IMAGE, np.zeros((1, 60, 80)), "").picture).tolist() == [128]


def test_a_map_is_drawn_in_squares_from_low_to_high():
    panel = map_panel(IMAGE, np.array([[0.2, 0.9]]), "p")
    assert (panel.low, panel.high) == (0.2, 0.9)
    left, right = panel.picture[5, 5], panel.picture[5, -5]
    assert left.tolist() == [90, 0, 40] and right.tolist() == [255, 245, 80]
    assert map_panel(IMAGE, np.full((2, 2), 0.5), "").picture.shape == panel.picture.shape


def test_boxes_and_points_are_marked_where_they_are():
    panel = picture_panel(IMAGE, "", box=(20, 10, 60, 50), point=(40, 30))
    scale = SIDE / 80
    changed = (panel.picture != 100).any(axis=2)
    assert changed[int(10 * scale) : int(50 * scale), int(20 * scale)].mean() > 0.9
    assert changed[round(30.5 * scale), round(40.5 * scale)] and not changed[: int(8 * scale)].any()


def test_sheets_have_room_for_all_and_for_the_text():
    panels = [heat_panel(IMAGE, np.ones((60, 80)), f"panel {k}") for k in range(7)]
    whole = sheet(panels, ["first line", "second"], columns=3)
    assert whole.dtype == np.uint8 and whole.shape[1] == 3 * (SIDE + 8) + 8
    assert whole.shape[0] > 3 * panels[0].picture.shape[0]
    assert sheet([], ["text alone"]).ndim == 3
    tall = sheet([Panel(np.zeros((300, 40, 3), np.uint8), "a long title that does not fit at all", None)])
    assert tall.shape[0] >= 300


def test_small_pictures_are_enlarged_and_large_ones_made_smaller():
    assert sized(np.zeros((8, 8, 3), np.uint8)).shape == (SIDE, SIDE, 3)
    assert sized(np.zeros((1000, 10, 3), np.uint8)).shape == (SIDE, 2, 3)
    assert sized(np.zeros((3000, 1, 3), np.uint8)).shape == (SIDE, 1, 3)


def test_the_commonest_class_has_the_first_colour_and_a_name():
    from visionkit.viz.palette import class_color

    picture = class_panel(IMAGE, np.array([[7, 7, 7], [7, 7, 2]]), [str(k) for k in range(9)]).picture
    assert tuple(picture[5, 5]) == class_color(0) and tuple(picture[SIDE * 60 // 80 - 5, -5]) == class_color(1)
    assert picture.shape[0] > SIDE * 60 // 80
