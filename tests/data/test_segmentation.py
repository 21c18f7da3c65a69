import pickle

import numpy as np
import pytest

from tests.data.conftest import write_mask, write_picture
from visionkit.data.class_weights import count_pixels
from visionkit.data.label_maps import IndexMaps, index_table
from visionkit.data.ragged import Blobs
from visionkit.data.scene_voc import voc_palette
from visionkit.data.segmentation import (
    concatenate_segmentation,
    given_colors,
    join_segmentation,
    pack_segmentation,
    spread_colors,
)
from visionkit.errors import ConfigError, DataError


@pytest.fixture
def index(tmp_path):
    """An index of pictures whose maps are these values."""

    def make(values, names=("a", "b"), folder="s", colors=None):
        images, masks = [], []
        for k, value in enumerate(values):
            size = np.asarray(value).shape
            images.append(str(write_picture(tmp_path / folder / f"{k}.jpg", size, seed=k)))
            masks.append(str(write_mask(tmp_path / folder / f"{k}.png", value)).encode())
        maps = IndexMaps(Blobs.pack(masks), index_table(range(len(names))))
        return pack_segmentation(names, colors, folder, images, maps)

    return make


ONE, TWO = np.array([[0, 1, 1], [255, 0, 1]]), np.array([[1, 1], [255, 255], [255, 255]])


def test_what_an_index_says(index):
    both = pickle.loads(pickle.dumps(index([ONE, TWO])))
    assert len(both) == 2 and [both.size(i) for i in range(2)] == [(2, 3), (3, 2)] and both.image_id(1) == 2
    assert both.path(0).endswith("s/0.jpg") and np.array_equal(both.semantic(0), ONE)
    assert count_pixels(both).pixels.tolist() == [2, 5]
    turned = both.select([1, 0, 1])
    assert len(turned) == 3 and turned.path(1).endswith("0.jpg") and np.array_equal(turned.semantic(2), TWO)
    assert len(both.select([])) == 0 and count_pixels(both.select([])).pixels.tolist() == [0, 0]


def test_names_of_any_alphabet(index):
    strange = index([ONE], folder="Straße 道路")
    assert strange.path(0).endswith("Straße 道路/0.jpg") and strange.semantic(0).shape == (2, 3)


def test_rename_joins_by_name(index):
    colors = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    moved = index([ONE], colors=colors).rename(["b", "new", "a"])
    assert moved.semantic(0).tolist() == [[2, 0, 0], [255, 2, 0]] and moved.names == ("b", "new", "a")
    assert moved.colors[[2, 0]].tolist() == colors.tolist()
    with pytest.raises(DataError, match="s: class 'b' is not among the known classes: a, c"):
        index([ONE]).rename(["a", "c"])


def test_a_map_of_another_size(index, tmp_path):
    wrong = index([ONE, TWO])
    write_mask(tmp_path / "s" / "1.png", ONE)
    with pytest.raises(DataError, match=r"s/1\.png has 2 x 3 pixels .*s/1\.jpg 3 x 2: they have to be the same"):
        wrong.semantic(1)


def test_a_picture_that_its_tag_turns(index, tmp_path):
    from PIL import Image

    picture = Image.new("RGB", (3, 2))
    tag = picture.getexif()
    tag[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=tag)
    maps = index([TWO]).maps
    assert pack_segmentation(("a", "b"), None, "s", [str(tmp_path / "turned.jpg")], maps).semantic(0).shape == (3, 2)


def test_concatenation(index):
    both = concatenate_segmentation([index([ONE]), index([TWO, ONE], folder="t")])
    assert len(both) == 3 and both.source == "s + t" and both.size(1) == (3, 2)
    assert np.array_equal(both.semantic(1), TWO) and count_pixels(both).pixels.tolist() == [4, 8]
    assert np.array_equal(both.select([2, 1]).rename(["b", "a"]).semantic(1)[0], [0, 0])
    with pytest.raises(ValueError, match="names differ"):
        concatenate_segmentation([index([ONE]), index([TWO], names=("a", "c"))])


def test_join(index):
    data = join_segmentation(index([ONE], names=("a", "b", "c")), index([TWO], names=("c", "a"), folder="t"))
    assert data.names == data.val.names == ("a", "b", "c") and data.val.semantic(0)[0].tolist() == [0, 0]
    assert data.train.report == data.val.report == []
    for train, val, words in (([], [ONE], "training"), ([ONE], [], "validation")):
        with pytest.raises(DataError, match=f"the {words} set is empty"):
            join_segmentation(index(train), index(val))
    with pytest.raises(DataError, match="class 'c' is not among"):
        join_segmentation(index([ONE]), index([ONE], names=("a", "c")))


def test_pictures_in_both_splits_are_reported(index):
    data = join_segmentation(index([ONE, TWO]), index([ONE]))
    assert data.val.report == ["s: 1 of 1 pictures are trained on too: what is measured on them says little."]
    assert data.train.report == []


def test_too_many_classes(index):
    with pytest.raises(DataError, match="256 classes, and label maps hold 255"):
        pack_segmentation([str(k) for k in range(256)], None, "s", [], index([]).maps)


def test_colours():
    assert spread_colors(3).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]  # VOC's background, aeroplane, bicycle
    assert spread_colors(21)[20].tolist() == [0, 64, 128]  # and tvmonitor
    assert len({tuple(color) for color in spread_colors(256).tolist()}) == 256
    assert voc_palette() == spread_colors(256).tobytes()
    assert given_colors([[1, 2, 3]], 1).tolist() == [[1, 2, 3]]
    for colors, words in (([[1, 2, 3]], "1 colours, and there are 2"), ([[1, 2], [1, 2, 3]], r"\[1, 2\] is not"),
                          ([[1, 2, 256], [1, 2, 3]], "256.* is not a colour")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            given_colors(colors, 2)
