import numpy as np
import pytest

from visionkit.data.class_file import read_class_file
from visionkit.data.ragged import Blobs
from visionkit.errors import ConfigError, DataError

NONE = Blobs.pack([])


def test_names_alone(tmp_path):
    (tmp_path / "c.txt").write_text("\ufeffbackground\n\ncell \n")
    known = read_class_file(tmp_path / "c.txt")
    assert known.names == ("background", "cell") and known.ids == (0, 1)
    assert known.colors.tolist() == [[0, 0, 0], [128, 0, 0]]
    assert known.maps(NONE).table[[0, 1, 2, 255]].tolist() == [0, 1, -1, 255]


def test_numbers_with_gaps_and_void_in_between(tmp_path):
    (tmp_path / "c.csv").write_text('id,Name\n0,sky\n7,unclear\n21,"road, wet"\n')
    known = read_class_file(tmp_path / "c.csv", ["unclear"])
    assert known.names == ("sky", "road, wet") and known.ids == (0, 21, 7)
    assert known.maps(NONE).table[[0, 7, 21, 1]].tolist() == [0, 255, 1, -1]


def test_colours(tmp_path):
    (tmp_path / "c.csv").write_text("name, r, g, b\nvoid, 0, 0, 0\nsky, 128, 128, 128\nroad, 128, 64, 128\n")
    known = read_class_file(tmp_path / "c.csv", ["void"])
    assert known.names == ("sky", "road") and known.ids is None
    assert known.colors.tolist() == [[128, 128, 128], [128, 64, 128]]
    maps = known.maps(NONE)
    assert np.array_equal(maps.codes, [0, 0x804080, 0x808080]) and maps.labels.tolist() == [255, 1, 0]


def test_numbers_and_colours_to_draw_with(tmp_path):
    (tmp_path / "c.csv").write_text("name,id,r,g,b\na,4,1,2,3\nb,2,4,5,6\n")
    known = read_class_file(tmp_path / "c.csv")
    assert known.ids == (4, 2) and known.map_colors is None and known.colors.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no class"),
        ("name,id\n", "names no class"),
        ("name,id\na,1\nb,1\n", "two classes have the id 1"),
        ("name,id\na,1\na,2\n", "two classes have the name a"),
        ("name,r,g,b\na,1,2,3\nb,1,2,3\n", r"two classes have the colour \(1, 2, 3\)"),
        ("name,id\na,256\n", "line 2: '256' is not a whole number"),
        ("name,id\na,x\n", "line 2: 'x' is not a whole number"),
        ("name,id\na\n", "line 2: 2 values are wanted, name,id, not 'a'"),
        ("name,red\na,1\n", "the header name,red is none of"),
        ("a,1\nb,2\n", "line 1: 1 value is wanted, name, not 'a,1' .a header"),
        ('name,id\n"a,1\n', "cannot be read"),
    ],
)
def test_broken_files(tmp_path, text, words):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_class_file(tmp_path / "c.csv")
    assert "c.csv" in str(caught.value)


def test_no_file_and_no_such_void(tmp_path):
    with pytest.raises(DataError, match=r"c\.csv does not exist: a file with a line for each class"):
        read_class_file(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_text("a\nb\n")
    with pytest.raises(ConfigError, match=r"data\.void: 'c' is not in"):
        read_class_file(tmp_path / "c.csv", ["c"])
