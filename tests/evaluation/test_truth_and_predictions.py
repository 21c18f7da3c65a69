"""Reading, packing and writing: every bad entry gives one sentence naming the file and the entry."""

import json
import math
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from visionkit.errors import DataError
from visionkit.evaluation.evaluate import evaluate_detections
from visionkit.evaluation.predictions import pack_predictions, read_predictions, to_coco, write_predictions
from visionkit.evaluation.truth import TruthTable
from visionkit.structures import Detections


def content() -> dict:
    return {
        "images": [{"id": 5, "height": 40, "width": 60}, {"id": 2, "height": 40, "width": 60}],
        "categories": [{"id": 90, "name": "dog"}, {"id": 17, "name": "cat"}],
        "annotations": [
            {"id": 11, "image_id": 2, "category_id": 90, "bbox": [1, 2, 10, 20], "area": 150.5, "iscrowd": 0},
            {"id": 12, "image_id": 5, "category_id": 17, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 1},
        ],
    }


def entries() -> list[dict]:
    return [
        {"image_id": 2, "category_id": 90, "bbox": [1.0, 2.0, 10.0, 20.0], "score": 0.25},
        {"image_id": 5, "category_id": 17, "bbox": [0.0, 0.0, 5.0, 4.0], "score": 0.75},
    ]


def test_coco_file_to_table(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content()))
    table = TruthTable.from_coco_json(path)
    assert table.source == str(path)
    assert table.names == ("cat", "dog") and table.category_ids.tolist() == [17, 90]
    assert table.image_ids.tolist() == [5, 2] and table.sizes.tolist() == [[40, 60], [40, 60]]
    assert table.image_index.tolist() == [1, 0] and table.labels.tolist() == [1, 0]
    assert table.boxes.tolist() == [[1, 2, 11, 22], [0, 0, 5, 5]] and table.areas.tolist() == [150.5, 25]
    assert table.crowd.tolist() == [False, True] and table.object_counts().tolist() == [0, 1]
    one = table.select_images([1])
    assert one.image_ids.tolist() == [2] and one.labels.tolist() == [1] and one.image_index.tolist() == [0]


def broken(change) -> dict:
    value = content()
    change(value)
    return value


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("images"), "is not a COCO instances file"),
        (lambda c: c["annotations"][1].pop("bbox"), "annotation 12 has no 'bbox'"),
        (lambda c: c["annotations"][1].pop("image_id"), "annotation 12 has no 'image_id'"),
        (lambda c: c["annotations"][0].update(category_id=1), "annotation 11 has the category_id 1"),
        (lambda c: c["annotations"][0].update(image_id=[2]), "annotation 11 has the image_id"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "annotation 11 has a bbox or area that is not"),
        (lambda c: c["annotations"][0].update(bbox=None), "annotation 11 has a bbox or area that is not"),
        (lambda c: c["annotations"][0].update(area="big"), "annotation 11 has a bbox or area that is not"),
        (lambda c: c["annotations"][0].update(area=math.nan), "annotation 11 has a box or area that is NaN"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), "annotation 11 has a box of negative"),
        (lambda c: c["annotations"].append(3), "annotation at position 2 is not an object"),
        (lambda c: c["images"].append({"id": 5}), "image id 5 is there twice"),
        (lambda c: c["images"][0].update(id="x"), "image at position 0 has no whole number"),
        (lambda c: c["images"][0].update(height=-4), "image 5 has an impossible height"),
        (lambda c: c["categories"][0].pop("name"), "category 90 has no 'name'"),
        (lambda c: c["categories"][0].update(id=17), "category id 17 is there twice"),
    ],
)
def test_bad_truth_is_one_sentence(tmp_path, change, sentence):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(broken(change)))
    with pytest.raises(DataError) as caught:
        TruthTable.from_coco_json(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and sentence in text and text.endswith(".") and "\n" not in text


@pytest.mark.parametrize("text", [None, "", "{", "[1, 2", "\x00\xff", '{"a": 1}', "3"])
def test_files_that_are_not_there_or_not_json(tmp_path, text):
    path = tmp_path / "file.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"file\.json: "):
        TruthTable.from_coco_json(path)
    with pytest.raises(DataError, match=r"file\.json: "):
        read_predictions(path, TruthTable.from_coco_json(content()))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_id": 99}, "entry 1 has the image_id 99"),
        ({"category_id": 1}, "entry 1 has the category_id 1"),
        ({"category_id": None}, "entry 1 has the category_id None"),
        ({"score": math.nan}, "entry 1 (image 5) has a score"),
        ({"score": "high"}, "entry 1 has a bbox, score or segmentation of the wrong form"),
        ({"bbox": [0, 0, math.inf, 1]}, "entry 1 (image 5) has a box"),
        ({"bbox": [0, 0, 1e30, 1]}, "entry 1 (image 5) has a box"),
        ({"bbox": [0, 0, -1, 1]}, "entry 1 (image 5) has a box of negative"),
        ({"bbox": [0, 0, 1]}, "entry 1 has a bbox, score or segmentation of the wrong form"),
        ({"bbox": []}, "entry 1 has no 'bbox'"),
    ],
)
def test_bad_predictions_are_one_sentence(tmp_path, change, sentence):
    path = tmp_path / "results.json"
    values = entries()
    values[1] |= change
    path.write_text(json.dumps(values))
    with pytest.raises(DataError) as caught:
        read_predictions(path, TruthTable.from_coco_json(content()))
    text = str(caught.value)
    assert text.startswith(f"{path}: {sentence}") and text.endswith(".") and "\n" not in text


