"""A classifier through every door: train, evaluate, demo, show_data, `visionkit.load`; and what goes wrong."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_runs import CocoTree, files_below, picture, run_tool

import visionkit
from visionkit.structures import Classification

SMALL = (
    *("task=classify", "backbone=basic_resnet", "backbone.widths=[8,8,16,16]", "task.size=32"),
    *("trainer.max_steps=4", "trainer.batch_size=4", "trainer.workers=0", "trainer.evaluate_epochs=0"),
    *("trainer.device=cpu", "optim=sgd", "optim.lr=0.01", "schedule=constant"),
)


def write_tree(root: Path) -> Path:
    for split, count in (("train", 4), ("val", 3)):
        for name in ("cross", "disc", "square"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                size = (40 + 2 * i, 36)
                Image.fromarray(picture(size, [(name, (4, 4, 32, 32))], i)).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    import torch

    folder = tmp_path_factory.mktemp("classified")
    tree, run = write_tree(folder / "tree"), folder / "run"
    before = torch.are_deterministic_algorithms_enabled()
    assert run_tool("train", *SMALL, "data=folder", f"data.root={tree}", f"output={run}") == 0
    torch.use_deterministic_algorithms(before)
    return SimpleNamespace(run=run, tree=tree, best=run / "checkpoints/best.pt")


def test_a_run_leaves_what_every_run_leaves(classified):
    written = files_below(classified.run)
    for name in ("config.yaml", "metrics.jsonl", "checkpoints/best.pt", "checkpoints/last.pt", "eval/metrics.json",
                 "eval/predictions.json", "plots/losses.png", "samples/classes.jpg"):  # fmt: skip
        assert name in written
    assert set(json.loads((classified.run / "eval/metrics.json").read_text())) == {"top1", "top5", "val_loss", "ece"}
    found = json.loads((classified.run / "eval/predictions.json").read_text())
    assert [row["truth"] for row in found] == ["cross"] * 3 + ["disc"] * 3 + ["square"] * 3
    assert np.asarray(Image.open(classified.run / "samples/classes.jpg")).std() > 1


def test_evaluate_demo_and_load_agree_with_training(tool, classified, tmp_path):
    outcome = tool("evaluate", f"checkpoint={classified.best}", "workers=0", "batch_size=1", f"output={tmp_path / 'e'}")
    assert outcome.code == 0, outcome.err
    evaluated = json.loads((tmp_path / "e/predictions.json").read_text())
    trained = json.loads((classified.run / "eval/predictions.json").read_text())
    for one, other in zip(evaluated, trained, strict=True):  # batches of 1 and of 64: equal to rounding
        assert [f["class"] for f in one["found"]] == [f["class"] for f in other["found"]]
        assert [f["score"] for f in one["found"]] == pytest.approx([f["score"] for f in other["found"]], abs=1e-5)
    outcome = tool(
        "demo", f"checkpoint={classified.best}", f"source={classified.tree / 'val'}", f"output={tmp_path / 'd'}"
    )
    assert outcome.code == 0 and "9 pictures" in outcome.out
    predictor = visionkit.load(classified.best)
    for row in evaluated:
        path = Path(row["file"])
        found = predictor.predict(path)
        assert isinstance(found, Classification)
        shown = json.loads((tmp_path / "d" / path.parent.name / f"{path.stem}.json").read_text())["detections"]
        best = max(range(3), key=lambda k: found.probabilities[k])
        assert shown == row["found"], "batch size 1 gives the demo's numbers bit for bit"
        assert shown[0] == {"class": predictor.names[best], "score": float(found.probabilities[best])}


def test_the_same_run_again_gives_the_same_weights(tool, classified, tmp_path):
    arguments = (*SMALL, "data=folder", f"data.root={classified.tree}", f"output={tmp_path / 'run'}")
    assert tool("train", *arguments, "trainer.checkpoint_steps=2", "trainer.epochs=1").code == 0
    import torch

    last = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["model"]
    expected = torch.load(classified.run / "checkpoints/last.pt", weights_only=True)["model"]
    assert last.keys() == expected.keys() and all(torch.equal(last[key], expected[key]) for key in last)


def test_show_data_draws_labelled_pictures(tool, classified, tmp_path):
    outcome = tool("show_data", "task=classify", "task.size=32", "data=folder", f"data.root={classified.tree}",
                   "augment=cifar", "count=6", f"output={tmp_path / 'samples.png'}")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "6 of 12 images, 12 objects of 3 classes" in outcome.out
    assert np.asarray(Image.open(tmp_path / "samples.png")).std() > 1


def test_generated_objects_need_no_download(tool, tmp_path):
    scenes = [
        "data.detection.train_images=6",
        "data.detection.val_images=4",
        f"data.detection.root={tmp_path / 'made'}",
    ]
    outcome = tool("train", *SMALL, *scenes, f"output={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    assert "8 classes" in outcome.out


def test_frozen_trunk_and_aux_free_network_train(tool, classified, tmp_path):
    outcome = tool(
        "train",
        *SMALL,
        "data=folder",
        f"data.root={classified.tree}",
        "trainer.freeze=c4",
        f"output={tmp_path / 'run'}",
    )
    assert outcome.code == 0 and " tensors frozen" in outcome.out and "0 tensors frozen" not in outcome.out


def test_detectors_and_classifiers_want_their_own_data(tool, classified, tmp_path):
    tree = CocoTree(tmp_path / "coco")
    run = f"output={tmp_path / 'run'}"
    tool("train", *SMALL, *tree.arguments, run).sentence(2, "one class for each picture", "has boxes", "data=folder")
    tool("train", "data=folder", f"data.root={classified.tree}", run).sentence(2, "learns from boxes", "task=classify")
    arguments = (f"checkpoint={classified.best}", *tree.arguments, "workers=0", run)
    tool("evaluate", *arguments).sentence(2, "one class each", "has boxes")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["task.size=16"], 2, ["task.size=16", "at least 32", "resnet20"]),
        (["task.size=large"], 2, ["size=large", "a number"]),
        (["task.sice=64"], 2, ["task.sice", "task.size"]),
        (["evaluation.monitor=AP"], 2, ["evaluation.monitor=AP", "top1, top5, val_loss"]),
        (["data.root=nowhere"], 3, ["nowhere"]),
    ],
)
def test_one_sentence(tool, classified, tmp_path, arguments, code, words):
    run = f"output={tmp_path / 'run'}"
    tool("train", *SMALL, "data=folder", f"data.root={classified.tree}", run, *arguments).sentence(code, *words)
    assert not (tmp_path / "run").exists()


def test_other_classes_are_named(tool, classified, tmp_path):
    other = write_tree(tmp_path / "other")
    (other / "val" / "disc").rename(other / "val" / "ellipse")
    (other / "train" / "disc").rename(other / "train" / "ellipse")
    arguments = ("data=folder", f"data.root={other}", "workers=0", f"output={tmp_path / 'e'}")
    tool("evaluate", f"checkpoint={classified.best}", *arguments).sentence(3, "'ellipse'", "cross, disc, square")


def test_a_classifiers_checkpoint_is_a_weights_file(tool, classified, tmp_path):
    weights = f"backbone.weights={classified.best}"
    outcome = tool(
        "train", *SMALL, "data=folder", f"data.root={classified.tree}", weights, f"output={tmp_path / 'run'}"
    )
    assert outcome.code == 0, outcome.err
    assert "tensors loaded, " in outcome.out and "head.linear.weight" in outcome.out, "the head is reported as unused"


def test_a_network_of_nan_is_not_given_an_accuracy(tool, classified, tmp_path):
    import torch

    state = torch.load(classified.best, weights_only=True)
    state["model"]["head.linear.bias"][0] = float("nan")
    torch.save(state, tmp_path / "broken.pt")
    outcome = tool("evaluate", f"checkpoint={tmp_path / 'broken.pt'}", "workers=0", f"output={tmp_path / 'e'}")
    outcome.sentence(4, "scores for", "0.png are not numbers")


def test_iou_type_is_for_detectors(tool, classified, tmp_path):
    arguments = (f"checkpoint={classified.best}", "workers=0", f"output={tmp_path / 'e'}", "iou_type=bbox")
    tool("evaluate", *arguments).sentence(2, "iou_type is for detectors")


def test_a_pyramid_trains_in_two_processes(classified, tmp_path):
    """Every parameter takes part, and the run ends as it should: with everything written and exit code 0."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "tools/train.py", "task=classify", "backbone=basic_fpn", "backbone.body.widths=[8,8,16,16]",
               "backbone.channels=8", "backbone.hidden=16", "task.size=64", "trainer.max_steps=3",
               "trainer.batch_size=2", "trainer.workers=0", "trainer.device=cpu", "data=folder",
               f"data.root={classified.tree}", f"output={tmp_path / 'run'}"]  # fmt: skip
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    written = files_below(tmp_path / "run")
    assert {"samples/classes.jpg", "plots/losses.png", "eval/metrics.json"} <= set(written)
    assert len(json.loads((tmp_path / "run/eval/predictions.json").read_text())) == 9


