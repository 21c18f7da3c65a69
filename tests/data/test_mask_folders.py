import numpy as np
import pytest

from tests.data.conftest import write_mask, write_picture
from visionkit.config import compose, instantiate
from visionkit.data.mask_folders import mask_folders
from visionkit.errors import ConfigError, DataError

TRAIN = {"images": "images/train", "masks": "masks/train"}
VAL = {"images": "images/val", "masks": "masks/val"}


@pytest.fixture
def tree(tmp_path):
    """Six pictures to train on, two to measure on; ids 0, 7, 21."""
    for split, count in (("train", 6), ("val", 2)):
        for k in range(count):
            write_picture(tmp_path / "images" / split / f"{k}.jpg", (3, 4 + k), seed=k)
            values = np.full((3, 4 + k), (0, 7, 21)[k % 3])
            values[0, 0] = 255
            write_mask(tmp_path / "masks" / split / f"{k}.png", values)
    (tmp_path / "classes.csv").write_text("name,id\nground,0\nhouse,7\ntree,21\n")
    return tmp_path


def read(root, **changes):
    return mask_folders(**{"root": str(root), "train": TRAIN, "val": VAL} | changes)


def test_ids_with_gaps_become_positions(tree):
    data = read(tree)
    assert data.names == ("ground", "house", "tree") and (len(data.train), len(data.val)) == (6, 2)
    assert [int(data.train.semantic(i)[1, 1]) for i in range(6)] == [0, 1, 2, 0, 1, 2]
    assert int(data.train.semantic(0)[0, 0]) == 255 and data.train.size(5) == (3, 9)
    assert data.train.report == data.val.report == []


def test_colours(tree):
    colors = {0: (1, 2, 3), 7: (200, 0, 0), 21: (9, 9, 9), 255: (0, 0, 0)}
    for path in (tree / "masks").rglob("*.png"):
        from PIL import Image

        values = np.array(Image.open(path))
        write_mask(path, np.array([[colors[int(v)] for v in row] for row in values]))
    (tree / "classes.csv").write_text("name,r,g,b\nnothing,0,0,0\nground,1,2,3\nhouse,200,0,0\ntree,9,9,9\n")
    data, plain = read(tree, void=["nothing"]), [0, 1, 2, 0, 1, 2]
    assert [int(data.train.semantic(i)[1, 1]) for i in range(6)] == plain and int(data.val.semantic(0)[0, 0]) == 255
    assert data.train.colors.tolist() == [[1, 2, 3], [200, 0, 0], [9, 9, 9]]
    (tree / "classes.csv").write_text("name,r,g,b\nground,1,2,3\nhouse,200,0,0\ntree,9,9,9\n")
    with pytest.raises(DataError, match=r"0\.png: the colour \(0, 0, 0\) stands for no class \(1 pixels\)"):
        read(tree).train.semantic(0)


def test_without_val_some_are_held_out(tree):
    for folder in ("images/val", "masks/val"):
        for path in (tree / folder).iterdir():
            path.unlink()
        (tree / folder).rmdir()
    data = read(tree, val_fraction=0.3, seed=1)
    assert (len(data.train), len(data.val)) == (4, 2)
    both = {data.train.path(i) for i in range(4)} | {data.val.path(i) for i in range(2)}
    assert len(both) == 6 and data.train.report == []
    assert data.val.report == [f"{tree}/images/val does not exist: 2 of 6 pictures are held out for validation."]
    again = [read(tree, val=None, val_fraction=0.3, seed=1).val.path(i) for i in range(2)]
    assert again == [data.val.path(i) for i in range(2)]
    seeds = {tuple(read(tree, val_fraction=0.3, seed=s).val.path(i) for i in range(2)) for s in range(6)}
    assert len(seeds) > 1
    assert len(read(tree, val_fraction=0.99).train) == 1 and len(read(tree, val_fraction=0.01).val) == 1