@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "bbox"])
def test_a_missing_key_is_named(tmp_path, key):
    path = tmp_path / "results.json"
    values = entries()
    del values[0][key]
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=f"results.json: entry 0 has no '{key}'"):
        read_predictions(path, TruthTable.from_coco_json(content()))


def test_no_predictions_are_fine(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("[]")
    predictions = read_predictions(path, TruthTable.from_coco_json(content()))
    assert len(predictions) == 0 and predictions.boxes().shape == (0, 4)


def test_write_then_read_changes_nothing(tmp_path):
    path, truth = tmp_path / "deep" / "predictions.json", TruthTable.from_coco_json(content())
    values = entries()
    values[0]["score"] = 0.1 + 0.2  # a number that rounding would change
    write_predictions(path, values)
    assert json.loads(path.read_text()) == values
    a, b = read_predictions(path, truth), pack_predictions(values, truth)
    assert a.xywh.tolist() == b.xywh.tolist() and a.scores.tolist() == b.scores.tolist()
    write_predictions(path, [])
    assert json.loads(path.read_text()) == []


@pytest.mark.parametrize("bad", [{"score": math.nan}, {"bbox": [0.0, math.inf, 1.0, 1.0]}])
def test_nothing_is_written_when_a_number_is_not_finite(tmp_path, bad):
    path = tmp_path / "predictions.json"
    write_predictions(path, entries())
    before = path.read_bytes()
    with pytest.raises(DataError, match="entry 1"):
        write_predictions(path, [entries()[0], entries()[1] | bad])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["predictions.json"]


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "predictions.json"
    write_predictions(path, entries())
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_predictions(path, [])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["predictions.json"]


def test_detections_to_coco_and_back():
    boxes = torch.tensor([[1.0, 2.0, 11.0, 22.0], [0.1, 0.2, 5.3, 4.4]])
    found = Detections(boxes, torch.tensor([0.9, 0.3]), torch.tensor([1, 0]))
    values = to_coco(found, 2, [17, 90])
    assert [v["category_id"] for v in values] == [90, 17] and values[0]["bbox"] == [1.0, 2.0, 10.0, 20.0]
    json.dumps(values)
    predictions = pack_predictions(values, TruthTable.from_coco_json(content()))
    assert np.array_equal(predictions.boxes().astype(np.float32), boxes.numpy())
    assert predictions.scores.astype(np.float32).tolist() == found.scores.tolist()
    assert to_coco(Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)), 2, [17]) == []


class FakeIndex:
    """Two images; the second without objects. As `visionkit.data.index.DetectionIndex` looks from here."""

    names = ("cat", "dog")
    source = "fake"

    def __init__(self, box=(1.0, 2.0, 11.0, 22.0), label=1, segmentation=None):
        self._box, self._label, self._segmentation = box, label, segmentation

    def __len__(self) -> int:
        return 2

    def image_id(self, i: int) -> int:
        return (5, 2)[i]

    def size(self, i: int) -> tuple[int, int]:
        return 40, 60

    def truth(self, i: int) -> SimpleNamespace:
        n = 1 - i
        return SimpleNamespace(
            boxes=np.array([self._box] * n, np.float32).reshape(-1, 4), labels=np.full(n, self._label, np.int64),
            crowd=np.zeros(n, bool), difficult=np.zeros(n, bool), area=np.full(n, 150.0), ids=np.full(n, 77),
        )  # fmt: skip

    def segmentation(self, i: int) -> list:
        return [self._segmentation] * (1 - i)

    def masks(self, i: int) -> np.ndarray:
        masks = np.zeros((1 - i, 40, 60), bool)
        masks[:, 2:22, 1:11] = True
        return masks


def test_index_to_table():
    table = TruthTable.from_index(FakeIndex())
    assert table.image_ids.tolist() == [5, 2] and table.category_ids.tolist() == [1, 2]
    assert table.boxes.dtype == np.float64 and table.boxes.tolist() == [[1, 2, 11, 22]]
    assert table.segmentations is None and table.areas.tolist() == [150.0]
    index = FakeIndex()
    index.category_ids = np.array([17, 90])
    assert TruthTable.from_index(index).category_ids.tolist() == [17, 90]
    with pytest.raises(DataError, match="fake: annotation 77 has a box"):
        TruthTable.from_index(FakeIndex(box=(0, 0, math.nan, 4)))
    with pytest.raises(DataError, match="fake: annotation 77 has a label"):
        TruthTable.from_index(FakeIndex(label=2))


@pytest.mark.parametrize("segmentation", [None, [[1.0, 2.0, 11.0, 2.0, 11.0, 22.0, 1.0, 22.0]]])
def test_index_with_masks(segmentation):
    """The index's own polygons, or its filled box for an object without: here the same mask."""
    index = FakeIndex(segmentation=segmentation)
    table = TruthTable.from_index(index, with_masks=True)
    masks = torch.from_numpy(index.masks(0))
    found = Detections(torch.zeros(1, 4), torch.ones(1), torch.ones(1, dtype=torch.int64), masks)
    metrics = evaluate_detections(table, to_coco(found, 5, table.category_ids), ("bbox", "segm")).metrics
    assert metrics["segm_AP"] == pytest.approx(1.0) and metrics["AP"] == 0.0


def test_an_index_without_images():
    class Empty(FakeIndex):
        def __len__(self) -> int:
            return 0

    table = TruthTable.from_index(Empty())
    assert evaluate_detections(table, [], voc=True).metrics["AP"] is None
