"""The evaluator of localizers on real files: what it measures, writes, draws and refuses; and the mean box."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.backbones.resnet import basic_resnet
from visionkit.data.index import IndexBuilder
from visionkit.data.labelled import LabelledIndex
from visionkit.data.pictures import Files
from visionkit.data.ragged import Blobs
from visionkit.data.sources import DetectionData
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.localization import METRICS, LocalizationEvaluator, fit_mean_box
from visionkit.models.build import classifier, fixed_boxes, localizer
from visionkit.ops.boxes import iou

NAMES = ("left", "right", "none of these")


@pytest.fixture
def index(tmp_path):
    """14 pictures of several shapes, a bright rectangle each."""
    builder, rng = IndexBuilder(NAMES, "made here"), np.random.default_rng(0)
    for i in range(14):
        height, width = 40 + 3 * (i % 4), 70 - 5 * (i % 3)
        x1, y1 = 3 + 2 * i, 5 + i % 5
        image = rng.integers(40, 80, (height, width, 3), dtype=np.uint8)
        image[y1 : y1 + 20, x1 : x1 + 24] = 220
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        builder.add_image(str(tmp_path / f"{i}.png"), 100 + i, (height, width))
        builder.add_object((float(x1), float(y1), float(x1 + 24), float(y1 + 20)), int(i > 6))
    return builder.build()


def model(per_class: bool = False):
    torch.manual_seed(0)
    return localizer(basic_resnet((8, 8, 16, 16)), 3, size=64, box_hidden=4, per_class=per_class)


def test_the_mean_box_is_measured_as_the_baseline(index):
    made = model()
    before = LocalizationEvaluator(index).metrics(made)
    assert before["mean_box_iou"] is None and before["mean_iou"] is not None, "no training set has been seen"
    fitted = fit_mean_box(model=made, data=DetectionData(index, index, NAMES))
    units = index.boxes / index.sizes[:, [1, 0, 1, 0]]
    assert list(fitted.values()) == pytest.approx(units.mean(axis=0).tolist(), abs=1e-6)
    metrics = LocalizationEvaluator(index).metrics(made)
    assert set(metrics) == set(METRICS) == set(LocalizationEvaluator(index).names())
    assert metrics["mean_iou"] == pytest.approx(metrics["mean_box_iou"], abs=1e-5), "an untrained head says it"
    assert metrics["iou_below_half"] == metrics["mean_box_below_half"]
    expected = [
        iou(torch.tensor(index.boxes[i : i + 1]), torch.tensor(units.mean(axis=0) * index.sizes[i, [1, 0, 1, 0]])[None])
        for i in range(len(index))
    ]
    assert metrics["mean_box_iou"] == pytest.approx(float(torch.stack(expected).mean()), abs=1e-5)


def test_only_localizers_have_a_mean_box(index):
    with pytest.raises(ConfigError, match="task=localize, not for a Classifier"):
        fit_mean_box(model=classifier(basic_resnet((8, 8, 16, 16)), 3, size=32), data=None)


@pytest.mark.parametrize("per_class", [False, True])
def test_predictions_are_those_of_predict(index, tmp_path, per_class):
    made = model(per_class)
    torch.nn.init.normal_(made.box_head.linear.weight, std=0.2)
    report = LocalizationEvaluator(index, batch_size=1)(made, tmp_path / "eval")
    rows = json.loads((tmp_path / "eval/predictions.json").read_text())
    assert json.loads((tmp_path / "eval/metrics.json").read_text()) == report.metrics
    for i, row in enumerate(rows):
        (found,) = made.predict([np.asarray(Image.open(row["file"]))])
        assert row["image_id"] == 100 + i and row["truth"]["class"] == NAMES[int(i > 6)]
        scores = {each["class"]: each["score"] for each in row["found"]}
        boxes = {each["class"]: each["box"] for each in row["found"]}
        assert [scores[name] for name in NAMES] == found.probabilities.tolist()
        assert [boxes[name] for name in NAMES] == found.boxes.tolist()
        assert sorted(scores.values(), reverse=True) == list(scores.values())
        own = iou(torch.tensor([boxes[row["truth"]["class"]]]), torch.tensor([row["truth"]["box"]]))
        assert row["iou"] == pytest.approx(own.item(), abs=1e-5)
    assert report.metrics["mean_iou"] == pytest.approx(np.mean([row["iou"] for row in rows]))
    together = LocalizationEvaluator(index, batch_size=5)(made)
    for key, value in together.metrics.items():
        if value is not None:
            assert value == pytest.approx(report.metrics[key], abs=1e-4), key


def test_draws_the_best_and_the_worst(index, tmp_path, monkeypatch):
    shown, sheet = [], LocalizationEvaluator._sheet
    monkeypatch.setattr(LocalizationEvaluator, "_sheet", lambda *given: shown.append(given[1]) or sheet(*given))
    made = model()
    torch.nn.init.normal_(made.box_head.linear.weight, std=0.2)
    evaluator = LocalizationEvaluator(index)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "split": "train", "loss": 1.0}) + "\n")
    report = evaluator(made)
    evaluator.draw(tmp_path, SimpleNamespace(model=made), report)
    best_first = sorted(range(14), key=lambda i: -report.ious[i])
    assert shown == [best_first[:12], best_first[::-1][:12]]
    for name in ("samples/best.jpg", "samples/worst.jpg", "plots/iou_histogram.png", "plots/losses.png"):
        assert np.asarray(Image.open(tmp_path / name)).std() > 1, name


def test_numbers_that_are_none_stop_the_evaluation(index):
    made = model()
    with torch.no_grad():
        made.box_head.linear.bias[0] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"answer for .*\.png is not made of numbers"):
        LocalizationEvaluator(index).metrics(made)


def test_an_empty_split_has_no_numbers(index):
    report = LocalizationEvaluator(index.select([]))(model())
    assert set(report.metrics.values()) == {None}


def test_data_that_cannot_be_measured(index):
    labelled = LabelledIndex(NAMES, "here", [], Files(Blobs.pack([b"a.png"])), np.zeros(1, np.int32))
    several = replace(index, offsets=np.array([0, 2, *range(2, 15)])).select(range(13))
    for data, words in (
        (labelled, "has classes alone"),
        (several, r"one object each, and .*0\.png is none"),
        (replace(index, difficult=index.labels == 0), "a crowd or difficult object"),
    ):
        with pytest.raises(ConfigError, match=words):
            LocalizationEvaluator(data)
    for settings, words in (({"monitor": "AP"}, "evaluation.monitor=AP"), ({"batch_size": 0}, "batch_size=0")):
        with pytest.raises(ConfigError, match=words):
            LocalizationEvaluator(index, **settings)


def test_fixed_boxes_are_measured_as_any_detector(index, tmp_path):
    from visionkit.detection import DetectionEvaluator

    made = fixed_boxes(basic_resnet((8, 8, 16, 16)), 3, size=64, slots=2, box_hidden=4)
    metrics = DetectionEvaluator(index, batch_size=4).metrics(made)
    assert 0 <= metrics["AP"] <= 1 and metrics["val_loss"] > 0
    assert Path(index.path(0)).exists()
