"""The table for people and the file for programs."""

import json
import math
import os

import numpy as np
import pytest
import torch

from visionkit.evaluation.evaluate import evaluate_detections
from visionkit.evaluation.report import ClassScores, Report, class_table, headline, write_metrics
from visionkit.evaluation.truth import TruthTable


def test_table_says_why_there_is_no_number():
    text = class_table([ClassScores("a long name", 12, {"AP": 0.12345}), ClassScores("b", 0, {"AP": None})])
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1  # aligned
    assert lines[2].split() == ["a", "long", "name", "12", "0.123"]
    assert lines[3].rstrip().endswith("n/a (0 objects)")
    assert class_table([]).startswith("class")


def test_headline():
    assert headline({"AP": 0.5, "AP50": None}) == "AP 0.500  AP50 n/a"
    assert headline({}) == ""


def test_the_file_has_no_nan(tmp_path):
    path = tmp_path / "eval" / "metrics.json"
    write_metrics(
        path,
        {"AP": math.nan, "AP50": None, "AP75": np.float32(0.5), "n": np.int64(3), "val_loss": torch.tensor(math.inf)},
    )
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text) == {"AP": None, "AP50": None, "AP75": 0.5, "n": 3, "val_loss": None}
    assert os.listdir(path.parent) == ["metrics.json"]
    with pytest.raises(TypeError, match="per_class"):
        write_metrics(path, {"per_class": {"cat": 0.5}})
    assert json.loads(path.read_text())["n"] == 3  # the old file is still there


def simple() -> TruthTable:
    return TruthTable.from_coco_json(
        {
            "images": [{"id": 1, "height": 50, "width": 50}],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [
                {
                    "image_id": 1,
                    "category_id": 1,
                    "bbox": [0, 0, 10, 10],
                    "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]],
                }
            ],
        }
    )


def test_names_of_the_metrics():
    coco = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"]
    coco += ["AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"]
    segm = ["segm_" + name for name in coco]
    assert list(evaluate_detections(simple(), []).metrics) == coco
    assert list(evaluate_detections(simple(), [], ("bbox", "segm"), voc=True).metrics) == [
        *coco,
        *segm,
        "VOC07_mAP",
        "VOC10_mAP",
    ]
    alone = evaluate_detections(simple(), [], ("segm",)).metrics
    assert list(alone) == [*coco, *segm] and alone["AP"] == alone["segm_AP"]


def test_report_of_a_perfect_detection():
    report = evaluate_detections(
        simple(), [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 1}], voc=True
    )
    assert isinstance(report, Report)
    cat, dog = report.per_class
    assert (cat.name, cat.objects, dog.objects) == ("cat", 1, 0)
    assert cat.scores == pytest.approx({"AP": 1.0, "AP50": 1.0, "VOC07_AP": 1.0, "VOC10_AP": 1.0})
    assert set(dog.scores.values()) == {None}
    assert report.metrics["VOC10_mAP"] == 1.0  # the mean leaves dogs out
    assert np.allclose(report.precision50["cat"], 1.0) and np.isnan(report.precision50["dog"]).all()
    assert str(report).count("n/a (0 objects)") == 4
