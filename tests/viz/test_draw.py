"""What is drawn is in the picture, in the class's colour, and the input stays as it was."""

import numpy as np
import pytest
import torch

from visionkit.viz.draw import draw_detections, legible_scale
from visionkit.viz.mosaic import mosaic
from visionkit.viz.palette import class_color, text_color
from visionkit.viz.text import fit, font, place


def gray(h: int = 120, w: int = 160, value: int = 128) -> np.ndarray:
    return np.full((h, w, 3), value, np.uint8)


def has(picture: np.ndarray, color) -> np.ndarray:
    return (picture == np.array(color)).all(axis=2)


def test_a_box_is_where_it_belongs_and_the_input_is_untouched():
    image = gray()
    out = draw_detections(image, [[40, 50, 100, 90]], [1], [0.75], ["cat", "dog"])
    assert (image == 128).all() and out.shape == image.shape and out.dtype == np.uint8
    colored = has(out, class_color(1))
    ys, xs = np.nonzero(colored[50:])
    assert ys.max() + 50 == 89 and xs.min() == 40 and xs.max() == 99
    assert colored[60:89, 40].all() and colored[60:89, 99].all() and colored[89, 40:100].all()
    assert (out[60:80, 50:90] == 128).all()  # the inside stays free
    assert colored[:50].any()  # the label stands above


def test_text_contrasts_and_differs_with_the_score():
    a = draw_detections(gray(), [[40, 50, 100, 90]], [1], [0.75], ["cat", "dog"])
    b = draw_detections(gray(), [[40, 50, 100, 90]], [1], [0.25], ["cat", "dog"])
    assert (a != b).any()
    assert has(a, text_color(class_color(1)))[:50].any()
    assert text_color((255, 255, 0)) == (0, 0, 0) and text_color((60, 0, 90)) == (255, 255, 255)


@pytest.mark.parametrize(
    "box", [[-50, -50, 500, 500], [150, 110, 400, 300], [0, 0, 0, 0], [159, 119, 160, 120], [300, 300, 400, 400]]
)
def test_boxes_over_the_edge_stay_in_the_picture(box):
    out = draw_detections(gray(), [box], [0], [1.0], ["a class with a really long name that cannot fit"])
    assert out.shape == (120, 160, 3) and (out != 128).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_boxes_that_are_none_are_left_out(bad):
    assert (draw_detections(gray(), [[1, 2, bad, 4]], [0]) == 128).all()


def test_nothing_to_draw():
    assert (draw_detections(gray(), np.zeros((0, 4)), []) == 128).all()
    assert (
        draw_detections(gray(), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), [], torch.zeros(0, 120, 160)) == 128
    ).all()
    assert draw_detections(np.zeros((0, 0, 3), np.uint8), [[0, 0, 1, 1]], [0]).shape == (0, 0, 3)
    assert draw_detections(gray(1, 1), [[0, 0, 1, 1]], [0], [0.5], ["x"]).shape == (1, 1, 3)


def test_tensors_masks_and_crowds():
    masks = torch.zeros(1, 120, 160, dtype=torch.bool)
    masks[0, 60:80, 60:80] = True
    args = (gray(), torch.tensor([[40.0, 50, 100, 90]]), torch.tensor([2]))
    whole, broken = draw_detections(*args, masks=masks), draw_detections(*args, masks=masks, crowd=[True])
    expected = (0.55 * 128 + 0.45 * np.array(class_color(2))).astype(np.uint8)
    assert (whole[65:75, 65:75] == expected).all() and (whole[82:86, 82:90] == 128).all()
    line = has(broken, class_color(2))[70:89, 40]
    assert line.any() and not line.all() and has(whole, class_color(2))[70:89, 40].all()


def test_the_best_box_is_on_top_whatever_the_order():
    boxes, labels = np.array([[40, 50, 100, 90], [40, 50, 100, 90]]), np.array([0, 1])
    a = draw_detections(gray(), boxes, labels, [0.9, 0.3], ["a", "b"])
    b = draw_detections(gray(), boxes[::-1], labels[::-1], [0.3, 0.9], ["a", "b"])
    assert (a == b).all() and has(a, class_color(0))[89, 45:95].all()


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="differ in length"):
        draw_detections(gray(), [[1, 2, 3, 4]], [0, 1])


