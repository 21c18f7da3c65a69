"""The search as a command, end to end on a few pictures of 8 px; its found cell as a backbone; what is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from small_runs import CocoTree, files_below, picture

from visionkit.config import compose, instantiate

SMALL = (
    *("samples=2", "train_steps=2", "final_steps=3", "random_cells=1", "nodes=2", "width=2", "size=8", "hidden=8"),
    *("pictures=6", "batch_size=4", "device=cpu"),
)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for split in ("train", "val"):
        for name in ("cross", "disc"):
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                Image.fromarray(picture((12, 14), [(name, (1, 1, 11, 11))], i)).save(root / split / name / f"{i}.png")
    return root


def test_end_to_end_and_again(tool, tree, tmp_path):
    arguments = (*SMALL, "data=folder", f"data.root={tree}", "seeds=[0,1]", f"output={tmp_path / 'run'}")
    outcome = tool("search", *arguments)
    assert outcome.code == 0, outcome.err
    assert {"search.jsonl", "reward.png", "cell.png", "comparison.md", "found/backbone/found_cell.yaml", "config.yaml",
            "command.txt", "environment.txt"} == set(files_below(tmp_path / "run"))  # fmt: skip
    for name in ("reward.png", "cell.png"):
        assert np.asarray(Image.open(tmp_path / "run" / name)).std() > 1
    for words in ("6 pictures to learn from, 4 for rewards, 4 for the end", "left 0:00", "over 2 seeds", "random cells",
                  "output = ", "--config-dir", "2/2"):  # fmt: skip
        assert words in outcome.out
    lines = (tmp_path / "run/search.jsonl").read_text()
    assert len(lines.splitlines()) == 2 * 2 * 2 + 2 * 3
    records = [json.loads(line) for line in lines.splitlines()]
    rewards = [r["reward"] for r in records if "reward" in r]

    config = compose("train", ["--config-dir", str(tmp_path / "run/found"), "backbone=found_cell", "task=classify"])
    assert instantiate(config.backbone).stages["c1"].stride == 2
    best = next(r for r in records if r.get("reward") == max(rewards))
    assert best["method"] in ("controller", "random") and len(config.backbone.cell) == 2
    assert any(r["cell"] == list(config.backbone.cell) for r in records if r.get("reward") == max(rewards))

    again = tool("search", *arguments)
    assert again.code == 0 and "steps/s" not in again.out, "nothing was left to train"
    assert (tmp_path / "run/search.jsonl").read_text() == lines
    other = tool("search", *arguments, "train_steps=3")
    other.sentence(2, "train_steps: 2 -> 3", "another output")


def test_one_method_without_a_comparison(tool, tree, tmp_path):
    arguments = (*SMALL, "data=folder", f"data.root={tree}", "method=random", "final_steps=0", "samples=1")
    outcome = tool("search", *arguments, f"output={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    assert "controller" not in outcome.out and " minus " not in outcome.out
    assert "comparison.md" not in files_below(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["method=evolution"], 2, ["method=evolution", "controller, random, both"]),
        (["operations=[sep3,sep4]"], 2, ["'sep4'", "identity, avg3"]),
        (["samples=none"], 2, ["samples=none", "a number"]),
        (["samples=0"], 2, ["samples=0", "at least 1"]),
        (["sample=3"], 2, ["sample", "samples"]),
        (["size=4"], 2, ["size=4", "at least 8"]),
        (["data.root=nowhere"], 3, ["nowhere"]),
    ],
)
def test_one_sentence(tool, tree, tmp_path, arguments, code, words):
    run = f"output={tmp_path / 'run'}"
    tool("search", *SMALL, "data=folder", f"data.root={tree}", run, *arguments).sentence(code, *words)
    assert not (tmp_path / "run").exists()


def test_boxes_are_refused(tool, tmp_path):
    tree = CocoTree(tmp_path / "coco")
    outcome = tool("search", *SMALL, *tree.arguments, f"output={tmp_path / 'run'}")
    outcome.sentence(2, "has boxes", "data=folder")
    assert not (tmp_path / "run").exists()
