"""A segmenter through every door: train, evaluate with views, demo, `visionkit.load`, and what goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import run_tool

import visionkit
from visionkit.structures import Segmentation

NAMES = ("ground", "disc", "square")
SMALL = (
    *("task=fcn", "task.stride=8", "backbone=vgg11_bn_narrow", "backbone.widths=[8,8,8,16,16]", "backbone.hidden=16"),
    *("augment=flip", "optim=adamw", "optim.lr=0.01", "schedule=constant", "trainer.max_steps=4"),
    *("trainer.batch_size=2", "trainer.workers=0", "trainer.evaluate_epochs=0", "trainer.device=cpu"),
)


def write_pairs(root: Path) -> Path:
    """CamVid's layout: list files of `image map`; sizes differ, a class is missing in val, some pixels are void."""
    for number, split in ((6, "train"), (3, "val")):
        lines = []
        for i in range(number):
            random = np.random.default_rng(10 * number + i)
            height, width = 48 + 8 * (i % 2), 64
            labels = np.zeros((height, width), np.uint8)
            labels[8:24, 8:24] = 1
            if split == "train":
                labels[28:44, 30:50] = 2
            labels[:2] = 11
            image = random.integers(0, 60, (height, width, 3)).astype(np.uint8)
            image[labels == 1], image[labels == 2] = (200, 40, 40), (40, 200, 40)
            for folder, content in ((split, image), (f"{split}annot", labels)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(root / folder / f"{i}.png")
            lines.append(f"{split}/{i}.png {split}annot/{i}.png\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def data_of(root: Path) -> tuple[str, ...]:
    return "data=camvid", f"data.root={root}", f"data.names=[{','.join(NAMES)}]", "data.colors=null"


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    tree, run = write_pairs(folder / "tree"), folder / "run"
    before = torch.are_deterministic_algorithms_enabled()
    assert run_tool("train", *SMALL, *data_of(tree), f"output={run}") == 0
    torch.use_deterministic_algorithms(before)
    return SimpleNamespace(run=run, tree=tree, best=run / "checkpoints/best.pt")


def test_a_run_leaves_numbers_and_pictures(segmented):
    metrics = json.loads((segmented.run / "eval/metrics.json").read_text())
    assert set(metrics) == {"mIoU", "fwIoU", "pixel_accuracy", "mean_accuracy", "boundary_f", "val_loss"}
    assert 0 <= metrics["mIoU"] <= 1 and metrics["val_loss"] > 0
    for path in ("samples/training.jpg", "samples/segmentation.jpg", "plots/iou.png"):
        with Image.open(segmented.run / path) as picture:
            picture.load()
    rows = json.loads((segmented.run / "eval/predictions.json").read_text())
    assert len(rows) == 3 and {"file", "pixel_accuracy"} <= set(rows[0])
    assert "test_seconds" in json.loads((segmented.run / "summary.json").read_text())


def test_a_class_that_is_never_seen_is_not_a_zero(segmented, capsys):
    """No `square` in val: n/a in the table, and not in the mean."""
    assert run_tool("evaluate", f"checkpoint={segmented.best}", "device=cpu", "workers=0") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("square"))
    assert "n/a" in row and "nan" not in row.lower()


def test_evaluation_repeats_the_runs_numbers(segmented, tmp_path):
    arguments = (f"checkpoint={segmented.best}", "device=cpu", "workers=0", f"output={tmp_path}")
    assert run_tool("evaluate", *arguments) == 0
    ours, again = (json.loads((p / "metrics.json").read_text()) for p in (segmented.run / "eval", tmp_path))
    assert ours == again


@pytest.mark.parametrize("views", ["multi_scale", "tiles"])
def test_other_views_are_measured_too(segmented, tmp_path, views):
    arguments = (f"checkpoint={segmented.best}", f"views={views}", "device=cpu", "workers=0", f"output={tmp_path}")
    assert run_tool("evaluate", *arguments) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= metrics["mIoU"] <= 1 and "val_loss" not in metrics


def test_the_demo_paints_and_writes_the_labels_of_predict(segmented, tmp_path, capsys):
    out = tmp_path / "out"
    source = segmented.tree / "val"
    assert run_tool("demo", f"checkpoint={segmented.best}", f"source={source}", f"output={out}", "device=cpu") == 0
    assert "0.png: " in capsys.readouterr().out
    predictor = visionkit.load(segmented.best)
    found = predictor.predict(source / "0.png")
    assert isinstance(found, Segmentation)
    with Image.open(out / "0.png") as written:
        assert written.mode == "P" and np.array_equal(np.array(written), found.labels.numpy())
    record = json.loads((out / "0.json").read_text())
    assert sum(row["share"] for row in record["detections"]) == pytest.approx(1)
    assert (out / "0.jpg").stat().st_size > 0


def test_the_demo_takes_tiles(segmented, tmp_path):
    arguments = (f"checkpoint={segmented.best}", f"source={segmented.tree / 'val'}", f"output={tmp_path}", "device=cpu")
    assert run_tool("demo", *arguments, "views=tiles", "limit=1") == 0
    assert (tmp_path / "0.png").exists()


def test_label_maps_are_saved_when_asked(segmented, tmp_path):
    words = ("evaluation.save_maps=true", f"output={tmp_path / 'run'}")
    assert run_tool("train", *SMALL, *data_of(segmented.tree), *words) == 0
    assert len(list((tmp_path / "run/eval/maps").glob("*.png"))) == 3


def test_class_weights_are_fitted_and_travel(segmented, tmp_path):
    run = tmp_path / "weighted"
    assert run_tool("train", *SMALL, *data_of(segmented.tree), "phases=class_weights", f"output={run}") == 0
    weights = visionkit.load(run / "checkpoints/best.pt").model.class_weights
    assert float(weights[0]) < float(weights[1]) and not bool((weights == 1).all())


def test_a_finer_network_grows_from_a_coarser_one(segmented, tmp_path, capsys):
    run = tmp_path / "finer"
    words = [word.replace("task.stride=8", "task.stride=4") for word in SMALL]
    assert run_tool("train", *words, *data_of(segmented.tree), f"start_from={segmented.best}", f"output={run}") == 0
    assert "tensors taken over" in capsys.readouterr().out


def test_class_weights_are_not_taken_over(segmented, tmp_path):
    """A run whose configuration knows nothing of them would be weighted."""
    run, next_run = tmp_path / "weighted", tmp_path / "next"
    assert run_tool("train", *SMALL, *data_of(segmented.tree), "phases=class_weights", f"output={run}") == 0
    words = (f"start_from={run / 'checkpoints/best.pt'}", f"output={next_run}")
    assert run_tool("train", *SMALL, *data_of(segmented.tree), *words) == 0
    assert bool((visionkit.load(next_run / "checkpoints/best.pt").model.class_weights == 1).all())


def test_label_maps_of_one_name_in_several_folders(segmented, tmp_path):
    root = tmp_path / "pairs"
    for folder in ("a", "b"):
        for i in range(3):
            for kind, content in (("images", np.zeros((40, 48, 3))), ("masks", np.full((40, 48), i % 2))):
                (root / kind / "train" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content.astype(np.uint8)).save(root / kind / "train" / folder / f"{i}.png")
    (root / "classes.csv").write_text("name,id\nground,0\nthing,1\n")
    words = ("data=image_masks", f"data.root={root}", "data.val_fraction=0.6", "evaluation.save_maps=true")
    assert run_tool("train", *SMALL, *words, f"output={tmp_path / 'run'}") == 0
    measured = json.loads((tmp_path / "run/eval/predictions.json").read_text())
    assert len(list((tmp_path / "run/eval/maps").rglob("*.png"))) == len(measured) > 2


def test_growing_in_one_run(segmented, tmp_path):
    run = tmp_path / "grown"
    words = ("phases=fcn8_in_turn", f"output={run}", *data_of(segmented.tree))
    assert run_tool("train", *SMALL, *words) == 0
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line.get("phase") for line in steps} >= {"stride32", "stride16", "stride8"}
    evaluated = [line["phase"] for line in steps if line["split"] == "val"]
    assert evaluated and set(evaluated) == {"stride8"}, "a coarser network is not the result"


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("data=scenes_tiny",), 2, ("a class for every pixel",)),
        (("evaluation.monitor=AP",), 2, ("evaluation.monitor=AP", "mIoU")),
        (("views@evaluation.views=center",), 2, ("whole, multi_scale or tiles",)),
        (("task.stride=12",), 2, ("task.stride=12",)),
        (("views@evaluation.views=tiles", "evaluation.monitor=val_loss"), 2, ("evaluation.monitor=val_loss",)),
        (("task.long=50",), 2, ("task.long=50", "task.short")),
        (("phases.train.fit=1", "phases=class_weights"), 2, ("phases.train",)),
    ],
)
def test_settings_that_do_not_fit(segmented, tmp_path, capsys, words, code, parts):
    data = () if any(word.startswith("data=") for word in words) else data_of(segmented.tree)
    found = run_tool("train", *SMALL, *data, *words, f"output={tmp_path / 'run'}")
    error = capsys.readouterr().err
    assert found == code and "Traceback" not in error, error
    for part in parts:
        assert part in error, error


