"""CSV files: what is read, what is held out, and one sentence for each mistake."""

import csv as csv_files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionkit.data.classification import labelled_sample
from visionkit.data.imagenet_names import imagenet_names, unique_names
from visionkit.data.lists import csv
from visionkit.errors import ConfigError, DataError


@pytest.fixture
def listed(tmp_path):
    """Writes ten pictures in two folders, and CSV files that list them."""

    def write(rows, name="train.csv", header=("file", "label")):
        for folder in ("a", "b"):
            (tmp_path / "pictures" / folder).mkdir(parents=True, exist_ok=True)
            for i in range(5):
                Image.new("RGB", (8, 6), (10 * i, 0, 0)).save(tmp_path / "pictures" / folder / f"{i}.png")
        with open(tmp_path / name, "w", newline="") as file:
            csv_files.writer(file).writerows([header, *rows])
        return str(tmp_path)

    return write


ROWS = [(f"{folder}/{i}.png", label) for folder, label in (("a", "cat"), ("b", "ant, red")) for i in range(5)]


def test_labels_are_names_and_a_fifth_of_each_class_is_held_out(listed):
    data = csv(listed(ROWS), images="pictures")
    assert data.names == ("ant, red", "cat")
    assert data.train.class_counts().tolist() == [4, 4] and data.val.class_counts().tolist() == [1, 1]
    for split in (data.train, data.val):
        for i in range(len(split)):
            name = data.names[split.labels[i]]
            assert ("/a/" in split.path(i)) == (name == "cat")
            color = int(Path(split.path(i)).stem) * 10
            assert labelled_sample(split, i).image[0, 0].tolist() == [color, 0, 0]


def test_the_held_out_pictures_are_those_that_folders_would_hold_out(listed):
    from visionkit.data.folders import folder

    root = listed([(f"{name}/{i}.png", name) for name in "ab" for i in range(5)])
    ours, theirs = csv(root, images="pictures", seed=7), folder(f"{root}/pictures", seed=7)
    for split in ("train", "val"):
        one, other = getattr(ours, split), getattr(theirs, split)
        assert [one.path(i) for i in range(len(one))] == [other.path(i) for i in range(len(other))]


def test_a_second_file_other_columns_spaces_and_a_byte_order_mark(listed, tmp_path):
    root = listed([("1", f" pictures/{file} ", "x", label) for file, label in ROWS], header=("n", "path", "y", "class"))
    text = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text("\ufeff" + text + "\n\n")
    listed([("1", "pictures/a/3.png", "x", "cat")], "val.csv", ("n", "path", "y", "class"))
    data = csv(root, val="val.csv", file_column="path", label_column="class")
    assert (len(data.train), len(data.val)) == (10, 1)
    assert data.val.names == data.names == ("ant, red", "cat") and data.val.labels.tolist() == [1]


def test_numbers_are_sorted_as_numbers(listed):
    rows = [(f"{folder}/{i}.png", (10, 9, 2, 1, 0)[i]) for folder in "ab" for i in range(5)]
    data = csv(listed(rows), images="pictures", val_fraction=0.5)
    assert data.names == ("0", "1", "2", "9", "10")


@pytest.mark.parametrize("names", [["ant", "bee", "cat"], "names.txt"])
def test_labels_are_positions_in_a_list(listed, tmp_path, names):
    root = listed([(file, 2 if label == "cat" else "00") for file, label in ROWS])
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    data = csv(root, images="pictures", names=names)
    assert data.names == ("ant", "bee", "cat") and data.train.class_counts().tolist() == [4, 0, 4]


