import json

import numpy as np
import pytest

from tests.data.conftest import write_mask, write_picture
from visionkit.config import compose, instantiate
from visionkit.data.class_weights import count_pixels
from visionkit.data.coco_segmentation import coco_panoptic, coco_stuff
from visionkit.errors import ConfigError, DataError

CATEGORIES = [
    {"id": 200, "name": "rug", "isthing": 0, "color": [1, 2, 3]},
    {"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60]},
]
LARGE = 66000  # a segment whose number needs all three bytes: 208, 1, 1


def as_colors(segments):
    return np.stack([segments & 255, segments >> 8 & 255, segments >> 16], axis=-1)


class Panoptic:
    """COCO's panoptic layout: two pictures to train on, and one of them again to measure on."""

    def __init__(self, root):
        self.root = root
        self.segments = np.array([[0, 5, 5, LARGE], [7, 7, 5, LARGE], [0, 0, 7, 7]])
        self.content = {
            "images": [{"id": k, "file_name": f"{k:012d}.jpg", "height": 3, "width": 4} for k in (9, 4)],
            "annotations": [self.annotation(4), self.annotation(9)],
            "categories": CATEGORIES,
        }
        for split in ("train", "val"):
            for k in (9, 4):
                write_picture(root / f"{split}2017" / f"{k:012d}.jpg", (3, 4))
                write_mask(root / f"annotations/panoptic_{split}2017" / f"{k:012d}.png", as_colors(self.segments))
        self.write("val")

    def annotation(self, k):
        """Image 9's second segment is of the class of its first."""
        labels = {5: 1, 7: 1 if k == 9 else 200, LARGE: 200}
        infos = [{"id": number, "category_id": c, "iscrowd": int(c == 1), "area": 1} for number, c in labels.items()]
        return {"image_id": k, "file_name": f"{k:012d}.png", "segments_info": infos}

    def write(self, split):
        (self.root / f"annotations/panoptic_{split}2017.json").write_text(json.dumps(self.content))

    def read(self):
        self.write("train")
        return instantiate(compose("train", ["data=coco_panoptic", f"data.root={self.root}"]).data)


@pytest.fixture
def panoptic(tmp_path):
    return Panoptic(tmp_path)


def test_segments_become_classes(panoptic):
    data = panoptic.read()
    assert data.names == ("person", "rug") and data.train.colors.tolist() == [[220, 20, 60], [1, 2, 3]]
    assert data.train.path(0).endswith("train2017/000000000009.jpg")  # in the order of the images
    assert data.train.semantic(0).tolist() == [[255, 0, 0, 1], [0, 0, 0, 1], [255, 255, 0, 0]]
    assert data.train.semantic(1).tolist() == [[255, 0, 0, 1], [1, 1, 0, 1], [255, 255, 1, 1]]
    swapped = data.train.select([1, 0]).rename(["rug", "other", "person"])
    assert swapped.semantic(0).tolist() == [[255, 2, 2, 0], [0, 0, 2, 0], [255, 255, 0, 0]]
    assert data.train.report == []


def test_void_alone_and_images_without_annotation(panoptic):
    panoptic.content["annotations"] = [panoptic.annotation(9) | {"segments_info": []}]
    path = panoptic.root / "annotations/panoptic_train2017/000000000009.png"
    write_mask(path, np.zeros((3, 4, 3)))
    data = panoptic.read()
    assert (data.train.semantic(0) == 255).all() and count_pixels(data.train).pixels.tolist() == [0, 0]
    assert len(data.train.report) == 1 and "1 of 2 images have no annotation" in data.train.report[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 3}, r"annotations\[0\]: there is no image of its image_id, 3"),
        ({"image_id": 9}, "two annotations are of the image 9"),
        ({"file_name": ""}, "annotation of image 4 has no file_name"),
        ({"file_name": "5.png"}, r"label map .*5\.png does not exist"),
        ({"segments_info": None}, "image 4 has no list segments_info"),
        ({"segments_info": [{"id": 5, "category_id": 3}]}, "image 4, segment 5: category_id 3 does not exist"),
        ({"segments_info": [{"id": 0, "category_id": 1}]}, "segment 0: every segment needs a number"),
        ({"segments_info": [{"id": 5, "category_id": 1}] * 2}, "segment 5: every segment needs a number of its own"),
    ],
)
def test_broken_annotations(panoptic, change, words):
    panoptic.content["annotations"][0] |= change
    with pytest.raises(DataError, match=words) as caught:
        panoptic.read()
    assert "panoptic_train2017.json" in str(caught.value)


