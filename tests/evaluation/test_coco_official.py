"""COCO's own example: the 24 published numbers, through our reader, our order and our report."""

import json
import os
import random
import re
from pathlib import Path

import pytest

from visionkit.evaluation.coco_map import NUMBERS
from visionkit.evaluation.evaluate import evaluate_detections
from visionkit.evaluation.predictions import pack_predictions, read_predictions
from visionkit.evaluation.truth import TruthTable

FOLDER = Path(os.environ.get("VISIONKIT_DATASETS", "datasets")) / "coco_eval"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs coco_eval under VISIONKIT_DATASETS")


def published(iou_type: str) -> list[float]:
    """The twelve numbers as the official text file prints them."""
    text = (FOLDER / "val2014_fake_eval_res.txt").read_text()
    section = text.split(f"type={iou_type}")[1].split("type=")[0]
    return [float(x) for x in re.findall(r"\] = (\d\.\d{3})", section)]


@pytest.fixture(scope="module")
def truth() -> TruthTable:
    return TruthTable.from_coco_json(FOLDER / "instances_val2014_100.json")


@pytest.mark.parametrize("engine", ["pycocotools", "faster", "auto"])
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_the_published_numbers_to_three_decimals(truth, iou_type, engine):
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    expected = published(iou_type)
    assert len(expected) == 12
    predictions = read_predictions(FOLDER / f"instances_val2014_fake{iou_type}100_results.json", truth)
    assert len(predictions) == 734
    metrics = evaluate_detections(truth, predictions, (iou_type,), engine=engine).metrics
    assert [round(metrics[name], 3) for name in NUMBERS] == expected


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_the_order_of_the_file_does_not_count(truth, iou_type):
    """It has four ties within an image and class: pycocotools itself leaves the published numbers when shuffled."""
    entries = json.loads((FOLDER / f"instances_val2014_fake{iou_type}100_results.json").read_text())
    found = set()
    for seed in range(4):
        random.Random(seed).shuffle(entries)
        metrics = evaluate_detections(truth, pack_predictions(entries, truth), (iou_type,)).metrics
        found.add(tuple(metrics[name] for name in NUMBERS))
    assert len(found) == 1
    assert [round(value, 3) for value in found.pop()] == published(iou_type)


def test_boxes_and_masks_in_one_report(truth):
    """Entries with both: masks must be sized by mask area, which pycocotools' loadRes does not do."""
    boxes = json.loads((FOLDER / "instances_val2014_fakebbox100_results.json").read_text())
    masks = json.loads((FOLDER / "instances_val2014_fakesegm100_results.json").read_text())
    for box, mask in zip(boxes, masks, strict=True):
        assert (box["image_id"], box["category_id"]) == (mask["image_id"], mask["category_id"])
        mask["bbox"] = box["bbox"]
    metrics = evaluate_detections(truth, masks, ("bbox", "segm")).metrics
    assert [round(metrics[name], 3) for name in NUMBERS] == published("bbox")
    assert [round(metrics["segm_" + name], 3) for name in NUMBERS] == published("segm")
