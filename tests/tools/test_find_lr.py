"""A sweep through the tool: it reads the run's configuration, and leaves two files and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import SMALL as DETECTOR
from small_runs import files_below, picture

SMALL = (
    *("task=classify", "backbone=basic_resnet", "backbone.widths=[8,8,16,16]", "task.size=32"),
    *("trainer.batch_size=4", "trainer.workers=0", "trainer.device=cpu", "optim=sgd", "steps=40", "smooth=0.5"),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for split, count in (("train", 4), ("val", 2)):
        for name in ("cross", "disc", "square"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image = picture((40, 36), [(name, (4, 4, 32, 32))], i)
                Image.fromarray(image).save(root / split / name / f"{i}.png")
    return root


def test_a_sweep_of_a_classifier(tool, tree, tmp_path):
    out = tmp_path / "out"
    arguments = [*SMALL, "data=folder", f"data.root={tree}", f"output={out}"]
    before = files_below(tree)
    outcome = tool("find_lr", *arguments, "trainer.base_batch=16", "low=1e-5", "high=100")
    assert outcome.code == 0, outcome.err
    assert files_below(tmp_path) == ["out/lr_finder.json", "out/lr_finder.png"]
    assert files_below(tree) == before and np.asarray(Image.open(out / "lr_finder.png")).std() > 1
    found = json.loads((out / "lr_finder.json").read_text())
    rates = [point["rate"] for point in found["points"]]
    assert rates[0] == pytest.approx(1e-5) and len(rates) > 10
    assert np.diff(np.log(rates)) == pytest.approx(np.log(1e7) / 39)
    assert rates[-1] == pytest.approx(100) or "least value" in found["ended"] or "not finite" in found["ended"]
    assert 1e-5 < found["steepest"] < 100 and found["least_tenth"] == pytest.approx(found["least"] / 10)
    assert f"optim.lr={4 * found['rate']:.2e}" in outcome.out and "base_batch=16" in outcome.out
    assert len(outcome.out.split("smoothed\n")[1].split("\nall")[0].split("\nat ")[0].splitlines()) == 10

    again = tool("find_lr", *arguments, "trainer.base_batch=16", "low=1e-5", "high=100")
    assert again.out == outcome.out, "the same sweep again"


def test_it_takes_the_steps_that_training_takes(tool, tree, tmp_path):
    """Its first steps, at a rate too low to change anything, have the losses of a run at that rate."""
    data = ["data=folder", f"data.root={tree}"]
    outcome = tool("find_lr", *SMALL, *data, f"output={tmp_path / 'out'}", "low=1e-12", "high=1e-11", "steps=10")
    assert outcome.code == 0, outcome.err
    points = json.loads((tmp_path / "out/lr_finder.json").read_text())["points"]
    training = [a for a in SMALL if not a.startswith(("steps", "smooth"))]
    run = ["trainer.max_steps=10", "trainer.log_steps=1", "optim.lr=1e-12", "schedule=constant", "trainer.epochs=1"]
    assert tool("train", *training, *data, *run, f"output={tmp_path / 'run'}").code == 0
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert [point["loss"] for point in points] == pytest.approx(losses, abs=1e-5) and len(set(losses)) > 3


def test_a_detector_and_a_rate_that_breaks_it(tool, coco_tree, tmp_path):
    small = [a for a in DETECTOR if not a.startswith("trainer.max_steps")]
    sweep = ["low=1e-3", "high=1e12", "steps=10", "smooth=0"]
    outcome = tool("find_lr", *small, *coco_tree.arguments, *sweep, f"output={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    assert "not finite any more" in outcome.out or "4 times its least value" in outcome.out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["lr_finder.json", "lr_finder.png"]


def test_one_sentence(tool, tree, tmp_path):
    rest = [*SMALL, "data=folder", f"data.root={tree}", f"output={tmp_path / 'out'}"]
    tool("find_lr", *rest, "low=2").sentence(2, "low=2 high=1")
    tool("find_lr", *rest, "steps=3").sentence(2, "steps=3", "at least 10")
    tool("find_lr", *rest, "smooth=much").sentence(2, "smooth")
    tool("find_lr", *rest, "optim.optimizer.momentum=-1").sentence(2, "momentum")
    tool("find_lr", *rest, "lowest=1").sentence(2, "lowest")
    tool("find_lr", *rest, "data.root=nowhere").sentence(3, "nowhere")
    assert not (tmp_path / "out").exists()
