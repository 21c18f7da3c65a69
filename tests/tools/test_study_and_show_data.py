"""A study runs what is missing and tells the spread; show_data draws what training sees."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from small_runs import SMALL, files_below

from visionkit.study import members, rows


@pytest.fixture
def study(coco_tree, tmp_path):
    """Writes a study's file into a configuration folder of its own; gives the arguments of the tool."""

    def write(**changes):
        content = {
            "name": "mine",
            "base": [*SMALL, "data=coco", f"data.root='{coco_tree.root}'"],
            "runs": {"low": ["optim.lr=0.001"], "high": ["optim.lr=0.01"]},
            "seeds": [3],
            "columns": ["AP", "val_loss"],
            "plot": "val_loss",
        }
        path = tmp_path / "own/study/mine.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            yaml.safe_dump({k: v for k, v in (content | changes).items() if v is not None}, sort_keys=False)
        )
        return ["--config-dir", str(tmp_path / "own"), "study=mine", f"output={tmp_path / 'study'}"]

    return write


def finished(folder, loss, **changes):
    """A run's folder as training leaves it, as far as a study looks."""
    (folder / "eval").mkdir(parents=True)
    (folder / "eval/metrics.json").write_text(json.dumps({"AP": 0.5, "val_loss": loss} | changes))
    (folder / "summary.json").write_text("{}")


def test_runs_what_is_missing_and_keeps_what_is_finished(tool, study, tmp_path):
    out = tmp_path / "study"
    finished(out / "low/seed3", 2.0)
    outcome = tool("study", *study())
    assert outcome.code == 0, outcome.err
    assert "2 runs, 1 finished" in outcome.out and "[1/1] high, seed 3" in outcome.out
    trained = json.loads((out / "high/seed3/eval/metrics.json").read_text())
    assert not (out / "low/seed3/checkpoints").exists()  # taken as it was
    assert yaml.safe_load((out / "high/seed3/config.yaml").read_text())["seed"] == 3
    table = json.loads((out / "table.json").read_text())
    assert [row["run"] for row in table] == ["low", "high"]
    assert table[1]["val_loss"] == trained["val_loss"] and table[0]["val_loss"] == 2.0
    text = (out / "table.md").read_text()
    assert "| low | 1 | 0.500 | 2.000 |" in text and text.strip() in outcome.out
    assert np.asarray(Image.open(out / "plot.png")).std() > 1

    written = (out / "high/seed3/eval/metrics.json").stat().st_mtime_ns
    outcome = tool("study", *study())
    assert outcome.code == 0 and "2 runs, 2 finished" in outcome.out
    assert (out / "high/seed3/eval/metrics.json").stat().st_mtime_ns == written

    # What was interrupted goes on from its checkpoint: at the last step there is nothing left but to evaluate.
    lines = (out / "high/seed3/metrics.jsonl").read_bytes()
    shutil.rmtree(out / "high/seed3/eval")
    outcome = tool("study", *study())
    assert outcome.code == 0 and "resumed at step 2" in outcome.out
    assert (out / "high/seed3/metrics.jsonl").read_bytes() == lines
    assert json.loads((out / "high/seed3/eval/metrics.json").read_text()) == trained

    outcome = tool("study", *study(runs={"low": ["optim.lr=0.001"], "high": ["optim.lr=0.1"]}))
    outcome.sentence(2, "run high with seed 3", "optim.lr=0.1", "remove")  # not the numbers that the study asks for


def test_a_run_that_fails_passes_its_exit_code_on(tool, study, tmp_path):
    outcome = tool("study", *study(runs={"lost": ["data.root=nowhere"]}))
    assert outcome.code == 3 and "Traceback" not in outcome.err
    first, second = outcome.err.splitlines()
    assert "data root 'nowhere'" in first and "run lost with seed 3 ended with exit code 3" in second
    assert not (tmp_path / "study/table.md").exists()


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"runs": None}, ["runs"]),
        ({"runs": []}, ["runs"]),
        ({"runs": {"one": ["trainer.epochs"]}}, ["run one", "key=value"]),
        ({"runs": {"one": "optim.lr=1"}}, ["run one", "list"]),
        ({"base": "data=coco"}, ["base", "list"]),
        ({"seeds": "0, 1"}, ["seeds", "0, 1"]),
        ({"seeds": []}, ["seeds"]),
        ({"columns": "AP"}, ["columns", "list"]),
        ({"plot": "AR1"}, ["plot", "AR1", "columns"]),
        ({"seed": [1]}, ["unknown key seed", "seeds"]),
    ],
)
def test_wrong_studies(tool, study, tmp_path, changes, words):
    tool("study", *study(**changes)).sentence(2, *words)
    assert not (tmp_path / "study").exists()


def test_a_column_that_no_run_has(tool, study, tmp_path):
    for run in ("low", "high"):
        finished(tmp_path / f"study/{run}/seed3", 1.0)
    tool("study", *study(columns=["AP5"], plot=None)).sentence(2, "AP5", "AP, train_loss, val_loss")


