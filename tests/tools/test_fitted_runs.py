"""A head that is fitted, through every door: train without a step, evaluate, `visionkit.load`; LeNet on digits."""

import json

import pytest

import visionkit

PIXELS = (
    *("task=classify", "backbone=mlp", "backbone.hidden=[]", "backbone.resolution=8", "backbone.color=gray"),
    *("data=digits", "data.side=8", "augment=none", "trainer.workers=0", "trainer.device=cpu", "trainer.threads=1"),
)


@pytest.mark.parametrize(("head", "least"), [("svm", 0.93), ("nearest", 0.97)])
def test_a_fitted_head_is_in_the_checkpoint(tool, tmp_path, head, least):
    from visionkit.data.digits import digits

    run = tmp_path / "run"
    outcome = tool("train", *PIXELS, f"task.head={head}", f"phases={head}", f"output={run}")
    assert outcome.code == 0, outcome.err
    trained = json.loads((run / "eval/metrics.json").read_text())
    assert trained["top1"] > least
    outcome = tool("evaluate", f"checkpoint={run / 'checkpoints/best.pt'}", "batch_size=512", "workers=0",
                   f"output={tmp_path / 'e'}")  # fmt: skip
    assert outcome.code == 0, outcome.err
    evaluated = json.loads((tmp_path / "e/metrics.json").read_text())
    assert evaluated == pytest.approx(trained, abs=1e-5)
    predictor, val = visionkit.load(run / "checkpoints/best.pt"), digits(8).val
    found = predictor.predict(val.pictures.read(0)).probabilities
    assert predictor.names[int(found.argmax())] == "0"


def test_a_head_without_its_phases_is_told_them(tool, tmp_path):
    outcome = tool("train", *PIXELS, "backbone.hidden=[8]", "task.head=svm", "trainer.max_steps=1",
                   f"output={tmp_path / 'run'}")  # fmt: skip
    outcome.sentence(2, "task.head=svm", "fitted and not trained", "phases=svm")
    outcome = tool("train", *PIXELS, "backbone.hidden=[8]", "phases=svm", f"output={tmp_path / 'other'}")
    outcome.sentence(2, "phases.svm fits a head", "task.head=svm")


@pytest.mark.slow
def test_lenet_knows_the_digits(tool, tmp_path):
    """Over 98 %, the mean of three seeds."""
    found = []
    for seed in (0, 1, 2):
        outcome = tool("train", "experiment=lenet_digits", f"seed={seed}", f"output={tmp_path / str(seed)}")
        assert outcome.code == 0, outcome.err
        found.append(json.loads((tmp_path / str(seed) / "eval/metrics.json").read_text())["top1"])
    assert sum(found) / 3 > 0.98, found