def test_repeated_lines_are_left_out_and_counted(listed):
    data = csv(listed([*ROWS, ROWS[3], ROWS[3]]), images="pictures")
    assert len(data.train) + len(data.val) == 10
    assert "2 lines repeat an earlier one and were left out, such as line 12 (a/3.png)." in data.train.report[0]


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        (ROWS, {"label_column": "class"}, ["train.csv has no column 'class'", "it has file, label"]),
        (ROWS, {"file_column": "path"}, ["train.csv has no column 'path'", "it has file, label"]),
        ([*ROWS, ("a/0.png", "dog")], {}, ["line 12: a/0.png is 'dog' here and 'cat' in line 2"]),
        ([*ROWS, ("a/9.png", "cat"), ("b/9.png", "cat")], {}, ["a/9.png does not exist (2 missing in all)"]),
        ([*ROWS[:2], ("a/2.png", "")], {}, ["train.csv, line 4: the column 'label' is empty"]),
        ([*ROWS[:2], ("a/2.png",)], {}, ["train.csv, line 4: the column 'label' is empty"]),
        ([("a/0.png", 0), ("a/1.png", 3)], {"names": ["x", "y", "z"]},
         ["line 3: the label '3' of a/1.png is outside the list", "0 ... 2"]),
        ([("a/0.png", 0), ("a/1.png", -1)], {"names": ["x"]}, ["line 3: the label '-1'"]),
        ([("a/0.png", "x")], {"names": ["x"]}, ["line 2: the label 'x'", "a whole number"]),
        ([], {}, ["train.csv lists no picture"]),
        (ROWS, {"train": "other.csv"}, ["other.csv does not exist"]),
        (ROWS, {"names": "other.txt"}, ["other.txt cannot be read: No such file"]),
        (ROWS[:6], {}, ["'ant, red' has one picture alone"]),
    ],
)  # fmt: skip
def test_one_sentence(listed, rows, settings, words):
    with pytest.raises(DataError) as caught:
        csv(listed(rows), **{"images": "pictures"} | settings)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


def test_a_validation_label_outside_the_classes_is_named_with_its_line(listed):
    root = listed(ROWS)
    listed([("a/1.png", "cat"), ("a/2.png", "dog")], "val.csv")
    with pytest.raises(DataError, match=r"val\.csv, line 3: the label 'dog' of a/2\.png is outside .*ant, red, cat"):
        csv(root, val="val.csv", images="pictures")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "has no column 'file'; it has no header line"), (b"file,label\n\xff\xfe,x\n", "cannot be read: 'utf-8'")],
)
def test_files_that_are_no_csv(tmp_path, content, words):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        csv(str(tmp_path))


@pytest.mark.parametrize(("names", "words"), [([], "empty list"), (["a", "b", "a"], "has 'a' twice")])
def test_lists_of_names_that_are_none(listed, names, words):
    with pytest.raises(ConfigError, match=words):
        csv(listed(ROWS), names=names)


def test_the_names_of_imagenet():
    names = imagenet_names()
    assert len(names) == len(set(names)) == 1000 and (names[0], names[999]) == ("tench", "toilet tissue")
    assert unique_names(["crane", "tern", "crane", "crane"]) == ("crane", "tern", "crane (2)", "crane (3)")


def test_imagenet_samples(datasets_root):
    from visionkit.config import compose, instantiate

    data = instantiate(
        compose("train", ["data=imagenet_samples", f"data.root={datasets_root / 'imagenet_samples'}"]).data
    )
    assert len(data.train) == len(data.val) == 250 and data.names == imagenet_names()
    assert np.array_equal(np.sort(data.val.labels), np.arange(0, 1000, 4))
    for i in range(0, 250, 10):  # n01440764_tench.JPEG
        words = Path(data.val.path(i)).stem.partition("_")[2].replace("_", " ")
        assert words.split()[0] in data.names[data.val.labels[i]]


def test_an_open_quote_does_not_swallow_the_lines_after_it(listed, tmp_path):
    root = listed(ROWS)
    (tmp_path / "train.csv").write_text('file,label\na/0.png,"cat\na/1.png,cat\nb/0.png,dog\n')
    with pytest.raises(DataError, match=r"train\.csv cannot be read"):
        csv(root, images="pictures")
    (tmp_path / "train.csv").write_text('file,label\na/0.png,"cat\na/1.png,cat"\nb/0.png,dog\n')
    with pytest.raises(DataError, match="a line break in the column 'label'"):
        csv(root, images="pictures")


def test_a_bare_comma_in_a_value_is_no_other_class(listed, tmp_path):
    root = listed(ROWS)
    (tmp_path / "train.csv").write_text("file,label\na/0.png,crane, bird\n")
    with pytest.raises(DataError, match=r"line 2: 3 values, and the header has 2"):
        csv(root, images="pictures")


def test_one_picture_under_two_spellings_is_one(listed):
    data = csv(listed([*ROWS, ("./a/0.png", "cat"), ("b/../a/1.png", "cat")]), images="pictures")
    assert len(data.train) + len(data.val) == 10 and "2 lines repeat" in " ".join(data.train.report)


def test_pictures_of_both_splits_are_told(listed):
    listed(ROWS[:7] + ROWS[8:])
    root = listed([ROWS[0], ROWS[7]], "val.csv")
    data = csv(root, images="pictures", val="val.csv")
    assert any("1 of 2 pictures are in train.csv too" in line for line in data.val.report)
