"""Every file of configs/experiment/: two training steps, evaluation and pictures on a tiny tree in the real layout.

The networks are the real ones, the pictures and the number of regions are not. A new experiment is covered by its mere
presence; data of a new kind need a line in `LAYOUTS`.
"""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from visionkit.config import CONFIGS, compose, to_plain

EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
TINY = {  # of the task's and the data's keys those that the experiment has
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
BOXES = ((6, 8, 50, 44), (30, 20, 74, 60))


def write_picture(path: Path, seed: int) -> None:
    """72 x 96 pixels of noise with two boxes in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    image = random.integers(40, 120, (72, 96, 3)).astype(np.uint8)
    for x1, y1, x2, y2 in BOXES:
        image[y1:y2, x1:x2] = random.integers(140, 255, 3)
    Image.fromarray(image).save(path, quality=92)


def write_coco(root: Path, data: dict[str, Any]) -> None:
    """annotations/instances_*.json beside the folders of pictures, with the 80 categories of COCO's numbering."""
    numbers = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    for first, split in enumerate(("train", "val")):
        images, annotations = [], []
        for i in range(4):
            number = 1000 * first + i + 1
            name = f"{number:012d}.jpg"
            write_picture(root / data[split]["images"] / name, number)
            images.append({"id": number, "file_name": name, "height": 72, "width": 96, "license": 1})
            for k, (x1, y1, x2, y2) in enumerate(BOXES[: i % 3]):  # an image without objects, too
                box = [x1, y1, x2 - x1, y2 - y1]
                polygon = [x1, y1, x2, y1, x2, y2, x1, y2]
                annotations.append(
                    {"id": 10 * number + k, "image_id": number, "category_id": numbers[7 * i + k], "bbox": box,
                     "area": box[2] * box[3], "iscrowd": 0, "segmentation": [polygon]}
                )  # fmt: skip
        categories = [{"id": n, "name": f"class {n}", "supercategory": "thing"} for n in numbers]
        path = root / data[split]["annotations"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def write_voc(root: Path, data: dict[str, Any]) -> None:
    """JPEGImages, Annotations and ImageSets/Main; pixels are 1-based and inclusive."""
    names = data["names"] or ["Platelets", "RBC", "WBC"]
    for first, split in enumerate(dict.fromkeys((*data["train"], *data["val"]))):
        tree, _, name = split.rpartition("/")
        ids = [f"{100 * first + i:06d}" for i in range(4)]
        for i, stem in enumerate(ids):
            write_picture(root / tree / "JPEGImages" / f"{stem}.jpg", int(stem))
            objects = "".join(
                f"<object><name>{names[(i + k) % len(names)]}</name><pose>Left</pose><truncated>0</truncated>"
                f"<difficult>{k}</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
                f"<ymax>{y2}</ymax></bndbox></object>"
                for k, (x1, y1, x2, y2) in enumerate(BOXES[: 1 + i % 2])
            )
            path = root / tree / "Annotations" / f"{stem}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f"<annotation><folder>VOC2007</folder><filename>{stem}.jpg</filename>"
                f"<size><width>96</width><height>72</height><depth>3</depth></size>{objects}</annotation>"
            )
        lists = root / tree / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in ids))


def nothing(root: Path, data: dict[str, Any]) -> None:
    """Generated data write themselves."""


LAYOUTS = {
    "visionkit.data.sources.coco": write_coco,
    "visionkit.data.sources.voc": write_voc,
    "visionkit.data.scenes.scenes": nothing,
}


@pytest.fixture(autouse=True)
def _settings_of_torch() -> Iterator[None]:
    """Training makes torch deterministic for the rest of the process."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The run's folder. VGG16's checkpoints are too large to be left for pytest to keep."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


def tiny(config: dict[str, Any]) -> list[str]:
    """The overrides that make a run of seconds of an experiment, its network untouched."""
    small = [f"{g}.{key}={value}" for g, keys in TINY.items() for key, value in keys.items() if key in config[g]]
    trainer = ("max_steps=2", "batch_size=2", "workers=0", "device=cpu")
    return [*small, "backbone.weights=null", *(f"trainer.{setting}" for setting in trainer)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_two_steps_and_evaluation(name, run, tmp_path, monkeypatch, capsys):
    from tools.train import train

    config = to_plain(compose("train", [f"experiment={name}"]))
    data, datasets = config["data"], tmp_path / "datasets"
    LAYOUTS[data["_target_"]](datasets / (data["root"] or ""), data)
    monkeypatch.setenv("VISIONKIT_DATASETS", str(datasets))
    monkeypatch.chdir(tmp_path)  # where no folder of a data set's name is in the way
    where = [] if data["root"] else [f"data.root={datasets}"]  # generated data go where they are told
    train([f"experiment={name}", *tiny(config), *where, f"output={run}"])
    printed = capsys.readouterr()
    assert "step 2/2" in printed.out and "AP50" in printed.out and printed.err.count("error") == 0

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
    assert steps[-1]["step"] == 2 and all(math.isfinite(line["loss"]) for line in steps)
    assert steps[-1]["lr"] > 0 and [line["step"] for line in lines if line["split"] == "val"] == [2]

    metrics = json.loads((run / "eval/metrics.json").read_text())
    assert all(value is None or isinstance(value, int | float) for value in metrics.values())  # flat
    assert {"AP", "AP50", "AP75", "AR100", "val_loss", config["evaluation"]["monitor"]} <= set(metrics)
    assert ({"VOC07_mAP", "VOC10_mAP"} <= set(metrics)) == config["evaluation"]["voc"]
    assert 0 <= metrics["AP50"] <= 1 and math.isfinite(metrics["val_loss"])
    predictions = json.loads((run / "eval/predictions.json").read_text())
    assert all(set(entry) == {"image_id", "category_id", "bbox", "score"} for entry in predictions)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_file_states_its_expected_result(name):
    text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n") and "\n# expected: " in text
