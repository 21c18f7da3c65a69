import pickle

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import write_mask
from visionkit.data.color_maps import ColorMaps, pack_colors
from visionkit.data.ragged import Blobs
from visionkit.errors import DataError

COLORS = np.array([[128, 64, 128], [0, 0, 0], [255, 255, 255], [0, 0, 1]], np.uint8)
LABELS = np.array([0, 255, 1, 2])  # black is void


def color_maps(*paths):
    return ColorMaps.of(Blobs.pack([str(path).encode() for path in paths]), COLORS, LABELS)


def test_colours_are_one_number():
    colors = np.random.default_rng(0).integers(0, 256, (50, 3), np.uint8)
    assert pack_colors(colors).tolist() == [int(f"{r:02x}{g:02x}{b:02x}", 16) for r, g, b in colors.tolist()]


def test_colours_become_labels(tmp_path):
    rows = np.random.default_rng(0).integers(0, 4, (30, 40))
    maps = color_maps(write_mask(tmp_path / "a.png", COLORS[rows]))
    assert np.array_equal(maps.read(0), LABELS[rows]) and maps.read(0).dtype == np.int64
    moved = pickle.loads(pickle.dumps(maps.relabelled(np.array([2, 0, 7])))).select(np.array([0, 0]))
    assert np.array_equal(moved.read(1), np.array([2, 255, 0, 7])[rows])


def test_a_palette_is_read_by_its_colours(tmp_path):
    rows = np.random.default_rng(0).integers(0, 4, (5, 6)).astype(np.uint8)
    picture = Image.fromarray(rows)
    picture.putpalette(COLORS.tobytes())
    picture.save(tmp_path / "p.png")
    assert np.array_equal(color_maps(tmp_path / "p.png").read(0), LABELS[rows])


@pytest.mark.parametrize(("count", "words"), [(1, r"\(255, 255, 254\) stands for no class \(3 pixels\)\."),
                                              (2, r"\(3 pixels\), nor do 1 others \(4 pixels in all\)")])  # fmt: skip
def test_an_unknown_colour(tmp_path, count, words):
    image = COLORS[np.zeros((4, 5), int)]
    image[0, :3] = 255, 255, 254
    if count == 2:
        image[2, 2] = 9, 9, 9
    with pytest.raises(DataError, match=words) as caught:
        color_maps(write_mask(tmp_path / "a.png", image)).read(0)
    assert "a.png" in str(caught.value)


def test_jpeg_is_the_likely_culprit(tmp_path):
    Image.fromarray(COLORS[np.random.default_rng(0).integers(0, 4, (32, 32))]).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="PNG is wanted"):
        color_maps(tmp_path / "a.jpg").read(0)
