"""Every pixel has the colour of its class, and every colour that occurs has its name below."""

import numpy as np
import pytest
from PIL import Image

from visionkit.viz.semantic import (
    UNKNOWN,
    VOID,
    WRONG,
    color_map,
    error_map,
    legend,
    overlay,
    segmentation_sheet,
)

COLORS = np.array([[0, 0, 0], [200, 0, 0], [0, 180, 40]], np.uint8)


def gray(h=12, w=20, value=100):
    return np.full((h, w, 3), value, np.uint8)


def stripes(h=12, w=20):
    """Rows of 0, 1, 2 and 255."""
    return np.repeat(np.array([0, 1, 2, 255]), h // 4)[:, None].repeat(w, axis=1)


def test_a_colour_map_has_the_colours():
    picture = color_map(stripes(), COLORS)
    assert picture.shape == (12, 20, 3) and picture.dtype == np.uint8
    assert [tuple(row) for row in picture[::3, 5].tolist()] == [(0, 0, 0), (200, 0, 0), (0, 180, 40), VOID]
    assert color_map(np.zeros((0, 4), np.int64), COLORS).shape == (0, 4, 3)
    assert (color_map(np.full((2, 2), 255), []) == VOID).all()


@pytest.mark.parametrize("label", [3, 254, -1])
def test_labels_without_a_colour_are_refused(label):
    with pytest.raises(ValueError, match="there are 3 colours"):
        color_map(np.array([[0, label]]), COLORS)
    with pytest.raises(ValueError, match="255 classes at most"):
        color_map(np.array([[0]]), np.zeros((256, 3)))


def test_an_overlay_paints_what_is_known():
    image, labels = gray(), stripes()
    picture = overlay(image, labels, COLORS, alpha=0.25)
    assert (image == 100).all() and picture.dtype == np.uint8
    assert [tuple(row) for row in picture[::3, 5].tolist()] == [(75, 75, 75), (125, 75, 75), (75, 120, 85), (100,) * 3]
    assert (overlay(image, labels, COLORS, alpha=0) == image).all()
    assert (overlay(image, labels, COLORS, alpha=1)[:9] == color_map(labels, COLORS)[:9]).all()
    with pytest.raises(ValueError, match=r"labels of \(12, 20\)"):
        overlay(image, labels[:5], COLORS)


def test_errors_are_red_right_pixels_dim_and_unknown_ones_gray():
    image, truth, found = gray(), stripes(), stripes()
    found[found == 255] = 1
    found[0, 3] = 2
    picture = error_map(image, truth, found)
    assert tuple(picture[0, 3]) == WRONG and (picture == WRONG).all(axis=2).sum() == 1
    assert (picture[9:] == UNKNOWN).all() and (picture[1:9] == 35).all()
    assert error_map(gray(0, 4), np.zeros((0, 4)), np.zeros((0, 4))).shape == (0, 4, 3)


def has(picture, color):
    return (picture == np.array(color)).all(axis=2)


@pytest.mark.parametrize("width", [30, 130, 500, 1300])
@pytest.mark.parametrize("count", [1, 3, 150])
def test_a_legend_shows_every_colour_and_is_as_wide_as_told(width, count):
    names = [f"class {k} " + "of a very long name indeed " * (k % 9) for k in range(count)]
    colors = np.stack([np.arange(count) + 50, np.full(count, 7), np.full(count, 9)], axis=1)
    picture = legend(names, colors, width)
    assert picture.shape[1] == width and picture.dtype == np.uint8 and picture.shape[0] <= 20 * count
    ys, xs = np.nonzero((picture[:, :, 1] == 7) & (picture[:, :, 2] == 9))
    found = np.bincount(picture[ys, xs, 0], minlength=50 + count)[50:]  # pixels of each colour
    assert found.min() > 100 and found.max() <= 14 * 14 and len(found) == count
    if width >= 130:
        assert (picture == 255).all(axis=2).sum() > 20 * count, "names in white"
    _, first = np.unique(picture[ys, xs, 0], return_index=True)  # the upper left pixel of each
    places = [(ys[i], xs[i]) for i in first]
    assert places == sorted(places), "row by row"


def test_legends_of_nothing_and_of_too_few_colours():
    assert legend([], [], 90).shape == (0, 90, 3)
    with pytest.raises(ValueError, match="a colour for each of its 2 names"):
        legend(["a", "b"], [[1, 2, 3]], 90)
    assert not (legend(["a"], COLORS[1:2], 90) == legend(["b"], COLORS[1:2], 90)).all()


def test_a_sheet_has_four_pictures_a_row_and_the_classes_that_occur():
    truth, found = np.full((40, 60), 1), np.full((40, 60), 1)
    truth[:10], found[:, :6] = 255, 2
    colors = np.array([[0, 0, 9], [200, 0, 0], [0, 180, 40], [1, 2, 3]], np.uint8)
    names = ["never", "first", "second", "never too"]
    sheet = segmentation_sheet([(gray(40, 60), truth, found, "a.png")], names, colors, side=60)
    top, key = sheet[: 40 + 18 + 8], sheet[40 + 18 + 8 :]
    assert sheet.shape[1] == 4 * 64 + 4 and len(key) > 0
    cells = [top[22:62, 4 + 64 * i : 64 + 64 * i] for i in range(4)]
    assert (cells[0] == 100).all() and (cells[1][:10] == 100).all()
    assert (cells[1][10:] == overlay(gray(1, 1), np.array([[1]]), colors)).all()
    assert (cells[2][:, :6] == overlay(gray(1, 1), np.array([[2]]), colors)).all()
    assert has(cells[3], WRONG).sum() == 30 * 6 and has(cells[3], UNKNOWN).sum() == 10 * 60
    for color, there in ((colors[1], True), (colors[2], True), (WRONG, True), (colors[0], False), (colors[3], False)):
        assert (has(key, color).sum() > 100) == there


def test_sheets_of_many_sizes_many_classes_and_of_nothing():
    rng = np.random.default_rng(0)
    names = [f"class {k} with a name that is much too long for a legend of many classes" for k in range(150)]
    colors = rng.integers(0, 256, (150, 3)).astype(np.uint8)
    rows = []
    for h, w in ((1, 1), (3, 700), (500, 30), (64, 64)):
        labels = rng.integers(0, 150, (2, h, w))
        rows.append((gray(h, w), labels[0], labels[1], "x" * 300))
    sheet = segmentation_sheet(rows, names, colors, side=200)
    assert sheet.shape[1] == 4 * 204 + 4 and sheet.dtype == np.uint8
    assert segmentation_sheet([], names, colors).ndim == 3
    nothing = segmentation_sheet([(gray(), np.full((12, 20), 255), stripes() % 255, "void")], names, colors)
    assert has(nothing, UNKNOWN).any() and not has(nothing, WRONG)[: nothing.shape[0] // 2].any()
    with pytest.raises(ValueError, match="as the picture has"):
        segmentation_sheet([(gray(), stripes(), stripes(8, 20), "")], names, colors)


def test_a_shrunk_sheet_has_no_new_labels():
    """Labels are not interpolated: between 0 and 2 there is no 1."""
    labels = np.where(np.arange(300) % 7 < 3, 0, 2)[None].repeat(200, axis=0)
    colors = np.array([[10, 10, 10], [200, 0, 0], [10, 10, 10]], np.uint8)
    sheet = segmentation_sheet([(gray(200, 300, 10), labels, labels, "a")], ["a", "b", "c"], colors, side=100)
    assert not (sheet[25:80, 110:300, 0] > 60).any()


def test_street_scenes(datasets_root):
    files = sorted((datasets_root / "camvid").rglob("valannot/*.png"))
    if not files:
        pytest.skip("no label maps")
    labels = np.array(Image.open(files[0])).astype(np.int64)
    labels[labels == 11] = 255
    colors = np.stack([np.arange(11) * 20 + 5] * 3, axis=1)
    picture = color_map(labels, colors)
    assert {tuple(c) for c in np.unique(picture.reshape(-1, 3), axis=0).tolist()} <= {
        *map(tuple, colors.tolist()),
        VOID,
    }
