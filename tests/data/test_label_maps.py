import pickle

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import write_mask
from visionkit.data.label_maps import IndexMaps, JoinedMaps, index_table, read_index_picture
from visionkit.data.ragged import Blobs
from visionkit.errors import ConfigError, DataError

VALUES = np.array([[0, 1, 2], [7, 21, 255]], np.uint8)


def index_maps(paths, table):
    return IndexMaps(Blobs.pack([str(path).encode() for path in paths]), table)


def test_values_with_gaps_become_positions(tmp_path):
    maps = index_maps([write_mask(tmp_path / "a.png", VALUES)], index_table([0, 7, 21], void=[1, 2]))
    assert maps.read(0).tolist() == [[0, 255, 255], [1, 2, 255]] and maps.read(0).dtype == np.int64
    assert maps.name(0).endswith("a.png") and len(maps) == 1


def test_255_may_be_a_class(tmp_path):
    maps = index_maps([write_mask(tmp_path / "a.png", VALUES % 254 // 21 * 255)], index_table([0, 255]))
    assert maps.read(0).tolist() == [[0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("values", "void", "words"),
    [([0, 256], [], "256 cannot"), ([0, 0], [], "0 of the label maps"), ([0, 1], [1], "void"), ([0], [-1], "-1 cann")],
)
def test_impossible_tables(values, void, words):
    with pytest.raises(ConfigError, match=words):
        index_table(values, void)


def test_a_value_outside_the_classes(tmp_path):
    maps = index_maps([write_mask(tmp_path / "a.png", VALUES)], index_table(range(3)))
    with pytest.raises(DataError, match=r"a\.png: the values 7, 21 stand for no class \(2 pixels\)"):
        maps.read(0)


def test_select_and_relabel_and_pickle(tmp_path):
    files = [write_mask(tmp_path / f"{k}.png", np.full((2, 3), k)) for k in range(3)]
    maps = index_maps(files, index_table(range(2), void=[2])).select(np.array([2, 0, 1]))
    maps = pickle.loads(pickle.dumps(maps.relabelled(np.array([5, 4]))))
    assert [int(maps.read(i)[0, 0]) for i in range(3)] == [255, 5, 4]


def test_joined_maps_are_one(tmp_path):
    files = [write_mask(tmp_path / f"{k}.png", np.full((2, 3), k)) for k in range(3)]
    parts = [index_maps(files[:1], index_table(range(3))), index_maps(files[1:], index_table([2, 1]))]
    maps = JoinedMaps.of(parts)
    assert [int(maps.read(i)[0, 0]) for i in range(len(maps))] == [0, 1, 0]
    chosen = maps.select(np.array([2, 0])).relabelled(np.array([3, 0, 0]))
    assert [int(chosen.read(i)[0, 0]) for i in range(2)] == [3, 3] and chosen.name(0).endswith("2.png")


def test_palette_positions_and_not_colours(tmp_path):
    picture = Image.fromarray(VALUES)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(tmp_path / "p.png", transparency=7)
    assert np.array_equal(read_index_picture(str(tmp_path / "p.png")), VALUES)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16", "I"])
def test_one_channel_in_many_dresses(tmp_path, mode):
    values = VALUES.clip(0, 1) if mode == "1" else VALUES
    gray = Image.fromarray(values)
    if mode == "1":
        picture = Image.fromarray(values.astype(bool))
    elif mode.startswith("I"):
        picture = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32))
    else:
        picture = gray.convert(mode)
    suffix = "tif" if mode == "I" else "png"
    picture.save(tmp_path / f"m.{suffix}")
    assert np.array_equal(read_index_picture(str(tmp_path / f"m.{suffix}")), values)


def test_refused_pictures(tmp_path):
    write_mask(tmp_path / "colour.png", np.arange(18).reshape(2, 3, 3))
    Image.fromarray(np.full((2, 3), 300, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("no picture")
    whole = write_mask(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 9, (64, 64))).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    for name, words in [
        ("colour.png", r"has colours \(RGB\)"),
        ("deep.png", "numbers up to 300"),
        ("text.png", "not an image"),
        ("half.png", "cannot be read"),
        ("none.png", "does not exist"),
    ]:
        with pytest.raises(DataError, match=words) as caught:
            read_index_picture(str(tmp_path / name))
        assert name in str(caught.value)
