import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visionkit.data.coco import read_coco
from visionkit.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own

Write = Callable[..., tuple[str, str]]
Make = Callable[..., dict[str, Any]]


def test_reads_in_the_order_of_the_file(coco_file: Write, annotation: Make) -> None:
    index = read_coco(*coco_file([annotation(), annotation(id=0, image_id=7, category_id=90, iscrowd=1)]))
    assert index.names == ("first", "last") and index.category_ids.tolist() == [2, 90]  # by id, gaps and all
    assert index.image_ids.tolist() == [7, 3, 11] and index.report == []
    assert os.path.basename(index.path(1)) == "3.jpg" and index.size(0) == (40, 60)
    first, second = index.truth(0), index.truth(1)
    assert first.labels.tolist() == [1] and first.crowd.tolist() == [True] and first.ids.tolist() == [0]
    assert second.boxes.tolist() == [[10, 5, 30, 20]] and second.area.tolist() == [123.5]
    assert len(index.truth(2).labels) == 0


def test_no_annotations_at_all(coco_file: Write) -> None:
    index = read_coco(*coco_file([]))
    assert len(index) == 3 and index.objects == 0 and not index.has_masks


def test_missing_area_and_iscrowd(coco_file: Write, annotation: Make) -> None:
    square = [[10, 5, 20, 5, 20, 15, 10, 15]]
    both = [
        annotation(id=1, area=None, iscrowd=None),
        annotation(id=2, area=None, iscrowd=None, segmentation=square),
    ]
    truth = read_coco(*coco_file(both)).truth(1)
    assert truth.area.tolist() == [300, 100] and truth.crowd.tolist() == [False, False]


def test_missing_size_is_read_from_the_picture(coco_file: Write, annotation: Make) -> None:
    path, folder = coco_file([annotation()])
    content = json.loads(Path(path).read_text())
    for image in content["images"]:
        del image["height"]
    Path(path).write_text(json.dumps(content))
    assert read_coco(path, folder).size(2) == (40, 60)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bbox": [10, float("nan"), 20, 15]}, "annotation 5: the box holds nan"),
        ({"bbox": [10, 5, float("inf"), 15]}, "annotation 5: the box holds inf"),
        ({"bbox": [10, 5, 1e30, 15]}, "annotation 5: the box holds 1e.30"),
        ({"bbox": [10, 5, "20", 15]}, "annotation 5: the box holds '20'"),
        ({"bbox": [10, 5, 20]}, "annotation 5: bbox is"),
        ({"bbox": None}, "annotation 5: bbox is None"),
        ({"image_id": 4}, "annotation 5: image_id 4 does not exist"),
        ({"category_id": 3}, "annotation 5: category_id 3 does not exist"),
        ({"category_id": -1}, "annotation 5: category_id -1 does not exist"),
        ({"image_id": None}, "annotation 5: image_id None"),
        ({"id": None}, r"annotations\[0\] has no integer id"),
        ({"area": float("nan")}, "annotation 5: the area is nan"),
        ({"area": -3}, "annotation 5: the area is -3"),
        ({"segmentation": "x"}, "annotation 5: the segmentation is neither"),
        ({"segmentation": [[1, 1, 5, 5, float("nan"), 9]]}, "annotation 5: a polygon holds nan"),
        ({"segmentation": [[1, 1, 5, 5, 1e9, 9]]}, "annotation 5: a polygon holds"),
        ({"segmentation": [[1, 1, 5, 5, 9, 9, 4]]}, "annotation 5: a polygon has 7 coordinates"),
        ({"segmentation": {"size": [60, 40], "counts": [2400]}}, r"annotation 5: the RLE is of size \[60, 40\]"),
        ({"segmentation": {"size": [40, 60], "counts": [5, 500]}}, "annotation 5: the RLE covers 505 pixels"),
        ({"segmentation": {"size": [40, 60], "counts": [2401, -1]}}, "annotation 5: the RLE covers 2400 pixels"),
        ({"segmentation": {"size": [40, 60], "counts": "1"}}, "annotation 5: the RLE covers 1 pixels"),
        ({"segmentation": {"size": [40, 60], "counts": "\u00ff"}}, "annotation 5: the RLE's counts are"),
        ({"segmentation": {"size": [40, 60]}}, "annotation 5: the RLE's counts are"),
    ],
)
def test_faults_name_file_and_annotation(coco_file: Write, annotation: Make, changes: Any, words: str) -> None:
    with pytest.raises(DataError, match=rf"instances\.json: .*{words}"):
        read_coco(*coco_file([annotation(**changes)]))


