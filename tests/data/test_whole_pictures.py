"""Detection data as pictures with a class: which become one, what is background, what is refused."""

import numpy as np
import pytest
from PIL import Image

from visionkit.config import compose, instantiate
from visionkit.data.classification import labelled_sample
from visionkit.data.index import DetectionIndex, IndexBuilder
from visionkit.data.sources import DetectionData
from visionkit.data.whole_pictures import free_parts, whole_pictures
from visionkit.errors import ConfigError, DataError

SMALL, LARGE = (10.0, 12.0, 20.0, 22.0), (20.0, 10.0, 50.0, 35.0)


def index(objects: list[list[tuple]], names=("a", "b"), folder: str = "") -> DetectionIndex:
    """Pictures of 40 x 60; an object is (box, label), or (box, label, "crowd" or "difficult")."""
    builder = IndexBuilder(names, "made here")
    for i, own in enumerate(objects):
        builder.add_image(f"{folder}{i}.png", 100 + i, (40, 60))
        for box, label, *kind in own:
            builder.add_object(box, label, "crowd" in kind, "difficult" in kind)
    return builder.build()


MIXED = [
    [(SMALL, 0)],
    [],
    [(SMALL, 0), (LARGE, 1)],
    [(SMALL, 1), (LARGE, 0, "crowd")],
    [(LARGE, 1, "difficult")],
    [(SMALL, 1), (LARGE, 1)],
]


def data(objects=MIXED, **settings) -> DetectionData:
    made = index(objects, **settings)
    return DetectionData(made, made, made.names)


def rows(found) -> list[tuple[str, int, list]]:
    return [(found.path(i), int(found.labels[i]), found.crops[i].tolist()) for i in range(len(found))]


def test_pictures_of_one_class_have_it():
    found = whole_pictures(data())
    assert found.names == ("a", "b")
    assert rows(found.train) == [(f"{i}.png", k, [0, 0, 60, 40]) for i, k in ((0, 0), (3, 1), (5, 1))]
    assert found.train.report == ["made here: 3 pictures do not show objects of one class and are left out."]


def test_the_free_parts_are_background():
    found = whole_pictures(data([[(LARGE, 0, "crowd"), (SMALL, 0)], [], [(LARGE, 0, "difficult")]]), background=5)
    assert found.names == ("a", "b", "background")
    assert rows(found.val) == [
        ("0.png", 0, [0, 0, 60, 40]),
        ("0.png", 2, [0, 0, 10, 40]),
        ("0.png", 2, [50, 0, 60, 40]),
        ("0.png", 2, [0, 0, 60, 10]),
        ("0.png", 2, [0, 35, 60, 40]),
        ("1.png", 2, [0, 0, 60, 40]),
        ("2.png", 2, [0, 0, 20, 40]),
        ("2.png", 2, [50, 0, 60, 40]),
        ("2.png", 2, [0, 0, 60, 10]),
        ("2.png", 2, [0, 35, 60, 40]),
    ]
    assert found.train.report == [
        "made here: 1 pictures do not show objects of one class and are left out.",
        "made here: 9 parts of pictures without an object are background.",
    ]


def test_no_free_part_touches_an_object_or_is_smaller_than_asked():
    rng = np.random.default_rng(0)
    for _ in range(50):
        corners = np.sort(rng.uniform(0, 100, (3, 2, 2)), axis=1)
        boxes = corners.reshape(3, 4).astype(np.float32)  # x1 y1 x2 y2
        for x1, y1, x2, y2 in free_parts(boxes, (100, 100), 12):
            assert min(x2 - x1, y2 - y1) >= 12
            width = np.minimum(boxes[:, 2], x2) - np.maximum(boxes[:, 0], x1)
            height = np.minimum(boxes[:, 3], y2) - np.maximum(boxes[:, 1], y1)
            assert not ((width > 0) & (height > 0)).any()
    assert free_parts(np.zeros((0, 4), np.float32), (5, 7), 12) == [(0, 0, 7, 5)]


def test_other_pictures_are_background_unless_they_show_a_class():
    others = data([[(SMALL, 0)], [(SMALL, 1)], [], [(LARGE, 0, "crowd")]], names=("b", "dog"), folder="other/")
    found = whole_pictures(data([[(SMALL, 0)]]), background=100, others=others)
    assert rows(found.train) == [
        ("0.png", 0, [0, 0, 60, 40]),
        ("other/1.png", 2, [0, 0, 60, 40]),
        ("other/2.png", 2, [0, 0, 60, 40]),
    ]
    assert "made here: 2 of 4 pictures are background." in found.train.report


def test_a_part_is_read_as_it_lies_in_the_file(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "0.png")
    found = whole_pictures(data([[(LARGE, 0)]], folder=f"{tmp_path}/"), background=9).train
    assert (labelled_sample(found, 0).image == image).all()
    assert (labelled_sample(found, 2).image == image[:, 50:]).all()


@pytest.mark.parametrize("background", [0, True, 2.5])
def test_a_side_that_is_no_number_of_pixels_is_refused(background):
    with pytest.raises(ConfigError, match=f"data.background={background}"):
        whole_pictures(data(), background=background)


def test_what_is_refused_besides():
    with pytest.raises(ConfigError, match=r"data\.others are background"):
        whole_pictures(data(), others=data())
    with pytest.raises(ConfigError, match="a class is called 'background'"):
        whole_pictures(data(names=("a", "background")), background=5)
    with pytest.raises(DataError, match="made here: the training set is empty"):
        whole_pictures(data([[], [(SMALL, 0, "crowd")]]))


def test_the_configurations(datasets_root, tmp_path):
    raccoons = instantiate(compose("train", ["data=raccoon_background"]).data)
    assert raccoons.names == ("raccoon", "background")
    assert raccoons.train.class_counts()[0] == 160 and raccoons.val.class_counts()[0] == 40
    assert raccoons.train.class_counts()[1] > 160
    few = [f"data.detection.{split}_images=3" for split in ("train", "val")]
    scenes = instantiate(compose("train", ["data=scene_pictures", f"data.detection.root={tmp_path}", *few]).data)
    assert len(scenes.train) == 3 and len(scenes.names) == 8 and scenes.train.report == []
