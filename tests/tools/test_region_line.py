"""The region line through every door: given proposals, four steps, stages, thin layers."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import CocoTree, run_tool
from test_demo_and_evaluate import by_demo, by_image

from visionkit.engine import checkpoint

RUN = (
    *("trainer.max_steps=4", "trainer.batch_size=2", "trainer.workers=0", "trainer.evaluate_epochs=0"),
    *("trainer.device=cpu", "trainer.threads=1", "optim=sgd", "optim.lr=0.01", "schedule=constant", "augment=flip"),
    *("backbone=vgg11_bn_narrow", "backbone.dropout=0.0"),
)
SMALL = ("task.short=64", "task.long=96", "task.regions=8", "task.score_threshold=0.01", "task.max_detections=10")
FAST = (*RUN, "task=fast_rcnn", *SMALL, "task.proposals.mode=single")
FASTER = (*RUN, "task=faster_rcnn", *SMALL, "task.anchor_sizes=[[16,32,64]]", "task.rpn_train_top=[30,20]",
          "task.rpn_test_top=[30,20]", "task.rpn_samples=16")  # fmt: skip


@pytest.fixture(autouse=True)
def _stored_apart(tmp_path_factory, monkeypatch):
    """Proposals go to a folder of the tests' own."""
    folder = tmp_path_factory.getbasetemp() / "proposals"
    monkeypatch.setattr("visionkit.data.proposals.default_folder", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    import torch

    folder = tmp_path_factory.mktemp("fast")
    tree, run = CocoTree(folder / "coco"), folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visionkit.data.proposals.default_folder", lambda: tmp_path_factory.getbasetemp() / "proposals")
        before = torch.are_deterministic_algorithms_enabled()
        assert run_tool("train", *FAST, *tree.arguments, f"output={run}") == 0
        torch.use_deterministic_algorithms(before)
    return SimpleNamespace(run=run, tree=tree, best=run / "checkpoints/best.pt")


def test_the_demo_searches_itself_and_finds_what_the_evaluation_did(tool, fast, tmp_path):
    out = tmp_path / "out"
    assert tool("demo", f"checkpoint={fast.best}", f"source={fast.tree.root / 'val2017'}", f"output={out}").code == 0
    evaluated = by_image(fast.run / "eval/predictions.json")
    assert sum(map(len, evaluated.values())) > 8
    for image in (11, 12, 13, 14):
        assert by_demo(out / f"{image}.json", fast.tree.val["categories"]) == evaluated.get(image, [])


def test_the_summary_has_the_times_of_a_picture_and_of_its_proposals(fast):
    summary = json.loads((fast.run / "summary.json").read_text())
    assert summary["test_seconds"] > 0 and summary["proposal_seconds"] > 0 and summary["train_seconds"] > 0


def test_proposals_are_found_once_and_a_file_of_them_serves(tool, fast, tmp_path, _stored_apart):
    files = sorted(_stored_apart.glob("selective_search-*.npz"))
    assert len(files) == 2, "train and val"
    times = [file.stat().st_mtime_ns for file in files]
    again = tool("train", *FAST, *fast.tree.arguments, f"proposals=[{files[0]},{files[1]}]", f"output={tmp_path}/run")
    assert again.code == 0, again.err
    assert [file.stat().st_mtime_ns for file in files] == times
    first, second = (json.loads((run / "eval/metrics.json").read_text()) for run in (fast.run, tmp_path / "run"))
    assert first == second
    other = ("task.proposals.min_side=30", f"proposals={files[0]}", f"output={tmp_path}/x")
    tool("train", *FAST, *fast.tree.arguments, *other).sentence(3, str(files[0]), "min_side")
    windows = ("search@task.proposals=windows", f"proposals={files[0]}", f"output={tmp_path}/x")
    words = [word for word in FAST if "mode" not in word]
    tool("train", *words, *fast.tree.arguments, *windows).sentence(3, str(files[0]), "selective_search", "windows")


def test_proposals_of_other_pictures_are_refused_by_name(tool, fast, tmp_path, _stored_apart):
    other = CocoTree(tmp_path / "other")
    from PIL import Image

    Image.fromarray(np.full((64, 80, 3), 99, np.uint8)).save(tmp_path / "other/train2017/1.png")
    files = sorted(_stored_apart.glob("selective_search-*.npz"))
    refused = tool("train", *FAST, *other.arguments, f"proposals=[{files[0]},{files[1]}]", f"output={tmp_path}/run")
    refused.sentence(3, "1.png")
    tool("train", *FASTER, *other.arguments, f"proposals={files[0]}", f"output={tmp_path}/run").sentence(2, "proposals")
    tool("train", *FAST, *other.arguments, "task.proposals=null", f"output={tmp_path}/run").sentence(
        2, "proposals=FILE"
    )
    tool("train", *FAST, *other.arguments, "proposals=none.npz", f"output={tmp_path}/run").sentence(3, "none.npz")


def test_thin_layers_go_through_every_door(tool, fast, tmp_path):
    small = tmp_path / "small.pt"
    done = tool("compress", f"checkpoint={fast.best}", "ranks=[8,4]", f"output={small}")
    assert done.code == 0 and "through 8 values" in done.out, done.err
    assert small.stat().st_size < 0.8 * fast.best.stat().st_size
    measured = tool("evaluate", f"checkpoint={small}", "workers=0", f"output={tmp_path / 'eval'}")
    assert measured.code == 0, measured.err
    assert (tmp_path / "eval/metrics.json").exists()
    tool("compress", f"checkpoint={small}").sentence(2, "compressed already")
    tool("compress", f"checkpoint={fast.best}", "ranks=[8]").sentence(2, "2 fully connected layers")
    tool("compress").sentence(2, "checkpoint=")


def test_in_four_steps_the_trunk_is_bit_equal_from_the_third_on(tool, tmp_path):
    tree, run = CocoTree(tmp_path / "coco"), tmp_path / "run"
    words = (*FASTER, *tree.arguments, "task.alternating=true", "phases=four_step", f"output={run}")
    assert tool("train", *words, "trainer.max_steps=8", "trainer.checkpoint_steps=1").code == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines].count("val") == 1, "only the last step is a result"
    assert [line["phase"] for line in lines if line["split"] == "fit"] == ["share"]
    last = checkpoint.load(run / "checkpoints/last.pt")["model"]

    half = tmp_path / "half"  # the same run, stopped where the trunk is shared: its two first steps alone
    import yaml

    steps = yaml.safe_load(Path("configs/phases/four_step.yaml").read_text())
    first = {name: {**steps[name], **({"share": share} if share else {})} for name, share in
             (("rpn", 0.75), ("detector", 0.25), ("share", None))}  # fmt: skip
    first["share"]["evaluate"] = True
    (tmp_path / "phases").mkdir()
    (tmp_path / "phases/half.yaml").write_text(yaml.safe_dump(first, sort_keys=False))
    begun = tool("train", f"--config-dir={tmp_path}", *FASTER, *tree.arguments, "task.alternating=true", "phases=half",
                 "trainer.max_steps=4", f"output={half}")  # fmt: skip
    assert begun.code == 0, begun.err
    shared = checkpoint.load(half / "checkpoints/last.pt")["model"]
    trunk = [name for name in shared if name.startswith("encode.backbone.features")]
    assert len(trunk) > 10
    different = [name for name in trunk if not _equal(last[name], shared[name])]
    assert not different, "steps 3 and 4 leave the trunk as step 2 made it"
    for name in ("propose.rpn.head.conv.weight", "encode.backbone.classifier.0.weight", "head.cls_score.weight"):
        assert not _equal(last[name], shared[name]), "and train what is not shared"