def test_small_pictures_are_enlarged():
    assert legible_scale((60, 80)) == 6 and legible_scale((600, 800)) == 1 and legible_scale((0, 0)) == 480
    out = draw_detections(gray(20, 30), [[5, 5, 15, 15]], [0], scale=4)
    assert out.shape == (80, 120, 3) and has(out, class_color(0))[59, 20:60].all()


def test_labels_keep_apart():
    first = place((10, 50, 60, 90), 40, 12, (200, 200), [])
    second = place((10, 50, 60, 90), 40, 12, (200, 200), [first])
    assert first == (10, 38, 50, 50) and second != first
    assert place((180, 0, 200, 10), 40, 12, (200, 200), [])[2] <= 200
    assert place((0, 0, 5, 5), 400, 12, (200, 200), [])[0] == 0  # wider than the picture: from the left edge


def test_long_text_is_shortened():
    assert fit("cat", 12, 500) == "cat"
    short = fit("a class with a long name", 12, 60)
    assert short.endswith("…") and font(12).getlength(short) <= 60


def test_colors_differ():
    assert len({class_color(k) for k in range(91)}) > 85
    assert all(0 <= c <= 255 for k in range(300) for c in class_color(k))


def test_mosaic_places_pictures_row_by_row():
    images = [gray(10, 20, value) for value in (10, 50, 90)]
    out = mosaic(images, columns=2, gap=2, background=0)
    assert out.shape == (2 * 12 + 2, 2 * 22 + 2, 3)
    assert (out[2:12, 2:22] == 10).all() and (out[2:12, 24:44] == 50).all() and (out[14:24, 2:22] == 90).all()
    assert (out[14:24, 24:44] == 0).all()


def test_mosaic_of_other_sizes_and_of_nothing():
    out = mosaic([gray(100, 50, 200), gray(10, 10, 99)], columns=2, cell=(50, 50), gap=0, background=0)
    assert out.shape == (50, 100, 3) and (out[:, 13:37] == 200).all() and (out[20:30, 70:80] == 99).all()
    assert (out[:, :12] == 0).all()
    assert mosaic([]).shape == (9, 9, 3)
    assert mosaic([gray(30, 60)], titles=["a title"]).shape == (30 + 18 + 8, 68, 3)
    with pytest.raises(ValueError, match="title"):
        mosaic([gray()], titles=[])


def test_a_mask_has_a_veil_and_a_rim_in_the_colour_of_its_class():
    masks = np.zeros((2, 120, 160), bool)
    masks[0, 20:60, 20:60] = True
    masks[0, 35:45, 35:45] = False  # a hole
    masks[1, 70:100, 90:140] = True
    boxes = [[10, 10, 70, 68], [85, 65, 150, 110]]
    out = draw_detections(gray(), boxes, [0, 1], [0.9, 0.8], ["cat", "dog"], masks=masks)
    rim = has(out, class_color(0))
    assert rim[20:60, 20].all() and rim[59, 20:60].all()  # outside
    assert rim[36:44, 34].all() and rim[36:44, 45].all()  # and around the hole
    assert (out[38:42, 38:42] == 128).all()  # which stays free
    veil = (0.55 * 128 + 0.45 * np.array(class_color(1))).astype(np.uint8)
    assert (out[75:95, 95:135] == veil).all()


def test_masks_grow_with_a_small_picture():
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 5:15, 5:15] = True
    out = draw_detections(gray(20, 30), [[5, 5, 15, 15]], [0], masks=mask, scale=4)
    veil = (0.55 * 128 + 0.45 * np.array(class_color(0))).astype(np.uint8)
    assert (out[30:50, 30:50] == veil).all() and (out[64:, 64:] == 128).all()


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="masks"):
        draw_detections(gray(), [[1, 2, 3, 4]], [0], masks=np.zeros((1, 60, 80), bool))
