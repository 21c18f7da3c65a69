import numpy as np
import pytest

from tests.data.conftest import write_mask, write_picture
from visionkit.config import compose, instantiate
from visionkit.data.class_weights import count_pixels
from visionkit.data.image_lists import image_lists
from visionkit.errors import ConfigError, DataError

NAMES = ["sky", "road"]


@pytest.fixture
def camvid(tmp_path):
    """A tree like CamVid's: two pictures to train on, one to measure on; lists may be given."""

    def make(train=None, values=0):
        for split, count in (("train", 2), ("val", 1)):
            lines = []
            for k in range(count):
                write_picture(tmp_path / split / f"{k}.png", (4, 6), seed=k)
                write_mask(tmp_path / f"{split}annot" / f"{k}.png", np.full((4, 6), values + k))
                lines.append(f"{split}/{k}.png {split}annot/{k}.png\n")
            (tmp_path / f"{split}.txt").write_text(train if train and split == "train" else "".join(lines))
        return {"root": str(tmp_path), "train": "train.txt", "val": "val.txt", "names": NAMES}

    return make


def test_reads_both_lists(camvid):
    data = image_lists(**camvid())
    assert data.names == ("sky", "road") and (len(data.train), len(data.val)) == (2, 1)
    assert data.train.path(1).endswith("train/1.png") and data.train.size(1) == (4, 6)
    assert [int(data.train.semantic(i)[0, 0]) for i in range(2)] == [0, 1]
    assert data.train.colors.tolist() == [[0, 0, 0], [128, 0, 0]]


def test_void_and_colours(camvid):
    data = image_lists(**camvid(values=10), void=[10, 11], colors=[[1, 2, 3], [4, 5, 6]])
    assert count_pixels(data.train).pixels.tolist() == [0, 0]  # no labelled pixel at all
    assert data.train.colors.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_tabs_blank_lines_and_other_roots(camvid, tmp_path):
    given = camvid()
    (tmp_path / "train" / "0.png").rename(tmp_path / "train" / "a b.png")
    lines = ["\ufefftrain/a b.png\ttrainannot/0.png", "", "/train/1.png /trainannot/1.png", ""]
    (tmp_path / "train.txt").write_text("\r\n".join(lines))
    (tmp_path / "val.txt").write_text(f"{tmp_path}/val/0.png {tmp_path}/valannot/0.png")
    data = image_lists(**given)
    assert data.train.path(0).endswith("train/a b.png") and len(data.train) == 2
    assert data.train.path(1) == str(tmp_path / "train/1.png") and data.val.path(0) == str(tmp_path / "val/0.png")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train/0.png", r"train\.txt, line 1: 'train/0\.png' is not a picture and its label map"),
        ("train/0.png a b", r"line 1: .* is not a picture and its label map \(parted by a tab"),
        ("train/0.png trainannot/0.png\n" * 2, r"line 2: train/0\.png is listed in line 1 already"),
        ("train/9.png trainannot/0.png", r"image .*train/9\.png does not exist"),
        ("train/0.png trainannot/9.png\ntrain/1.png trainannot/8.png", r"map .*9\.png does not exist \(2 missing"),
        ("\n", "the training set is empty"),
        ("train.txt trainannot/0.png", r"image .*train\.txt cannot be read: not an image"),
    ],
)  # fmt: skip
def test_bad_lists(camvid, text, words):
    with pytest.raises(DataError, match=words):
        image_lists(**camvid(train=text))


def test_other_mistakes(camvid, tmp_path):
    given = camvid(values=1)
    with pytest.raises(DataError, match=r"trainannot/1\.png: the value 2 stands for no class \(24 pixels\)"):
        image_lists(**given).train.semantic(1)
    with pytest.raises(DataError, match=r"train9\.txt does not exist: a list with a picture"):
        image_lists(**{**given, "train": "train9.txt"})
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xfa a")
    with pytest.raises(DataError, match=r"latin\.txt cannot be read: it is not UTF-8"):
        image_lists(**{**given, "train": "latin.txt"})
    with pytest.raises(ConfigError, match=r"data\.names"):
        image_lists(**{**given, "names": None})
    with pytest.raises(ConfigError, match="1 stands for no|value 1"):
        image_lists(**given, void=[1])


def test_pictures_of_both_lists_are_reported(camvid):
    given = camvid()
    data = image_lists(**{**given, "val": "train.txt"})
    assert len(data.val.report) == 1 and "2 of 2 pictures are trained on too" in data.val.report[0]


def test_camvid_itself(datasets_root):
    data = instantiate(compose("train", ["data=camvid"]).data)
    assert (len(data.train), len(data.val), len(data.names)) == (123, 34, 11)
    assert not data.train.report and not data.val.report
    counts = count_pixels(data.val).pixels
    assert (counts > 0).all() and counts.sum() < 34 * 360 * 480  # void is not counted
    assert data.names[counts.argmax()] in ("road", "building") and data.train.size(0) == (360, 480)
    labels = data.val.semantic(0)
    assert set(np.unique(labels)) <= {*range(11), 255} and labels.dtype == np.int64
