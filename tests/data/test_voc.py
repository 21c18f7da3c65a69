from pathlib import Path

import pytest

from visionkit.data.voc import read_voc
from visionkit.errors import DataError


def test_one_based_inclusive_pixels(voc_tree) -> None:
    voc_tree.add("one", [("dog", (1, 1, 60, 40)), ("cat", (11, 6, 20, 15))])
    index = voc_tree.read()
    assert index.names == ("cat", "dog") and index.image_ids.tolist() == [1] and index.report == []
    assert index.truth(0).boxes.tolist() == [[0, 0, 60, 40], [10, 5, 20, 15]]
    assert index.truth(0).labels.tolist() == [1, 0] and index.truth(0).area.tolist() == [2400, 100]
    assert index.path(0).endswith("JPEGImages/one.jpg")  # not what `filename` and `path` say


def test_difficult_and_floats(voc_tree) -> None:
    voc_tree.add("one", [("dog", (1.5, 1, "20.25", 40))], extra="<difficult>1</difficult>")
    truth = voc_tree.read().truth(0)
    assert truth.difficult.tolist() == [True] and truth.crowd.tolist() == [False]
    assert truth.boxes.tolist() == [[0.5, 0, 20.25, 40]]


def test_body_parts_are_not_objects(voc_tree) -> None:
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    voc_tree.add("one", [("person", (1, 1, 30, 30))], extra=part)
    index = voc_tree.read()
    assert index.names == ("person",) and index.truth(0).boxes.tolist() == [[0, 0, 30, 30]]


def test_images_without_objects_stay(voc_tree) -> None:
    voc_tree.add("one", [])
    voc_tree.add("two", [("dog", (1, 1, 5, 5))])
    assert len(voc_tree.read()) == 2 and len(voc_tree.read().truth(0).labels) == 0


@pytest.mark.parametrize("stated", [None, (0, 0)])
def test_missing_size(voc_tree, stated) -> None:
    voc_tree.add("one", [("dog", (1, 1, 5, 5))], size=(30, 20), stated=stated)
    assert voc_tree.read().size(0) == (30, 20)


def test_other_types_and_names_with_blanks(voc_tree) -> None:
    voc_tree.add("my picture 1", [("dog", (1, 1, 5, 5))], suffix=".png")
    assert voc_tree.read().path(0).endswith("my picture 1.png")


def test_class_lists_have_a_second_column(voc_tree) -> None:
    voc_tree.add("one", [("dog", (1, 1, 5, 5))])
    (voc_tree.root / "ImageSets/Main/dog_train.txt").write_text("one  -1\n\n")
    assert len(voc_tree.read("dog_train")) == 1


def test_dropped_and_clipped(voc_tree) -> None:
    boxes = [(9, 9, 9, 9), (70, 1, 80, 9), (0, 0, 20, 20), (5, 5, 4, 9), (2, 2, 61, 30)]
    voc_tree.add("one", [("dog", box) for box in boxes])
    index = voc_tree.read()
    assert index.truth(0).boxes.tolist() == [[0, 0, 20, 20], [1, 1, 60, 30]]
    first, second, third = index.report
    assert "2 boxes without extent dropped, first object 1 ('dog')" in first and "one.xml" in first
    assert "1 box outside the image dropped, namely object 2" in second
    assert "2 boxes reaching outside the image clipped, first object 3" in third


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (("nan", 1, 5, 5), r"object 1 \('dog'\) of .*one\.xml: the box holds nan"),
        ((1, 1, "inf", 5), r"one\.xml: the box holds inf"),
        ((1, 1, 1e30, 5), r"one\.xml: the box holds 1e"),
        (("x", 1, 5, 5), r"one\.xml: object 1: <xmin> is 'x', not a number"),
        (("", 1, 5, 5), r"one\.xml: object 1 has no <bndbox><xmin>"),
    ],
)
def test_impossible_boxes(voc_tree, box, words) -> None:
    voc_tree.add("one", [("dog", box)])
    with pytest.raises(DataError, match=words):
        voc_tree.read()


def test_unknown_class_and_nameless_object(voc_tree) -> None:
    voc_tree.add("one", [("dog", (1, 1, 5, 5)), ("emu", (1, 1, 5, 5))])
    with pytest.raises(DataError, match=r"one\.xml: object 2: class 'emu' is not among the known classes: cat, dog"):
        voc_tree.read(names=["cat", "dog"])
    voc_tree.add("two", [("", (1, 1, 5, 5))], split="nameless")
    with pytest.raises(DataError, match=r"two\.xml: object 1 has no <name>"):
        voc_tree.read("nameless")


def test_given_names_keep_their_order(voc_tree) -> None:
    voc_tree.add("one", [("dog", (1, 1, 5, 5))])
    index = voc_tree.read(names=["zebra", "dog", "ant"])
    assert index.names == ("zebra", "dog", "ant") and index.truth(0).labels.tolist() == [1]


def test_missing_files(voc_tree) -> None:
    with pytest.raises(DataError, match=r"nosuch\.txt does not exist"):
        voc_tree.read("nosuch")
    picture = voc_tree.add("one", [])
    voc_tree.add("two", [])
    picture.unlink()
    with pytest.raises(DataError, match=r"image .*one\.jpg does not exist"):
        voc_tree.read()
    for name in ("one", "two"):
        (voc_tree.root / f"Annotations/{name}.xml").unlink()
    with pytest.raises(DataError, match=r"annotation .*one\.xml does not exist \(2 missing in all\)"):
        voc_tree.read()


def test_listed_twice(voc_tree) -> None:
    voc_tree.add("one", [])
    voc_tree.add("one", [])
    with pytest.raises(DataError, match=r"train\.txt: 'one' \(entry 2\) is listed twice"):
        voc_tree.read()


def test_broken_and_hostile_xml(voc_tree) -> None:
    voc_tree.add("one", [])
    path = voc_tree.root / "Annotations/one.xml"
    path.write_text("<annotation>\n<object></annotation>")
    with pytest.raises(DataError, match=r"one\.xml is not valid XML: .*line 2"):
        voc_tree.read()
    path.write_text('<!DOCTYPE a [<!ENTITY e "eeee">]><annotation>&e;</annotation>')
    with pytest.raises(DataError, match=r"one\.xml holds XML entities"):
        voc_tree.read()


def test_empty_split(voc_tree) -> None:
    (voc_tree.root / "ImageSets/Main/train.txt").write_text("\n")
    assert len(voc_tree.read()) == 0


@pytest.mark.parametrize(
    ("name", "split", "images", "objects", "dropped"),
    [
        ("bccd", "train", 205, 2804, 1),
        ("bccd", "val", 87, 1137, 1),
        ("bccd", "test", 72, 945, 0),
        ("raccoon", "train", 160, 173, 0),
        ("raccoon", "val", 40, 44, 0),
    ],
)
def test_real_trees(datasets_root: Path, name: str, split: str, images: int, objects: int, dropped: int) -> None:
    """BCCD: 4,888 boxes in all, of which two have no extent; 2804 + 1137 + 945 = 4886."""
    if not (datasets_root / name).is_dir():
        pytest.skip(f"no {name} among the data sets")
    index = read_voc(str(datasets_root / name), split)
    assert (len(index), index.objects, len(index.report)) == (images, objects, dropped)
    assert all("1 box without extent dropped, namely object" in line for line in index.report)
    assert index.names == (("Platelets", "RBC", "WBC") if name == "bccd" else ("raccoon",))
