"""The evaluator of counters on real files: what it measures, writes, draws and refuses."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import visionkit.counting
from visionkit.backbones.resnet import basic_resnet
from visionkit.counting import CountingEvaluator
from visionkit.data.adaptive_kernels import FixedKernel
from visionkit.data.image import read_image
from visionkit.data.labelled import LabelledIndex
from visionkit.data.pictures import Files
from visionkit.data.points import PointsIndex, pack_points
from visionkit.data.ragged import Blobs
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.models.build_counter import counter
from visionkit.models.counter import Counter
from visionkit.ops.direction import lower_is_better


@pytest.fixture
def index(tmp_path) -> PointsIndex:
    """Seven pictures of two sizes; the third is empty."""
    rng, paths, points = np.random.default_rng(0), [], []
    for i in range(7):
        height, width = (40, 64) if i % 2 else (33, 50)
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
        points.append(rng.uniform(0, 33, (0 if i == 2 else 3 * i + 1, 2)))
    return pack_points("person", "made here", paths, points, FixedKernel(3.0))


@pytest.fixture
def model() -> Counter:
    torch.manual_seed(0)
    return counter(basic_resnet((8, 8, 16, 16)), 1, hidden=8)


def test_counts_are_those_of_predict(index, model, tmp_path):
    report = CountingEvaluator(index)(model, tmp_path / "eval")
    counts = [model.predict([read_image(index.path(i))])[0].count for i in range(7)]
    assert report.found.tolist() == counts and report.truth.tolist() == index.counts.tolist()
    assert report.metrics["MAE"] == pytest.approx(np.abs(np.array(counts) - index.counts).mean())
    assert set(report.metrics) == set(CountingEvaluator(index).names())
    written = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert written == pytest.approx(report.metrics)
    rows = json.loads((tmp_path / "eval" / "predictions.json").read_text())
    assert [(row["file"], row["truth"], row["count"]) for row in rows] == [
        (index.path(i), int(index.counts[i]), counts[i]) for i in range(7)
    ]


def test_batches_change_next_to_nothing(index, model):
    one, three = CountingEvaluator(index).metrics(model), CountingEvaluator(index, batch_size=3).metrics(model)
    for name in ("MAE", "RMSE", "bias"):
        assert one[name] == pytest.approx(three[name], rel=1e-4)
    assert "val_loss" not in CountingEvaluator(index, val_loss=False).metrics(model)


def test_the_validation_loss_is_that_of_training(index, model):
    """Of one picture, by the model itself."""
    from visionkit.data.collate import collate
    from visionkit.data.points_dataset import PointsDataset

    own = index.select([3])
    batch, targets = collate([PointsDataset(own, None, model.resize, 0)[0, 0]], multiple=1)
    losses = sum(value.item() for value in model.eval()(batch, targets).values())
    assert CountingEvaluator(own).metrics(model)["val_loss"] == pytest.approx(losses, rel=1e-5)


def test_several_processes_as_one(index, model, monkeypatch):
    """Each takes its share; rank 0 puts the rows in order, and the figures are the same bit for bit."""
    whole = CountingEvaluator(index)(model)
    shares = []
    monkeypatch.setattr(visionkit.counting, "world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(visionkit.counting, "rank", lambda rank=rank: rank)
        shares.append(list(CountingEvaluator(index)._rows(model)))
    assert sum(map(len, shares)) == 7 and min(map(len, shares)) > 0
    monkeypatch.setattr(visionkit.counting, "gather_objects", lambda own: shares[::-1])
    assert CountingEvaluator(index)(model).metrics == whole.metrics
    monkeypatch.setattr(visionkit.counting, "gather_objects", lambda own: None)
    assert CountingEvaluator(index)(model) is None and CountingEvaluator(index).metrics(model) == {}


def test_drawings(index, model, tmp_path):
    evaluator = CountingEvaluator(index)
    evaluator.draw(tmp_path, SimpleNamespace(model=model), evaluator(model))
    for name in ("plots/counts.png", "samples/density.jpg", "samples/worst.jpg"):
        assert min(read_image(tmp_path / name).shape[:2]) > 100, name


def test_an_empty_split(index, model):
    metrics = CountingEvaluator(index.select([])).metrics(model)
    assert all(value is None for value in metrics.values())


def test_the_best_checkpoint_has_the_least_error(index):
    evaluator = CountingEvaluator(index)
    assert evaluator.monitor == "relative_error" and lower_is_better(evaluator.monitor)


def test_a_network_that_went_wrong(index, model):
    with torch.no_grad():
        model.head.density.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"0.png is no number"):
        CountingEvaluator(index).metrics(model)


def test_refusals(index):
    with pytest.raises(ConfigError, match="monitor=mAP: MAE, RMSE"):
        CountingEvaluator(index, monitor="mAP")
    with pytest.raises(ConfigError, match="batch_size=0"):
        CountingEvaluator(index, batch_size=0)
    classes = LabelledIndex(("a", "b"), "here", [], Files(Blobs.pack([b"x"])), np.zeros(1, np.int32))
    with pytest.raises(ConfigError, match="a point for every object"):
        CountingEvaluator(classes)