def test_four_steps_want_a_trunk_of_the_rpn_s_own(tool, tmp_path):
    tree = CocoTree(tmp_path / "coco")
    tool("train", *FASTER, *tree.arguments, "phases=four_step", f"output={tmp_path}/run").sentence(2, "propose.rpn")


def test_stage_wise_fast_rcnn(tool, fast, tmp_path):
    run = tmp_path / "run"
    assert tool("train", *FAST, *fast.tree.arguments, "phases=stage_wise", f"output={run}").code == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines if line["split"] == "val"] == ["boxes"]


def test_what_the_anchors_cover_is_said(tool, tmp_path):
    tree = CocoTree(tmp_path / "coco")
    said = tool("train", *FASTER, "task.anchor_sizes=[[512]]", *tree.arguments, f"output={tmp_path}/run")
    assert said.code == 0 and "no anchor comes near 100% of the objects" in said.out


def _equal(a, b) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def test_sliding_windows_train_and_the_demo_finds_what_the_evaluation_did(tool, fast, tmp_path):
    run = tmp_path / "run"
    words = (*RUN, "task=sliding_window", "task.short=64", "task.long=96", "task.window=48", "task.scales=[1.0,1.5]")
    done = tool("train", *words, *fast.tree.arguments, "task.score_threshold=0.01", f"output={run}")
    assert done.code == 0, done.err
    out = tmp_path / "out"
    picture = fast.tree.root / "val2017/11.png"
    demo = tool("demo", f"checkpoint={run}/checkpoints/best.pt", f"source={picture}", f"output={out}")
    assert demo.code == 0, demo.err
    evaluated = by_image(run / "eval/predictions.json")
    assert by_demo(out / "11.json", fast.tree.val["categories"]) == evaluated[11]


