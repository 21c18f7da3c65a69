import numpy as np
import pytest

from tests.data.conftest import write_mask, write_picture
from visionkit.data.class_weights import METHODS, PixelCounts, count_pixels, never_seen, weights_from
from visionkit.data.image_lists import image_lists
from visionkit.data.label_maps import IndexMaps, index_table
from visionkit.data.ragged import Blobs
from visionkit.data.segmentation import pack_segmentation
from visionkit.errors import ConfigError

NAMES = ("a", "b", "c", "never")


@pytest.fixture
def index(tmp_path):
    def make(*maps):
        images = [str(write_picture(tmp_path / f"{k}.jpg", np.shape(values))) for k, values in enumerate(maps)]
        masks = [str(write_mask(tmp_path / f"{k}.png", values)).encode() for k, values in enumerate(maps)]
        return pack_segmentation(NAMES, None, "s", images, IndexMaps(Blobs.pack(masks), index_table(range(4))))

    return make


def test_counts_are_of_the_pictures_that_show_a_class(index):
    counts = count_pixels(index([[0, 0, 0, 1]], [[0, 2, 255, 255]], [[255] * 4]))
    assert counts.pixels.tolist() == [4, 1, 1, 0] and counts.where_present.tolist() == [6, 4, 2, 0]


def test_median_frequency_by_hand(index):
    weights = weights_from(count_pixels(index([[0, 0, 0, 1]], [[0, 2, 255, 255]])), "median_frequency")
    # Frequencies 4 / 6, 1 / 4, 1 / 2; their median is 1 / 2.
    assert weights.tolist() == pytest.approx([0.75, 2, 1, 1]) and weights.dtype == np.float32


def test_inverse_by_hand_has_a_mean_of_one_over_the_pixels(index):
    counts = count_pixels(index([[0, 0, 0, 1]], [[0, 2, 255, 255]]))
    weights = weights_from(counts, "inverse")
    assert weights.tolist() == pytest.approx([0.5, 2, 2, 1])
    assert (weights * counts.pixels).sum() / counts.pixels.sum() == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_never_infinite_nor_nan(index, method):
    for maps in ([[[255, 255]]], [], [[[0, 0]]], [[[3, 255]]]):
        weights = weights_from(count_pixels(index(*maps)), method)
        assert weights.shape == (4,) and weights.tolist() == [1, 1, 1, 1]


def test_a_class_never_seen_has_its_sentence():
    counts = PixelCounts(np.array([5, 0, 2, 0]), np.array([7, 0, 7, 0]))
    assert never_seen(NAMES, counts) == "No pixel of the training set is of the classes b, never: weight 1."
    assert never_seen(NAMES[:3], PixelCounts(np.ones(3, int), np.ones(3, int))) is None


def test_unknown_method(index):
    with pytest.raises(ConfigError, match="no method 'sqrt'; choose one of median_frequency, inverse, none"):
        weights_from(count_pixels(index()), "sqrt")


def test_camvid_rare_classes_weigh_more(datasets_root):
    names = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    data = image_lists("camvid", "train.txt", "val.txt", names, void=[11])
    weights = weights_from(count_pixels(data.train.select(range(0, 123, 4))), "median_frequency")
    by_name = dict(zip(names, weights.tolist(), strict=True))
    # SegNet's file has 0.14 for road, 0.18 for building, 4.6 for poles and 9.6 for signs, from all 367 pictures.
    assert by_name["road"] < 0.3 and by_name["building"] < 0.3 and by_name["pole"] > 2 and by_name["sign"] > 4
    assert np.median(weights) == pytest.approx(1)