def test_only_the_table(tool, study, tmp_path):
    finished(tmp_path / "study/low/seed3", 1.0, AP=None)
    outcome = tool("study", *study(), "only_table=true")
    assert (
        outcome.code == 0 and "| low | 1 | n/a | 1.000 |" in outcome.out and "| high | 0 | n/a | n/a |" in outcome.out
    )
    assert files_below(tmp_path / "study") == [
        *("low/seed3/eval/metrics.json", "low/seed3/summary.json"),
        *("plot.png", "table.json", "table.md"),
    ]


def test_mean_and_spread(tmp_path):
    found = members({"runs": {"a": [], "b": None}, "seeds": [0, 1]}, tmp_path)
    assert [(member.name, member.seed) for member in found] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    finished(found[0].folder, 1.0)
    finished(found[1].folder, 2.0, AP=None)
    table = rows(found, ["AP", "val_loss"])
    assert table[0].cells == {"AP": (0.5, None), "val_loss": (1.5, pytest.approx(0.5**0.5))}
    assert table[1].seeds == 0 and table[1].cells["AP"] == (None, None)


# show_data


def test_mosaic(tool, coco_tree, tmp_path):
    outcome = tool("show_data", *SMALL, *coco_tree.arguments, f"output={tmp_path / 'new folder/mosaic.png'}")
    assert outcome.code == 0 and "4 of 4 images, 5 objects of 3 classes" in outcome.out
    mosaic = np.asarray(Image.open(tmp_path / "new folder/mosaic.png"))
    assert mosaic.shape[2] == 3 and min(mosaic.shape[:2]) > 200 and mosaic.std() > 20
    assert not (tmp_path / "outputs").exists()


def test_mosaic_follows_its_settings(tool, coco_tree, tmp_path):
    def drawn(*arguments):
        path = tmp_path / "mosaic.png"
        outcome = tool("show_data", *SMALL, *coco_tree.arguments, f"output={path}", *arguments)
        assert outcome.code == 0, outcome.err
        return path.read_bytes()

    first = drawn("count=2")
    assert drawn("count=2") == first  # the same epoch, the same samples
    assert drawn("count=2", "split=val") != first
    assert len({drawn("count=2", f"epoch={epoch}") for epoch in range(1, 4)} | {first}) > 1  # flips are drawn anew
    assert drawn("count=2", "augment=none") == drawn("count=2", "augment=none", "epoch=3")


def recorded(folder, losses):
    """What a run's recorder leaves: a line every second step, and an evaluation among them."""
    lines = [{"step": 2 * (i + 1), "split": "train", "loss": loss, "lr": 0.1} for i, loss in enumerate(losses)]
    lines.insert(1, {"step": 3, "split": "val", "AP": 0.1, "val_loss": 9.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_final_training_loss_and_curves(tool, study, tmp_path):
    out = tmp_path / "study"
    for name, seed, losses in (("low", 3, range(20)), ("low", 4, range(1, 21)), ("high", 3, [5.0] * 20)):
        finished(out / f"{name}/seed{seed}", 2.0)
        recorded(out / f"{name}/seed{seed}", [float(loss) for loss in losses])
    changes = {"seeds": [3, 4], "columns": ["train_loss", "AP"], "plot": "train_loss", "curve": "loss"}
    outcome = tool("study", *study(**changes), "only_table=true")
    assert outcome.code == 0, outcome.err
    assert "| low | 2 | 19.000 ± 0.707 | 0.500 ± 0.000 |" in outcome.out  # the last two of twenty values
    assert "| high | 1 | 5.000 | 0.500 |" in outcome.out
    assert "| loss to step | 5 | 10 |" in outcome.out
    assert "| low | 1.000 |" in outcome.out  # steps 2 and 4 of both seeds: 0, 1 and 1, 2
    assert np.asarray(Image.open(out / "curves.png")).std() > 1
    outcome = tool("study", *study(**changes | {"curve": "loss_box"}), "only_table=true")
    outcome.sentence(2, "curve loss_box", "recorded")


def test_how_many_times_faster(tool, study, tmp_path):
    for name, seconds in (("low", 40.0), ("high", 10.0)):
        finished(tmp_path / f"study/{name}/seed3", 1.0)
        (tmp_path / f"study/{name}/seed3/summary.json").write_text(json.dumps({"train_seconds": seconds}))
    own = {"columns": ["AP", "train_seconds"], "plot": "AP", "speedup": ["train_seconds"], "panels": ["train_seconds"]}
    outcome = tool("study", *study(**own), "only_table=true")
    assert outcome.code == 0, outcome.err
    assert "| low | 1 | 0.500 | 40.000 | 1.000 |" in outcome.out
    assert "| high | 1 | 0.500 | 10.000 | 4.000 |" in outcome.out
    assert (tmp_path / "study/panels.png").exists()
    tool("study", *study(**own, reference="mid"), "only_table=true").sentence(2, "mid", "low, high")
    own["speedup"] = ["AP75"]
    tool("study", *study(**own), "only_table=true").sentence(2, "speedup", "AP75")
