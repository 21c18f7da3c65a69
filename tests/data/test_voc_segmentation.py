import numpy as np
import pytest
from scipy.io import savemat

from tests.data.conftest import write_mask, write_picture
from visionkit.config import compose, instantiate
from visionkit.data.class_weights import count_pixels
from visionkit.data.scene_settings import settings_from
from visionkit.data.scenes import generate
from visionkit.data.voc_names import VOC_NAMES
from visionkit.data.voc_segmentation import voc_segmentation
from visionkit.errors import ConfigError, DataError


class Trees:
    """A VOC tree and SBD's folder beside it; the first pixel of a picture's label map tells where it is from."""

    def __init__(self, root):
        self.root, self.voc, self.sbd = root, root / "VOC2012", root / "sbd"
        for split, stems in (("train", ["2007_1", "2007_2"]), ("val", ["2007_3", "2007_4"])):
            for stem in stems:
                self.picture(stem)
            self.write_list(self.voc / "ImageSets/Segmentation" / f"{split}.txt", stems)
        for stem in ("2007_2", "2007_3", "2008_1", "2008_2"):
            write_picture(self.sbd / "img" / f"{stem}.jpg", (4, 5), seed=9)
            write_mat(self.sbd / "cls" / f"{stem}.mat", np.full((4, 5), 20))
        self.write_list(self.sbd / "train.txt", ["2008_1", "2007_2", "2007_3"])
        self.write_list(self.sbd / "val.txt", ["2008_2"])
        self.extra = {"root": str(self.sbd), "lists": ["train.txt", "val.txt"], "images": "img", "labels": "cls"}

    def picture(self, stem, value=7):
        labels = np.full((4, 5), value)
        labels[0] = 255  # VOC's borders
        write_picture(self.voc / "JPEGImages" / f"{stem}.jpg", (4, 5))
        write_mask(self.voc / "SegmentationClass" / f"{stem}.png", labels)

    def write_list(self, path, stems):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{stem}\n" for stem in stems))

    def read(self, **changes):
        return voc_segmentation(**{"root": str(self.voc), "train": ["train"], "val": ["val"]} | changes)


