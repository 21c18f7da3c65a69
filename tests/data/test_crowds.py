"""The generated crowds: the same bits each time, points where the heads are, counts in the stated range."""

import json

import numpy as np
import pytest

from visionkit.data.crowd_picture import draw_crowd
from visionkit.data.crowd_settings import CrowdSettings
from visionkit.data.crowds import crowds, generate_crowds
from visionkit.data.image import read_image
from visionkit.errors import ConfigError, DataError

SMALL = {"train_images": 3, "val_images": 2, "image_size": [96, 128], "people": [0, 30]}


def test_a_picture_is_a_function_of_seed_split_and_number():
    settings = CrowdSettings()
    first, again = draw_crowd(settings, "train", 5), draw_crowd(settings, "train", 5)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.points, again.points)
    for other in (
        draw_crowd(settings, "val", 5),
        draw_crowd(settings, "train", 6),
        draw_crowd(CrowdSettings(seed=1), "train", 5),
    ):
        assert not np.array_equal(other.image, first.image)


def test_counts_and_places():
    settings = CrowdSettings()
    pictures = [draw_crowd(settings, "train", i) for i in range(40)]
    counts = [len(picture.points) for picture in pictures]
    assert min(counts) >= 8 and max(counts) <= 150 and np.std(counts) > 25
    for picture in pictures:
        assert picture.image.shape == (192, 256, 3) and picture.image.dtype == np.uint8
        assert (picture.points > 0).all() and (picture.points < [256, 192]).all()


def test_points_are_on_heads():
    """The middle of a head is hair, skin or hat, whatever stands around it: without people the same spot is ground."""
    settings = CrowdSettings(people=(40, 40), clutter=(0, 0), noise=0.0, apart=3.0)
    picture = draw_crowd(settings, "train", 0)
    places = picture.points.astype(int)
    heads = picture.image[places[:, 1], places[:, 0]].astype(float)
    ground = np.median(picture.image.reshape(-1, 3), axis=0)
    assert (np.abs(heads - ground).max(axis=1) > 15).mean() > 0.9
    elsewhere = np.clip(places - [0, 14], 0, None)  # above a head there is ground
    other = picture.image[elsewhere[:, 1], elsewhere[:, 0]].astype(float)
    assert (np.abs(other - ground).max(axis=1) > 15).mean() < 0.7


def test_a_picture_without_people():
    assert draw_crowd(CrowdSettings(people=(0, 0)), "val", 0).points.shape == (0, 2)


def test_written_once_and_read_as_points(tmp_path):
    data = crowds(root=str(tmp_path), **SMALL)
    assert data.names == ("person",) and (len(data.train), len(data.val)) == (3, 2) and data.train.report == []
    folder = next(tmp_path.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["crowds.json", "images", "train.csv", "val.csv"]
    drawn = draw_crowd(CrowdSettings.of(SMALL), "train", 1)
    np.testing.assert_allclose(data.train.truth(1).points[:, :2], drawn.points, atol=0.006)
    assert np.abs(read_image(data.train.path(1)).astype(float) - drawn.image).mean() < 6  # as JPEG
    before = (folder / "crowds.json").stat().st_mtime_ns
    again = crowds(root=str(tmp_path), **SMALL)
    assert (folder / "crowds.json").stat().st_mtime_ns == before and again.train.path(0) == data.train.path(0)
    assert len(list(tmp_path.iterdir())) == 1, "nothing half made is left behind"
    assert json.loads((folder / "crowds.json").read_text())["settings"]["people"] == [0, 30]
    assert CrowdSettings.of({**SMALL, "seed": 1}).digest() != CrowdSettings.of(SMALL).digest()


def test_lists_and_tuples_are_one_setting():
    assert CrowdSettings(head=(2, 6)).digest() == CrowdSettings(head=[2.0, 6.0]).digest()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"peple": [1, 2]}, "unknown key 'peple'"),
        ({"people": [9, 2]}, r"people \[9, 2\] has its least above its most"),
        ({"people": 7}, "people must be a pair"),
        ({"people": [1.5, 3]}, "people must be a whole number"),
        ({"image_size": [10, 256]}, "image_size must be a whole number from 32"),
        ({"noise": "loud"}, "noise must be a number"),
        ({"head": [float("nan"), 3]}, "head must be a number"),
    ],
)
def test_impossible_settings(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        CrowdSettings.of(settings)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="crowds: cannot write to"):
        generate_crowds(tmp_path / "file" / "below", CrowdSettings.of(SMALL))