def test_a_map_of_another_size(segmented, tmp_path, capsys):
    tree = write_pairs(tmp_path / "tree")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tree / "trainannot/0.png")
    assert run_tool("train", *SMALL, *data_of(tree), f"output={tmp_path / 'run'}") == 3
    error = capsys.readouterr().err
    assert "trainannot/0.png" in error and "5 x 5" in error and "48 x 64" in error


def test_a_value_that_is_no_class(segmented, tmp_path, capsys):
    tree = write_pairs(tmp_path / "tree")
    for i in range(6):
        Image.fromarray(np.full((48 + 8 * (i % 2), 64), 7, np.uint8)).save(tree / f"trainannot/{i}.png")
    assert run_tool("train", *SMALL, *data_of(tree), f"output={tmp_path / 'run'}") == 3
    error = capsys.readouterr().err
    assert "the value 7 stands for no class" in error and "trainannot" in error


def test_no_labelled_pixel_at_all(segmented, tmp_path, capsys):
    """Training goes on with a loss of 0, and every number is n/a."""
    tree = write_pairs(tmp_path / "tree")
    for i in range(3):
        Image.fromarray(np.full((48 + 8 * (i % 2), 64), 11, np.uint8)).save(tree / f"valannot/{i}.png")
    assert run_tool("train", *SMALL, *data_of(tree), f"output={tmp_path / 'run'}") == 0
    metrics = json.loads((tmp_path / "run/eval/metrics.json").read_text())
    assert metrics["mIoU"] is None and metrics["pixel_accuracy"] is None and metrics["val_loss"] is None


