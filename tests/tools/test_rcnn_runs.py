"""R-CNN through every door: its stages, taken up where they stopped; SVMs for Fast R-CNN; what does not go together."""

import json

import pytest
from small_runs import CocoTree
from test_region_line import RUN

from visionkit.engine import checkpoint
from visionkit.errors import DataError

SMALL = (
    *("task.short=64", "task.long=96", "task.regions=8", "task.score_threshold=0.01", "task.max_detections=10"),
    *("task.max_proposals=20", "task.proposals.mode=single"),
)
RCNN = (*RUN, "task=rcnn", *SMALL, "task.crop=32")


@pytest.fixture(autouse=True)
def _stored_apart(tmp_path_factory, monkeypatch):
    """Proposals and features go to folders of the tests' own."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setattr("visionkit.data.proposals.default_folder", lambda: base / "proposals")
    monkeypatch.setattr("visionkit.feature_store.default_folder", lambda: base / "features")
    return base / "features"


def test_the_stages_one_after_the_other_and_taken_up_again(tool, tmp_path, monkeypatch, _stored_apart):
    tree, run = CocoTree(tmp_path / "coco"), tmp_path / "run"

    def stop(*_, **__):
        raise DataError("the test stops here.")

    with monkeypatch.context() as patch:
        patch.setattr("visionkit.rcnn.fit_boxes", stop)
        tool("train", *RCNN, *tree.arguments, f"output={run}").sentence(3, "the test stops here")
    half = checkpoint.load(run / "checkpoints/last.pt")["model"]
    assert bool(half["head.svms.fitted"]) and not bool(half["head.ridge.fitted"])
    assert len(list(_stored_apart.iterdir())) == 1, "kept for the stage that is to come"
    resumed = tool("train", *RCNN, *tree.arguments, f"output={run}")
    assert resumed.code == 0, resumed.err
    assert "4 images are there already" in resumed.err and "hard negatives" not in resumed.err
    assert not list(_stored_apart.iterdir())
    last = checkpoint.load(run / "checkpoints/last.pt")["model"]
    assert bool(last["head.ridge.fitted"]) and (last["head.svms.weight"] == half["head.svms.weight"]).all()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines if line["split"] == "fit"] == ["svms", "boxes"]
    assert [line["phase"] for line in lines if line["split"] == "val"] == ["boxes"], "the stages before are no result"
    evaluated = tool("evaluate", f"checkpoint={run / 'checkpoints/best.pt'}", "workers=0", f"output={tmp_path / 'e'}")
    assert evaluated.code == 0, evaluated.err
    ours, theirs = (json.loads(file.read_text()) for file in (run / "eval/metrics.json", tmp_path / "e/metrics.json"))
    assert ours == theirs


def test_svms_on_fast_rcnns_vectors(tool, tmp_path, _stored_apart):
    tree, run = CocoTree(tmp_path / "coco"), tmp_path / "run"
    words = (*RUN, "task=fast_rcnn", *SMALL, "task.head=svm", *tree.arguments, f"output={run}")
    tool("train", *words).sentence(2, "choose phases=region_svm")
    assert tool("train", *words, "phases=region_svm").code == 0
    state = checkpoint.load(run / "checkpoints/best.pt")["model"]
    assert bool(state["head.svms.fitted"]) and "head.bbox_pred.weight" in state
    assert not list(_stored_apart.iterdir())


def test_what_does_not_go_together(tool, tmp_path):
    tree = CocoTree(tmp_path / "coco")
    words = (*tree.arguments, f"output={tmp_path / 'run'}")
    tool("train", *RCNN, "phases=single", *words).sentence(2, "choose phases=rcnn")
    tool("train", *RUN, "task=fast_rcnn", *SMALL, "phases=rcnn", *words).sentence(2, "phases.svms", "task=rcnn")
    pyramid = [word for word in RCNN if not word.startswith("backbone")]
    tool("train", *pyramid, "backbone=resnet18_fpn", *words).sentence(2, "without FPN")
    tool("train", *RCNN, "phases.svms.fit.passes=-1", *words).sentence(2, "passes=-1")