def test_other_folders_suffixes_and_levels(tmp_path):
    for split in ("train", "val"):
        for city in ("aachen", "bonn"):
            stem = f"{city}/{city}_1"
            write_picture(tmp_path / "leftImg8bit" / split / f"{stem}_leftImg8bit.png", (3, 4))
            write_mask(tmp_path / "gtFine" / split / f"{stem}_gtFine_labelIds.png", np.ones((3, 4)))
            write_mask(tmp_path / "gtFine" / split / f"{stem}_gtFine_color.png", np.ones((3, 4, 3)))
    (tmp_path / "names.txt").write_text("unlabelled\nroad\n")
    splits = {s: {"images": f"leftImg8bit/{s}", "masks": f"gtFine/{s}"} for s in ("train", "val")}
    suffixes = {"image_suffix": "_leftImg8bit", "mask_suffix": "_gtFine_labelIds"}
    data = read(tmp_path, **splits, **suffixes, classes="names.txt")
    assert len(data.train) == 2 and int(data.train.semantic(0)[0, 0]) == 1
    assert "2 files that are no pictures with names ending in '_gtFine_labelIds'" in data.train.report[0]


def test_one_folder_for_both(tmp_path):
    for k in range(3):
        write_picture(tmp_path / f"{k}.jpg", (3, 4))
        write_mask(tmp_path / f"{k}_mask.png", np.zeros((3, 4)))
    (tmp_path / "classes.csv").write_text("a\n")
    here = {"images": ".", "masks": "."}
    data = read(tmp_path, train=here, val=None, mask_suffix="_mask")
    assert len(data.train) + len(data.val) == 3 and not data.train.path(0).endswith("_mask.png")
    with pytest.raises(ConfigError, match="one folder, so data.mask_suffix"):
        read(tmp_path, train=here, val=None)


def test_the_configuration(tree):
    data = instantiate(compose("train", ["data=image_masks", f"data.root={tree}"]).data)
    assert (len(data.train), len(data.val)) == (6, 2)
    data = instantiate(compose("train", ["data=image_masks", f"data.root={tree}", "data.val=null"]).data)
    assert len(data.train) + len(data.val) == 6


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: (t / "masks/train/2.png").unlink(), r"images/train/2\.jpg has no label map in .*masks/train\."),
        (lambda t: (t / "images/val/1.jpg").unlink(), r"masks/val/1\.png has no picture in .*images/val\."),
        (lambda t: [(t / f"masks/train/{k}.png").unlink() for k in (1, 2)], r"\(2 of 6 lack one\)"),
        (lambda t: write_picture(t / "images/train/2.png", (3, 6)), r"2\.jpg and .*2\.png have one name"),
        (lambda t: (t / "classes.csv").unlink(), r"classes\.csv does not exist: a file with a line for each class"),
        (lambda t: (t / "masks/train").rename(t / "masks/other"), r"masks/train does not exist"),
        (lambda t: (t / "masks/val").rename(t / "masks/other"), r"masks/val does not exist"),
    ],
)
def test_spoilt_trees(tree, spoil, words):
    spoil(tree)
    with pytest.raises(DataError, match=words):
        read(tree)


def test_values_and_sizes_are_checked_when_a_map_is_read(tree):
    write_mask(tree / "masks/train/0.png", np.full((3, 4), 8))
    write_mask(tree / "masks/train/1.png", np.zeros((3, 4)))
    data = read(tree)
    with pytest.raises(DataError, match=r"0\.png: the value 8 stands for no class \(12 pixels\)"):
        data.train.semantic(0)
    with pytest.raises(DataError, match=r"1\.png has 3 x 4 pixels .* 3 x 5: they have to be the same"):
        data.train.semantic(1)


def test_few_pictures_and_bad_settings(tmp_path, tree):
    for folder in ("images", "masks"):
        (tmp_path / folder / "empty").mkdir()
    with pytest.raises(DataError, match="images/empty holds no picture"):
        read(tree, train={"images": "images/empty", "masks": "masks/empty"})
    write_picture(tree / "images/one/a.jpg", (2, 2))
    write_mask(tree / "masks/one/a.png", np.zeros((2, 2)))
    with pytest.raises(DataError, match="one picture alone, and two splits"):
        read(tree, train={"images": "images/one", "masks": "masks/one"}, val=None)
    with pytest.raises(ConfigError, match="data.val needs the keys images and masks, not images"):
        read(tree, val={"images": "images/val"})
    with pytest.raises(ConfigError, match="val_fraction=1"):
        read(tree, val_fraction=1)