def test_detectors_refuse_label_maps(segmented, tmp_path, capsys):
    words = ("task=faster_rcnn", *data_of(segmented.tree), f"output={tmp_path / 'run'}", "trainer.device=cpu")
    assert run_tool("train", *words) == 2
    assert "error: " in capsys.readouterr().err


def on_processes(tool: str, count: int, *words: str) -> None:
    """A tool as processes of its own, under torchrun where there are several."""
    launcher = () if count == 1 else ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count))
    command = [sys.executable, *launcher, str(Path(__file__).parents[2] / "tools" / f"{tool}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr


def test_two_processes_measure_what_one_measures(segmented, tmp_path):
    """Three pictures: one process has two of them. Every number is equal, not nearly so."""
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        words = (f"checkpoint={segmented.best}", "device=cpu", "workers=0", f"output={folder}")
        on_processes("evaluate", count, *words)
        found.append([(folder / name).read_bytes() for name in ("metrics.json", "predictions.json")])
    assert found[0] == found[1]


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_doubled_batch(segmented, tmp_path):
    """The loss is a mean over labelled pixels of both; SGD and group norm, as for the detectors."""
    words = [word for word in SMALL if "batch_size" not in word and "optim" not in word]
    chance = ("backbone.dropout=0", "backbone.norm=group")  # what a process draws or counts for itself
    same = (*words, *data_of(segmented.tree), "optim=sgd", "optim.lr=0.01", *chance)
    weights = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        on_processes("train", count, *same, f"trainer.batch_size={4 // count}", f"output={folder}")
        weights.append(visionkit.load(folder / "checkpoints/best.pt").model.state_dict())
    for key, value in weights[0].items():
        torch.testing.assert_close(
            weights[1][key], value, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
        )