def test_duplicate_ids(coco_file: Write, annotation: Make) -> None:
    with pytest.raises(DataError, match="two annotations have the id 5"):
        read_coco(*coco_file([annotation(), annotation(image_id=7)]))
    with pytest.raises(DataError, match="two categories have the id 2"):
        read_coco(*coco_file([], categories=[{"id": 2, "name": "a"}, {"id": 2, "name": "b"}]))
    with pytest.raises(DataError, match="two categories are called 'a'"):
        read_coco(*coco_file([], categories=[{"id": 2, "name": "a"}, {"id": 3, "name": "a"}]))
    twice = [{"id": 1, "file_name": "3.jpg", "height": 40, "width": 60}] * 2
    with pytest.raises(DataError, match="two images have the id 1"):
        read_coco(*coco_file([], images=twice))


def test_odd_boxes_are_dropped_or_clipped_and_told(coco_file: Write, annotation: Make) -> None:
    boxes = [
        [10, 5, 0, 15],  # no width
        [10, 5, 20, -1],  # negative height
        [70, 5, 20, 15],  # beyond the right side
        [50, 30, 20, 20],  # reaches outside
        [-5, 0, 10, 10],  # reaches outside
        [0, 0, 60.0000001, 40],  # rounding
    ]
    index = read_coco(*coco_file([annotation(id=20 + k, bbox=box) for k, box in enumerate(boxes)]))
    assert index.truth(1).boxes.tolist() == [[50, 30, 60, 40], [0, 0, 5, 10], [0, 0, 60, 40]]
    assert [line.partition("instances.json: ")[2] for line in index.report] == [
        "2 boxes without extent dropped, first annotation 20.",
        "1 box outside the image dropped, namely annotation 22.",
        "2 boxes reaching outside the image clipped, first annotation 23.",
    ]


def test_polygon_of_two_points(coco_file: Write, annotation: Make) -> None:
    """pycocotools takes four numbers for a box."""
    sound = [5, 5, 15, 5, 15, 15, 5, 15]
    index = read_coco(*coco_file([annotation(segmentation=[[1, 2, 30, 30], sound])]))
    assert index.segmentation(1) == [[sound]] and index.masks(1).sum() == 100
    assert "fewer than three points" in index.report[0] and "annotation 5" in index.report[0]


def test_missing_pictures(coco_file: Write) -> None:
    path, folder = coco_file([])
    for number in (3, 11):
        (Path(folder) / f"{number}.jpg").unlink()
    with pytest.raises(DataError, match=r"instances\.json: image .*3\.jpg does not exist \(2 missing in all\)"):
        read_coco(path, folder)
    with pytest.raises(DataError, match="image folder .*nowhere does not exist"):
        read_coco(path, folder + "/nowhere")


def test_pictures_in_folders_below(coco_file: Write, tmp_path: Path) -> None:
    entry = [{"id": 1, "file_name": "pictures/7.jpg", "height": 40, "width": 60}]
    path, folder = coco_file([], images=entry)
    assert read_coco(path, str(tmp_path)).path(0) == os.path.join(folder, "7.jpg")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [],\n "annotations": [}', r"line 2, column \d+: not valid JSON"),
        ("", "line 1"),
        ("[]", "not a COCO instances file"),
        ('{"images": []}', "not a COCO instances file"),
        ('{"images": [3], "annotations": [], "categories": []}', r"images\[0\] has no integer id"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"broken\.json.*{words}"):
        read_coco(str(path), str(tmp_path))


def test_no_file_and_binary_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        read_coco(str(tmp_path / "none.json"), str(tmp_path))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.json cannot be read"):
        read_coco(str(tmp_path / "binary.json"), str(tmp_path))


def test_uncompressed_rle(coco_file: Write, annotation: Make) -> None:
    rle = {"size": [40, 60], "counts": [40, 10, 2350]}
    mask = read_coco(*coco_file([annotation(segmentation=rle, area=None)])).masks(1)[0]
    assert mask.sum() == 10 and mask[:10, 1].all()  # column by column


@pytest.mark.parametrize(("split", "images", "objects", "crowds"), [("train", 80, 739, 8), ("val", 79, 624, 5)])
def test_real_coco(datasets_root: Path, split: str, images: int, objects: int, crowds: int) -> None:
    """Every polygon, multi-part polygon and crowd RLE decodes as pycocotools' own annToMask does."""
    from pycocotools.coco import COCO

    root = datasets_root / "coco_mini"
    if not root.is_dir():
        pytest.skip("no coco_mini among the data sets")
    path = str(root / "annotations" / f"instances_{split}2017.json")
    index = read_coco(path, str(root / f"{split}2017"))
    assert (len(index), index.objects, int(index.crowd.sum()), len(index.names)) == (images, objects, crowds, 80)
    assert index.names[0] == "person" and index.names[79] == "toothbrush" and index.report == []
    oracle = COCO(path)
    for i in range(len(index)):
        masks, truth = index.masks(i), index.truth(i)
        for mask, number, area in zip(masks, truth.ids.tolist(), truth.area, strict=True):
            expected = oracle.annToMask(oracle.anns[number])
            assert np.array_equal(mask, expected.astype(bool)) and oracle.anns[number]["area"] == area