def write_mat(path, values):
    """As SBD's files are: a struct GTcls with Segmentation, Boundaries and CategoriesPresent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = {"Boundaries": np.zeros((20, 1)), "Segmentation": np.asarray(values, np.uint8), "CategoriesPresent": [20]}
    savemat(path, {"GTcls": struct})


@pytest.fixture
def trees(tmp_path):
    return Trees(tmp_path)


def stems(index):
    return [index.path(i).rpartition("/")[2].partition(".")[0] for i in range(len(index))]


def test_voc_alone(trees):
    data = trees.read()
    assert data.names == VOC_NAMES and len(VOC_NAMES) == 21 and data.names[:2] == ("background", "aeroplane")
    assert (stems(data.train), stems(data.val)) == (["2007_1", "2007_2"], ["2007_3", "2007_4"])
    labels = data.train.semantic(0)
    assert (labels[0] == 255).all() and (labels[1:] == 7).all() and count_pixels(data.train).pixels[7] == 30


def test_several_trees_and_one_string(trees):
    data = trees.read(root=str(trees.root), train=["VOC2012/train", "VOC2012/val"], val="VOC2012/val")
    assert stems(data.train) == ["2007_1", "2007_2", "2007_3", "2007_4"]
    assert "2 of 2 pictures are trained on too" in data.val.report[0]


def test_extra_pictures_never_hold_one_of_val(trees):
    data = trees.read(extra=trees.extra)
    assert stems(data.train) == ["2007_1", "2007_2", "2008_1", "2008_2"] and len(data.val) == 2
    assert [int(data.train.semantic(i)[1, 0]) for i in range(4)] == [7, 7, 20, 20]  # VOC's own map where both have one
    first, second = data.train.report
    assert "1 of 4 pictures are in data.train too" in first and "1 of 3 pictures are measured on" in second
    assert data.val.report == []


def test_the_protocol_of_fcn(trees):
    data = trees.read(train=[], extra=trees.extra | {"lists": "train.txt"}, drop_shared_from="val")
    assert stems(data.train) == ["2008_1", "2007_2", "2007_3"] and stems(data.val) == ["2007_4"]
    assert int(data.train.semantic(1)[0, 0]) == 20 and data.train.report == []
    assert len(data.val.report) == 1 and "1 of 2 pictures are trained on (data.extra)" in data.val.report[0]


def test_extra_label_maps_as_png_with_a_list_of_pairs(trees):
    for stem in ("2008_1", "2008_2"):
        write_mask(trees.voc / "SegmentationClassAug" / f"{stem}.png", np.full((4, 5), 3))
        write_picture(trees.voc / "JPEGImages" / f"{stem}.jpg", (4, 5))
    pairs = [f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png" for stem in ("2008_1", "2008_2")]
    trees.write_list(trees.voc / "trainaug.txt", pairs)
    extra = {"root": str(trees.voc), "lists": "trainaug.txt", "images": "JPEGImages", "labels": "SegmentationClassAug"}
    data = trees.read(extra=extra)
    assert len(data.train) == 4 and int(data.train.semantic(3)[0, 0]) == 3


def test_generated_trees_with_names_of_their_own(tmp_path):
    settings = settings_from({"train_images": 2, "val_images": 1, "image_size": (48, 64), "object_size": (12, 30)})
    folder = generate(tmp_path, settings, "voc")
    data = voc_segmentation(str(folder / "voc"), "train", "val", names=["background", *settings.classes])
    assert len(data.names) == 9 and (data.val.semantic(0) > 0).any()


@pytest.mark.parametrize("name", ["voc11_segmentation", "voc12_segmentation"])
def test_configurations(trees, name):
    settings = [f"data={name}", f"data.root={trees.voc}", f"data.extra.root={trees.sbd}"]
    data = instantiate(compose("train", settings).data)
    assert (len(data.train), len(data.val)) == ((3, 1) if "11" in name else (4, 2))
    if "12" in name:
        assert len(instantiate(compose("train", [*settings, "data.extra=null"]).data).train) == 2


def test_missing_files(trees):
    with pytest.raises(DataError, match=r"Segmentation/no\.txt does not exist: a list"):
        trees.read(train=["no"])
    (trees.voc / "SegmentationClass/2007_2.png").unlink()
    with pytest.raises(DataError, match=r"train\.txt: label map .*2007_2\.png does not exist\."):
        trees.read()
    (trees.voc / "JPEGImages/2007_3.jpg").unlink()
    with pytest.raises(DataError, match=r"val\.txt: image .*2007_3\.jpg does not exist"):
        trees.read(train=["val"])
    trees.picture("2007_3")
    (trees.sbd / "cls/2008_1.mat").unlink()
    with pytest.raises(DataError, match=r"sbd \(train\.txt, val\.txt\): label map .*2008_1\.mat does not exist"):
        trees.read(train=[], extra=trees.extra)


def test_bad_content(trees):
    trees.picture("2007_1", value=21)
    with pytest.raises(DataError, match=r"2007_1\.png: the value 21 stands for no class \(15 pixels\)"):
        trees.read().train.semantic(0)
    write_mask(trees.voc / "SegmentationClass/2007_1.png", np.arange(60).reshape(4, 5, 3))
    with pytest.raises(DataError, match=r"2007_1\.png has colours"):
        trees.read().train.semantic(0)
    trees.write_list(trees.sbd / "train.txt", ["2008_1", "2008_1"])
    with pytest.raises(DataError, match=r"train\.txt: '2008_1' \(entry 2\) is listed twice"):
        trees.read(extra=trees.extra)


def test_bad_settings(trees):
    with pytest.raises(ConfigError, match="drop_shared_from=both: extra or val"):
        trees.read(drop_shared_from="both")
    with pytest.raises(ConfigError, match="data.extra needs the keys root, lists, images, labels, not root"):
        trees.read(extra={"root": "sbd"})
    for changes, word in (({"train": []}, "train"), ({"val": []}, "val")):
        with pytest.raises(DataError, match=f"data.{word} names no split"):
            trees.read(**changes)
