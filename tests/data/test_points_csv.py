"""CSV files of points: what they may hold, and the sentence for what they may not."""

import numpy as np
import pytest
from PIL import Image

from visionkit.data.adaptive_kernels import FixedKernel
from visionkit.data.points_csv import points_csv
from visionkit.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c", "d"):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def read(folder, text: str, val: str | None = None, **settings):
    (folder / "points.csv").write_text(text)
    if val is not None:
        (folder / "val.csv").write_text(val)
        settings["val"] = "val.csv"
    return points_csv(str(folder), images="images", kernel=FixedKernel(2.0), **settings)


def test_two_files(folder):
    """Columns in any order, others beside them, blank lines, an empty picture, a file in several places."""
    data = read(
        folder,
        "\ufeffx, y,who,file\n1.5,2,me,a.png\n\n,,me,b.png\n30,20,me,a.png\n",
        "file,x,y\nc.png,1e1,0.25\nd.png,,\n",
        name="cell",
    )
    assert data.names == ("cell",) and data.train.counts.tolist() == [2, 0] and data.val.counts.tolist() == [1, 0]
    assert data.train.truth(0).points.tolist() == [[1.5, 2, 2], [30, 20, 2]]
    assert data.val.truth(0).points.tolist() == [[10, 0.25, 2]]
    assert data.train.report == data.val.report == []


def test_some_are_held_out(folder):
    text = "file,x,y\n" + "".join(f"{name}.png,{i},{i}\n" for i, name in enumerate("abcd", 1)) + "a.png,99,3\n"
    data = read(folder, text, val_fraction=0.5, seed=1)
    assert (len(data.train), len(data.val)) == (2, 2)
    files = {index.path(i) for index in (data.train, data.val) for i in range(2)}
    assert len(files) == 4
    again = read(folder, text, val_fraction=0.5, seed=1)
    assert [again.val.path(i) for i in range(2)] == [data.val.path(i) for i in range(2)]
    assert "1 point was dropped, being outside of the picture" in data.train.report[0] and data.val.report == []
    with pytest.raises(ConfigError, match="val_fraction=1"):
        read(folder, text, val_fraction=1)


def test_pictures_in_no_line_are_told_of(folder):
    data = read(folder, "file,x,y\na.png,1,1\nb.png,2,2\n")
    assert "2 pictures are in no line and were left out, such as " in data.train.report[0]
    assert "c.png; one without objects needs a line" in data.train.report[0]


def test_the_same_picture_in_both_splits(folder):
    data = read(folder, "file,x,y\na.png,1,1\n", "file,x,y\na.png,1,1\n")
    assert "1 of 1 pictures are trained on too" in data.val.report[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,x\na.png,1\n", "has no column 'y'; it has file, x"),
        ("", "has no column 'file'; it has no header line"),
        ("file,x,y\n", "lists no picture"),
        ("file,x,y\na.png,1,one\n", "line 2: y of a.png 'one' is no number"),
        ("file,x,y\na.png,1,\n", "line 2: y of a.png is empty, and the other coordinate is not"),
        ("file,x,y\na.png,1\n", "line 2: 2 values, and the header has 3"),
        ("file,x,y\na.png,1,2,3\n", "line 2: 4 values, and the header has 3"),
        ("file,x,y\n,1,2\n", "line 2: the column 'file' is empty"),
        ("file,x,y\na.png,1,2\na.png,,\n", "line 3: a.png has no object here, and 1 in other lines"),
        ("file,x,y\na.png,1,2\ne.png,,\n", "picture .*e.png does not exist"),
        ("file,x,y\na.png,nan,2\n", r"a.png: \[nan, 2.0\] is not a possible point"),
        ('file,x,y\n"a.png,1,2\n', "cannot be read"),
    ],
)
def test_broken_files(folder, text, sentence):
    with pytest.raises(DataError, match=sentence):
        read(folder, text)


def test_missing_files(folder):
    with pytest.raises(DataError, match=r"points.csv does not exist: a CSV file with the columns file, x and y"):
        points_csv(str(folder))
    with pytest.raises(DataError, match="the validation set is empty|val.csv does not exist"):
        (folder / "points.csv").write_text("file,x,y\na.png,1,1\n")
        points_csv(str(folder), images="images", val="val.csv")
    with pytest.raises(DataError, match="one picture alone, and two splits"):
        read(folder, "file,x,y\na.png,1,1\n")
