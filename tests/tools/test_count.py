"""A counter through every door: train, evaluate, demo, `visionkit.load`, and data that do not fit."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from small_runs import run_tool

import visionkit
from visionkit.structures import Density

# Not 8 channels: oneDNN crashes in the gradient of a 1x1 convolution from 8 to 8 channels of stride 2 on 48 x 64 cells.
SMALL = (
    *("task=count", "task.hidden=8", "backbone=basic_resnet", "backbone.widths=[16,16,32,32]", "augment=flip"),
    *("data.train_images=6", "data.val_images=3", "optim=adamw", "schedule=constant", "trainer.max_steps=3"),
    *("trainer.batch_size=2", "trainer.workers=0", "trainer.evaluate_epochs=0", "trainer.device=cpu"),
)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    before = torch.are_deterministic_algorithms_enabled()
    assert run_tool("train", *SMALL, f"data.root={folder / 'crowds'}", f"output={folder / 'run'}") == 0
    torch.use_deterministic_algorithms(before)
    (pictures,) = (folder / "crowds").glob("*/images")
    return SimpleNamespace(run=folder / "run", pictures=pictures, best=folder / "run/checkpoints/best.pt")


def test_a_run_leaves_numbers_and_pictures(counted):
    metrics = json.loads((counted.run / "eval/metrics.json").read_text())
    assert {"MAE", "RMSE", "relative_error", "val_loss"} <= set(metrics) and metrics["MAE"] > 0
    for name in ("samples/training.jpg", "samples/density.jpg", "samples/worst.jpg", "plots/counts.png"):
        with Image.open(counted.run / name) as picture:
            picture.load()


def test_evaluation_and_demo_give_the_counts_of_predict(counted, tmp_path, capsys):
    words = (f"checkpoint={counted.best}", "device=cpu")
    assert run_tool("evaluate", *words, "workers=0", f"output={tmp_path / 'eval'}") == 0
    rows = json.loads((tmp_path / "eval/predictions.json").read_text())
    assert (tmp_path / "eval/samples/density.jpg").exists() and len(rows) == 3
    predictor = visionkit.load(counted.best)
    for row in rows:
        found = predictor.predict(row["file"])
        assert isinstance(found, Density) and found.count == row["count"]
    capsys.readouterr()
    assert run_tool("demo", *words, f"source={counted.pictures}", f"output={tmp_path / 'demo'}", "limit=2") == 0
    assert " person" in capsys.readouterr().out
    first = json.loads(sorted((tmp_path / "demo").glob("*.json"))[0].read_text())
    assert first["detections"][0]["class"] == "person" and first["detections"][0]["count"] >= 0


def test_show_data_draws_the_points(counted, tmp_path):
    words = [word for word in SMALL if not word.startswith("data.")]
    sizes = ("data.train_images=6", "data.val_images=3", f"data.root={counted.pictures.parents[1]}")
    assert run_tool("show_data", *words[:3], *sizes, f"output={tmp_path / 'shown.png'}", "count=2") == 0
    with Image.open(tmp_path / "shown.png") as picture:
        picture.load()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("data=scenes_tiny",), ("one kind of object", "8 classes")),
        (("augment=standard",), ("points",)),
        (("evaluation.monitor=AP",), ("evaluation.monitor=AP", "MAE")),
        (("evaluation.monitor=bias",), ("evaluation.monitor=bias", "say which network is better")),
        (("phases=class_weights",), ("phases.weights", "task=fcn")),
    ],
)
def test_settings_that_do_not_fit(counted, tmp_path, capsys, words, parts):
    own = [w for w in SMALL if not (w.startswith("data.") and words == ("data=scenes_tiny",))]
    own = [w for w in own if not (w.startswith("augment") and words[0].startswith("augment"))]
    root = () if words == ("data=scenes_tiny",) else (f"data.root={counted.pictures.parents[1]}",)
    assert run_tool("train", *own, *root, *words, f"output={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and all(part in error for part in parts), error


def test_views_are_for_others(counted, tmp_path, capsys):
    words = (f"checkpoint={counted.best}", f"source={counted.pictures}", f"output={tmp_path}", "device=cpu")
    assert run_tool("demo", *words, "views=tiles") == 2
    assert "views are for segmenters" in capsys.readouterr().err