def test_a_segment_that_the_file_lacks(panoptic):
    del panoptic.content["annotations"][0]["segments_info"][2]
    with pytest.raises(DataError, match=rf"04\.png: the segment {LARGE} is not among .* \(2 pixels\)"):
        panoptic.read().train.semantic(1)


def test_other_files_and_settings(panoptic, tmp_path):
    with pytest.raises(ConfigError, match="data.train needs the keys annotations, images, masks, not images"):
        coco_panoptic(str(tmp_path), {"images": "x"}, {})
    panoptic.content = {"images": []}
    with pytest.raises(DataError, match="is not a COCO panoptic file: it needs the lists"):
        panoptic.read()


@pytest.fixture
def stuff(tmp_path):
    """COCO-Stuff's layout: categories in two files; values are ids less one, 255 unlabelled."""
    images = [{"id": 3, "file_name": "3.jpg", "height": 2, "width": 3}]
    things = [{"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}]
    stuffs = [{"id": 92, "name": "banner"}, {"id": 183, "name": "other"}]
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        for name, categories in (("instances", things), ("stuff", stuffs)):
            content = {"images": images, "annotations": [], "categories": categories}
            (tmp_path / f"annotations/{name}_{split}2017.json").write_text(json.dumps(content))
        write_picture(tmp_path / f"{split}2017" / "3.jpg", (2, 3))
        write_mask(tmp_path / f"stuffthingmaps/{split}2017" / "3.png", [[0, 12, 91], [182, 255, 0]])
    return tmp_path


def test_values_are_ids_less_one(stuff):
    data = instantiate(compose("train", ["data=coco_stuff", f"data.root={stuff}"]).data)
    assert data.names == ("person", "stop sign", "banner")
    assert data.train.semantic(0).tolist() == [[0, 1, 2], [255, 255, 0]] and data.train.size(0) == (2, 3)


def test_pixelmaps_hold_the_ids(stuff):
    for split in ("train", "val"):
        write_mask(stuff / f"stuffthingmaps/{split}2017" / "3.png", [[92, 183, 0], [92, 92, 92]])
    given = [f"data.{split}.annotations=annotations/stuff_{split}2017.json" for split in ("train", "val")]
    settings = ["data=coco_stuff", f"data.root={stuff}", "data.first_value=1", *given]
    data = instantiate(compose("train", settings).data)
    assert data.names == ("banner",) and data.train.semantic(0).tolist() == [[0, 255, 255], [0, 0, 0]]
    data = instantiate(compose("train", [*settings, "data.void=[]"]).data)
    assert data.names == ("banner", "other") and data.train.semantic(0)[0].tolist() == [0, 1, 255]


def test_stuff_mistakes(stuff):
    def split(**changes):
        own = {"annotations": "annotations/instances_train2017.json", "images": "train2017"}
        return own | {"masks": "stuffthingmaps/train2017"} | changes

    def read(**changes):
        return coco_stuff(str(stuff), split(**changes), split())

    with pytest.raises(DataError, match=r"3\.png: the values 91, 182 stand for no class \(2 pixels\)"):
        read().train.semantic(0)
    with pytest.raises(DataError, match=r"label map .*images/3\.png does not exist"):
        read(masks="images")
    with pytest.raises(ConfigError, match=r"data\.train\.annotations is an empty list"):
        read(annotations=[])
    with pytest.raises(ConfigError, match="first_value=2"):
        coco_stuff(str(stuff), split(), split(), first_value=2)
    path = stuff / "annotations/stuff_train2017.json"
    path.write_text(path.read_text().replace('"id": 92', '"id": 13'))
    files = ["annotations/instances_train2017.json", "annotations/stuff_train2017.json"]
    with pytest.raises(DataError, match="category 13 is 'banner' here and 'stop sign' elsewhere"):
        read(annotations=files)