def test_resumes_bit_for_bit_with_drop_path_augmentation_and_bf16(tool, classified, tmp_path, monkeypatch):
    """From a copy of the checkpoint of step 3, kept before step 6 overwrote it."""
    import torch

    from visionkit.engine import checkpoint

    save = checkpoint.save

    def save_and_keep(path, state):
        save(path, state)
        if path.name == "last.pt" and state["cursor"]["step"] == 3:
            shutil.copy(path, tmp_path / "third.pt")

    monkeypatch.setattr(checkpoint, "save", save_and_keep)
    arguments = [
        *(
            "task=classify",
            "backbone=basic_resnet",
            "backbone.widths=[8,8,16,16]",
            "backbone.drop_path=0.5",
            "task.size=32",
        ),
        *("task.label_smoothing=0.1", "augment=cifar", "data=folder", f"data.root={classified.tree}"),
        *("trainer.max_steps=6", "trainer.batch_size=4", "trainer.workers=0", "trainer.precision=bf16"),
        *("trainer.device=cpu", "trainer.checkpoint_steps=3", "trainer.evaluate_epochs=0", "trainer.log_steps=1"),
    ]
    assert tool("train", *arguments, f"output={tmp_path / 'whole'}").code == 0
    outcome = tool("train", *arguments, f"output={tmp_path / 'rest'}", f"resume={tmp_path / 'third.pt'}")
    assert outcome.code == 0 and "resumed at step 3" in outcome.out, outcome.err
    states = [torch.load(tmp_path / run / "checkpoints/last.pt", weights_only=True) for run in ("whole", "rest")]
    for part in ("model", "optimizer"):
        assert str(states[0][part]) == str(states[1][part])
    assert all(torch.equal(a, states[1]["model"][key]) for key, a in states[0]["model"].items())
    metrics = [(tmp_path / run / "eval/predictions.json").read_bytes() for run in ("whole", "rest")]
    assert metrics[0] == metrics[1]
