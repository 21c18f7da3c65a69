import numpy as np
import pytest

from visionkit.viz.density import density_picture, heat


def gray(h=360, w=400, value=100):
    return np.full((h, w, 3), value, np.uint8)


def spot(h=36, w=40, y=10, x=30, value=0.5):
    density = np.zeros((h, w), np.float32)
    density[y, x] = value
    return density


def test_heat_is_where_the_density_is():
    image = gray()
    picture = density_picture(image, spot())
    head = len(picture) - 360
    assert picture.shape == (360 + head, 400, 3) and picture.dtype == np.uint8 and (image == 100).all()
    below = picture[head:].astype(int)
    hot = (below[:, :, 0] - below[:, :, 2]) > 40
    ys, xs = np.nonzero(hot)
    assert 90 <= ys.min() < 105 < ys.max() < 120 and 290 <= xs.min() < 305 < xs.max() < 320
    assert (below[200:] == 100).all() and (below[:, :200] == 100).all(), "no veil where there is nothing"
    y, x = np.unravel_index(below[:, :, 0].argmax(), hot.shape)
    assert abs(y - 105) <= 5 and abs(x - 305) <= 5


def test_any_scale_looks_the_same_and_the_head_says_which():
    one, ten = density_picture(gray(), spot(value=0.5)), density_picture(gray(), spot(value=5))
    head = len(one) - 360
    assert np.abs(one[head:].astype(int) - ten[head:]).max() <= 1 and (one[:head] != ten[:head]).any()
    top, scale = slice(0, head // 2), slice(head // 2, head)
    coarse = density_picture(gray(), np.full((2, 2), 1.0))
    fine = density_picture(gray(), np.full((4, 4), 0.25))
    assert (coarse[:head] == fine[:head]).all(), "the same count, and the same objects for each pixel"
    assert (one[top] != density_picture(gray(), spot(), truth=3)[top]).any()
    assert (one[scale] == density_picture(gray(), spot(), truth=3)[scale]).all()


@pytest.mark.parametrize("density", [np.zeros((9, 9)), -np.ones((3, 4)), np.full((2, 2), np.nan), np.zeros((0, 0))])
def test_nothing_to_show(density):
    picture = density_picture(gray(), density)
    assert (picture[-360:] == 100).all() and picture.shape == density_picture(gray(), spot()).shape


def test_small_pictures_grow_and_slivers_do_not_break():
    assert density_picture(gray(40, 60), spot(5, 5, 2, 2)).shape[1] == 300
    for size in ((1, 1), (2, 900), (900, 2)):
        assert density_picture(gray(*size), spot(3, 3, 1, 1)).dtype == np.uint8
    with pytest.raises(ValueError, match=r"a density is \(h, w\)"):
        density_picture(gray(), np.zeros((1, 3, 3)))


def test_the_colours_brighten():
    colors = heat(np.linspace(0, 1, 20))
    assert (np.diff(colors.sum(axis=1)) > 0).all() and colors.min() >= 0 and colors.max() <= 255
