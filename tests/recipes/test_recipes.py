"""Every file of configs/experiment/: two training steps, evaluation and pictures on a tiny tree in the real layout.

The networks are the real ones, the pictures and the number of regions are not. A new experiment is covered by its mere
presence; data of a new kind need a line in `recipe_layouts.LAYOUTS`.
"""

import json
import math
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from recipe_layouts import LAYOUTS

from visionkit.assemble import build_model
from visionkit.config import CONFIGS, compose, to_plain

# Half a gigabyte and more a checkpoint: test_published takes the classifiers' step.
LARGE = (
    *("alexnet_imagenet", "vgg16_imagenet", "deconvnet_vgg16_voc12"),
    *("fcn32s_vgg16_voc11", "fcn16s_vgg16_voc11", "fcn8s_vgg16_voc11"),
)
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
RUNS = [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in EXPERIMENTS]
TINY = {  # of a detector's task and of the data's keys those that the experiment has
    "task": {
        "short": "64",
        "long": "96",
        "rpn_train_top": "[40,16]",
        "rpn_test_top": "[40,8]",
        "rpn_samples": "16",
        "regions": "8",
    },
    "data": {"train_images": "4", "val_images": "3"},
}
WINDOW = "[{_target_:visionkit.data.scale_crop.ScaleCrop,size:[64,96],scales:[0.5,2.0]}]"  # for one of 512 pixels
DENSE = ("visionkit.segmentation.SegmentationEvaluator", "visionkit.counting.CountingEvaluator")
METRICS = {  # by the kind of evaluation
    "visionkit.detection.DetectionEvaluator": {"AP", "AP50", "AP75", "AR100", "val_loss"},
    "visionkit.classification.ClassificationEvaluator": {"top1", "top5", "val_loss"},
    "visionkit.segmentation.SegmentationEvaluator": {"mIoU", "pixel_accuracy", "val_loss"},
    "visionkit.counting.CountingEvaluator": {"MAE", "RMSE", "val_loss"},
}


def steps_of(config: dict[str, Any]) -> int:
    """Two, or one for each phase where there are more."""
    return max(2, len(config["phases"]))


def tiny(config: dict[str, Any]) -> list[str]:
    """The overrides that make a run of seconds of an experiment, its network untouched."""
    small = []
    if config["evaluation"]["_target_"] == "visionkit.detection.DetectionEvaluator":
        small = [f"{g}.{key}={value}" for g, keys in TINY.items() for key, value in keys.items() if key in config[g]]
    if config["evaluation"]["_target_"] in DENSE:
        small = [f"data.{key}={value}" for key, value in TINY["data"].items() if key in config["data"]]
        small += [f"augment.steps={WINDOW}"] if "steps" in config["augment"] else []
        small += ["task.short=64", "task.long=96"] if config["task"]["short"] else []
    if config["data"]["_target_"] == "visionkit.data.imagenet_tree.imagenet":
        small = ["task.size=96", "task.short=96"]  # test_published takes a step at full size
    trainer = (f"max_steps={steps_of(config)}", "batch_size=2", "accumulate=1", "workers=0", "device=cpu")
    return [*small, "backbone.weights=null", *(f"trainer.{setting}" for setting in trainer)]


@pytest.mark.parametrize("name", RUNS)
def test_two_steps_and_evaluation(name, run, tmp_path, monkeypatch, capsys):
    from tools.train import train

    config = to_plain(compose("train", [f"experiment={name}"]))
    data, datasets = config["data"], tmp_path / "datasets"
    read = data.get("detection", data)  # data that are made of a detection set
    LAYOUTS[read["_target_"]](datasets / (read.get("root") or ""), read)
    monkeypatch.setenv("VISIONKIT_DATASETS", str(datasets))
    monkeypatch.chdir(tmp_path)  # where no folder of a data set's name is in the way
    generated = "root" in data and not data["root"]
    where = [f"data.root={datasets}"] if generated else []  # generated data go where they are told
    train([f"experiment={name}", *tiny(config), *where, f"output={run}"])
    printed = capsys.readouterr()
    monitor = config["evaluation"]["monitor"]
    steps_taken = steps_of(config)
    assert (
        f"step {steps_taken}/{steps_taken}" in printed.out
        and f"{monitor} " in printed.out
        and printed.err.count("error") == 0
    )

    for file in ("config.yaml", "command.txt", "environment.txt", "log.txt", "checkpoints/last.pt"):
        assert (run / file).stat().st_size > 0, file
    for pattern in ("checkpoints/best.pt", "plots/*.png", "samples/*.jpg", "events.out.tfevents.*"):
        assert list(run.glob(pattern)), pattern
    for path in (*run.glob("plots/*.png"), *run.glob("samples/*.jpg")):
        with Image.open(path) as image:
            image.load()
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["experiment"] == name and written["backbone"]["_target_"] == config["backbone"]["_target_"]

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["split"] == "train"]
    assert steps[-1]["step"] == steps_taken and all(math.isfinite(line["loss"]) for line in steps)
    assert steps[-1]["lr"] > 0 and steps_taken in [line["step"] for line in lines if line["split"] == "val"]

    metrics = json.loads((run / "eval/metrics.json").read_text())
    assert all(value is None or isinstance(value, int | float) for value in metrics.values())  # flat
    assert {monitor} | METRICS.get(config["evaluation"]["_target_"], set()) <= set(metrics)
    predictions = json.loads((run / "eval/predictions.json").read_text())
    if "AP" in metrics:
        assert ({"VOC07_mAP", "VOC10_mAP"} <= set(metrics)) == config["evaluation"]["voc"]
        assert 0 <= metrics["AP50"] <= 1 and math.isfinite(metrics["val_loss"])
        masks = {"segmentation"} if "segm" in config["evaluation"]["iou_types"] else set()
        assert all(set(entry) == {"image_id", "category_id", "bbox", "score"} | masks for entry in predictions)
    if "top1" in metrics:
        assert 0 <= metrics["top1"] <= metrics["top5"] <= 1 and math.isfinite(metrics["val_loss"])
        assert predictions and all({"file", "truth", "found"} <= set(entry) for entry in predictions)


@pytest.mark.parametrize("name", LARGE)
def test_the_models_of_large_ones_are_built(name):
    """Without memory for their weights."""
    config = compose("train", [f"experiment={name}", "backbone.weights=null"])
    with torch.device("meta"):
        model = build_model(config, 21)
    assert sum(parameter.numel() for parameter in model.parameters()) > 50_000_000


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_file_states_its_expected_result(name):
    text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n") and "\n# expected: " in text
