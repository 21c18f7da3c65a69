"""Fine-tuning through the tools: from a checkpoint of ours, phase by phase, with averaged weights, as a study."""

import json
import shutil

import pytest
import torch
import yaml
from test_classify import SMALL, write_tree

from visionkit.engine import checkpoint


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run with averaged weights on three classes, and its data."""
    from small_runs import run_tool

    folder = tmp_path_factory.mktemp("source")
    before = torch.are_deterministic_algorithms_enabled()
    arguments = [*SMALL, "data=folder", f"data.root={write_tree(folder / 'tree')}", "trainer.ema=0.5"]
    assert run_tool("train", *arguments, f"output={folder / 'run'}") == 0
    torch.use_deterministic_algorithms(before)
    return folder


def weights(folder):
    return checkpoint.weights_of(checkpoint.load(folder / "checkpoints/best.pt"))


def test_the_average_is_what_predicts(source):
    import visionkit

    predictor = visionkit.load(source / "run/checkpoints/best.pt")
    state = checkpoint.load(source / "run/checkpoints/best.pt")
    key = "head.linear.weight"
    assert torch.equal(predictor.model.state_dict()[key], state["average"]["weights"][key])
    assert not torch.equal(state["model"][key], state["average"]["weights"][key])


def test_other_classes_in_phases_from_a_checkpoint(tool, source, tmp_path):
    tree = shutil.copytree(source / "tree", tmp_path / "tree")
    for split in ("train", "val"):
        (tree / split / "disc").rename(tree / split / "ring")
    out = tmp_path / "out"
    arguments = [*SMALL, "data=folder", f"data.root={tree}", f"start_from={source / 'run/checkpoints/best.pt'}"]
    outcome = tool("train", *arguments, "phases=last_layer", f"output={out}")
    assert outcome.code == 0, outcome.err
    assert "the class list has changed (cross, disc, square -> cross, ring, square)" in outcome.out
    old, new = weights(source / "run"), weights(out)
    assert all(torch.equal(old[key], new[key]) for key in old if key.startswith("backbone."))
    assert not torch.equal(old["head.linear.weight"], new["head.linear.weight"])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["trainable_parameters"] == sum(v.numel() for k, v in new.items() if k.startswith("head."))
    assert summary["parameters"] > summary["trainable_parameters"] and summary["train_seconds"] > 0
    # and, under the same classes, nothing is reset; weights of another network are an error
    outcome = tool(
        "train", *arguments, f"data.root={source / 'tree'}", "trainer.max_steps=1", f"output={tmp_path / 'o'}"
    )
    assert outcome.code == 0 and "tensors taken over" in outcome.out and "begin afresh" not in outcome.out
    others = [word for word in arguments if not word.startswith("backbone")]
    outcome = tool("train", *others, "backbone=lenet", f"output={tmp_path / 'no'}")
    outcome.sentence(2, "start_from=", "none of its")
    assert not (tmp_path / "no").exists()


def test_fewer_images_than_a_step_takes(tool, source, tmp_path):
    outcome = tool(
        "train",
        *SMALL,
        "data=folder",
        f"data.root={source / 'tree'}",
        "trainer.batch_size=13",
        f"output={tmp_path / 'o'}",
    )
    outcome.sentence(2, "trainer.batch_size=13", "has 12", "smaller batch")
    assert not (tmp_path / "o").exists()


def test_a_study_passes_words_on(tool, source, tmp_path):
    own = tmp_path / "own/study/mine.yaml"
    own.parent.mkdir(parents=True)
    base = [word for word in SMALL if not word.startswith(("trainer.max_steps", "optim="))]
    content = {
        "base": [*base, "data=cifar10_jpeg", "trainer.max_steps=9"],
        "runs": {"one": ["optim=adamw"]},
        "columns": ["top1", "trainable_parameters"],
    }
    own.write_text(yaml.safe_dump(content))
    words = ["data=folder", f"data.root={source / 'tree'}", "trainer.max_steps=1"]
    outcome = tool("study", "--config-dir", str(tmp_path / "own"), "study=mine", *words, f"output={tmp_path / 'study'}")
    assert outcome.code == 0, outcome.err
    config = yaml.safe_load((tmp_path / "study/one/seed0/config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 1 and config["data"]["root"] == str(source / "tree")
    table = json.loads((tmp_path / "study/table.json").read_text())
    assert table[0]["trainable_parameters"] > 100