def test_other_people_s_proposals_train_measure_and_draw(tool, fast, tmp_path, _stored_apart):
    files = sorted(_stored_apart.glob("selective_search-*.npz"))
    words = [word for word in FAST if "mode" not in word]
    run = tmp_path / "run"
    done = tool(
        "train",
        *words,
        *fast.tree.arguments,
        "task.proposals=null",
        f"proposals=[{files[0]},{files[1]}]",
        f"output={run}",
    )
    assert done.code == 0, done.err
    assert (run / "samples/detections.jpg").exists() and (run / "summary.json").exists()
    demo = tool("demo", f"checkpoint={run}/checkpoints/best.pt", f"source={fast.tree.root}/val2017/11.png")
    demo.sentence(2, "no search")


def test_what_is_measured_and_searched_is_checked_first(tool, fast, tmp_path):
    out = f"output={tmp_path}/run"
    tool("train", *FAST, *fast.tree.arguments, "task.proposals.top=2.5", out).sentence(2, "top")
    tool("train", *FASTER, *fast.tree.arguments, "task.alternating=true", out).sentence(2, "four_step")
    tool("train", *FASTER, *fast.tree.arguments, "task.cascade=[0.7,0.5]", out).sentence(2, "rising")


def test_a_model_without_masks_is_not_measured_on_masks():
    from visionkit.data.index import IndexBuilder
    from visionkit.detection import DetectionEvaluator
    from visionkit.errors import ConfigError

    builder = IndexBuilder(["disc"], "small.json")
    builder.add_image("a.png", 1, (64, 64))
    builder.add_object((1, 2, 30, 40), 0, segmentation=[[1.0, 2.0, 30.0, 2.0, 30.0, 40.0]])
    evaluator = DetectionEvaluator(builder.build(), iou_types=("bbox", "segm"))
    with pytest.raises(ConfigError, match="boxes alone"):
        evaluator(SimpleNamespace(wants_masks=False))


def test_a_part_that_no_phase_trains_is_said(tool, fast, tmp_path):
    words = (*FASTER, *fast.tree.arguments, "phases=stage_wise", f"output={tmp_path}/run")
    done = tool("train", *words)
    assert done.code == 0 and "no phase trains 6 tensors, such as propose.head.conv.weight" in done.out


def test_a_new_run_from_a_joined_one_begins_apart(tool, tmp_path):
    from visionkit.backbones.vgg import vgg11_bn_narrow
    from visionkit.models.build import faster_rcnn
    from visionkit.start_from import start_from

    tree, run = CocoTree(tmp_path / "coco"), tmp_path / "run"
    four = (*FASTER, *tree.arguments, "task.alternating=true", "phases=four_step")
    assert tool("train", *four, "trainer.max_steps=5", f"output={run}").code == 0
    file = run / "checkpoints/last.pt"
    state = checkpoint.load(file)
    assert bool(state["model"]["propose.shared"])
    settings = {"anchor_sizes": [[16, 32, 64]], "short": 64, "long": 96}
    names = tuple(state["meta"]["names"])
    apart = faster_rcnn(vgg11_bn_narrow(), 3, **settings, alternating=True)
    start_from(file, apart, names)
    assert not bool(apart.propose.shared)
    plain = faster_rcnn(vgg11_bn_narrow(), 3, **settings)
    start_from(file, plain, names)
    for model, name in ((apart, "propose.rpn.head.conv.weight"), (plain, "propose.head.conv.weight")):
        assert _equal(model.state_dict()[name], state["model"]["propose.rpn.head.conv.weight"])
