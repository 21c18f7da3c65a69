"""A person's mistakes: one sentence that names the culprit, the exit code of its kind, and nothing half written."""

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import NAMES, SMALL, CocoTree, files_below

from visionkit.engine import checkpoint

CLONE = Path(__file__).resolve().parents[2]

# Settings


WRONG_SETTINGS = [
    (["trainer.epoch=3"], ["trainer.epoch", "trainer.epochs"]),
    (["backbone=resnet81_fpn"], ["backbone=resnet81_fpn", "resnet18_fpn"]),
    (["data=cocoo"], ["data=cocoo", "coco"]),
    (["optim.lr=-1"], ["optim.lr=-1", "above 0"]),
    (["optim.lr=inf"], ["optim.lr=inf"]),
    (["optim.weight_decay=-1"], ["optim.weight_decay=-1"]),
    (["optim.optimizer.momentum=-1"], ["optim.optimizer", "momentum", "-1"]),
    (["+optim.lr_multipliers.nobody=0.1"], ["lr_multipliers", "nobody"]),
    (["optim.lr_multipliers={nobody:0.1}"], ["optim.lr_multipliers", "+optim.lr_multipliers.name"]),
    (["schedule.warmup=-1"], ["schedule", "-1"]),
    (["task.short=0"], ["short=0"]),
    (["task.short=200"], ["short=200", "long=96"]),
    (["task.pooling=crop"], ["pooling=crop", "align"]),
    (["task.pooling=pool"], ["pooling=pool", "FPN"]),
    (["task.anchor_sizes=[1,2,3]"], ["anchor_sizes", "[[32],[64]]"]),
    (["task.anchor_sizes=[[16]]"], ["anchor_sizes", "p3, p4, p5"]),
    (["task.rpn_train_top=5"], ["rpn_train_top=5"]),
    (["task.rpn_test_top=[0,0]"], ["rpn_test_top"]),
    (["task.regions=0"], ["regions=0"]),
    (["task.score_threshold=nan"], ["score_threshold=nan"]),
    (["task.nms_threshold=7"], ["nms_threshold=7", "0 to 1"]),
    (["trainer.freeze=c9"], ["c9", "c1, c2"]),
    (["trainer.precision=fp16"], ["trainer.precision=fp16", "CUDA"]),
    (["evaluation.monitor=mAP"], ["evaluation.monitor=mAP", "AP50"]),
    (["evaluation.iou_types=[boxes]"], ["evaluation.iou_types", "boxes"]),
    (["evaluation.batch_size=0"], ["evaluation.batch_size=0"]),
    (["augment.p=3"], ["augment", "3"]),
    (["backbone.weights=no/such/file.pth"], ["no/such/file.pth"]),
    (["backbone.norm=layer"], ["layer", "frozen"]),
]


@pytest.mark.parametrize("arguments,words", WRONG_SETTINGS, ids=lambda value: " ".join(value))
def test_wrong_settings(tool, trained, tmp_path, arguments, words):
    output = tmp_path / "run"
    tool("train", *SMALL, *trained.tree.arguments, *arguments, f"output={output}").sentence(2, *words)
    assert not output.exists()


@pytest.mark.parametrize(
    "text,words",
    [
        ("sed: 3", ["unknown key sed", "seed"]),
        ("optim: {lrr: 3}", ["optim.lrr", "optim.lr"]),
        ("optim: {weight_decay: much}", ["optim.weight_decay=much"]),
        ("task: {regoins: 3}", ["task.regoins", "regions"]),
        ("data: {rot: 3}", ["data.rot", "root"]),
        ("schedule: {wramup: 3}", ["schedule.wramup", "warmup"]),
        ("evaluation: {moniter: AP}", ["evaluation.moniter", "monitor"]),
    ],
)
def test_a_mistyped_key_in_a_file(tool, trained, tmp_path, text, words):
    """Hydra itself checks keys of the command line only."""
    (tmp_path / "own/experiment").mkdir(parents=True)
    (tmp_path / "own/experiment/mine.yaml").write_text(f"# @package _global_\n{text}\n")
    arguments = ["--config-dir", str(tmp_path / "own"), "experiment=mine", *SMALL, *trained.tree.arguments]
    tool("train", *arguments, f"output={tmp_path / 'run'}").sentence(2, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name,arguments,words",
    [
        ("evaluate", ["split=test"], ["split=test", "train, val"]),
        ("evaluate", ["batch_size=0"], ["batch_size=0"]),
        ("evaluate", ["workers=-1"], ["workers=-1"]),
        ("evaluate", ["device=tpu"], ["device=tpu"]),
        ("evaluate", ["iou_type=box"], ["iou_type=box", "bbox"]),
        ("evaluate", ["predictions=x.json"], ["checkpoint", "not both"]),
        ("evaluate", ["checkpoint=null"], ["checkpoint", "predictions"]),
        ("evaluate", ["checkpoint=null", "predictions=x.json"], ["truth"]),
        ("evaluate", ["truth=x.json"], ["truth", "predictions"]),
        ("demo", ["source=null"], ["source"]),
        ("demo", ["source=.", "limit=0"], ["limit=0"]),
        ("demo", ["source=.", "threshold=7"], ["threshold=7"]),
        ("demo", [], ["source needs a value"]),
    ],
)
def test_wrong_settings_of_the_other_tools(tool, trained, tmp_path, monkeypatch, name, arguments, words):
    monkeypatch.chdir(tmp_path)
    tool(name, f"checkpoint={trained.best}", *arguments).sentence(2, *words)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("name", ["evaluate", "demo", "train", "show_data"])
def test_an_output_that_is_a_file(tool, trained, tmp_path, name):
    occupied = tmp_path / "occupied"
    occupied.write_text("mine")
    own = {
        "evaluate": [f"checkpoint={trained.best}", "workers=0"],
        "demo": [f"checkpoint={trained.best}", f"source={trained.tree.root / 'val2017'}"],
        "train": [*SMALL, *trained.tree.arguments],
        "show_data": [*SMALL, *trained.tree.arguments],
    }[name]
    output = occupied / "mosaic.png" if name == "show_data" else occupied
    tool(name, *own, f"output={output}").sentence(2, str(occupied))
    assert occupied.read_text() == "mine"


def test_a_mosaic_without_a_picture_suffix(tool, trained, tmp_path):
    outcome = tool("show_data", *SMALL, *trained.tree.arguments, f"output={tmp_path / 'mosaic'}")
    outcome.sentence(2, str(tmp_path / "mosaic"), ".png")
    assert files_below(tmp_path) == []


# Annotations


def _annotation(**changes):
    def spoil(tree):
        tree.train["annotations"][1].update(changes)

    return spoil


def _image_twice(tree):
    tree.train["images"][1]["id"] = tree.train["images"][0]["id"]


SPOILT = [  # annotation 101 is the second one of the first image
    ("NaN", _annotation(bbox=[1, 2, math.nan, 4]), ["annotation 101", "nan"]),
    ("infinite", _annotation(bbox=[1, 2, math.inf, 4]), ["annotation 101", "inf"]),
    ("beyond any image", _annotation(bbox=[1, 2, 1e30, 4]), ["annotation 101", "1e+30"]),
    ("three numbers", _annotation(bbox=[1, 2, 3]), ["annotation 101", "[1, 2, 3]"]),
    ("a word", _annotation(bbox=[1, 2, 3, "4"]), ["annotation 101", "'4'"]),
    ("label out of range", _annotation(category_id=99), ["annotation 101", "category_id 99"]),
    ("negative label", _annotation(category_id=-1), ["annotation 101", "category_id -1"]),
    ("image that is not there", _annotation(image_id=99), ["annotation 101", "image_id 99"]),
    ("same id twice", _annotation(id=100), ["two annotations", "100"]),
    ("same image twice", _image_twice, ["two images", "1"]),
    ("empty training set", lambda tree: tree.train.update(images=[], annotations=[]), ["training set is empty"]),
    ("no classes", lambda tree: tree.train.update(categories=[], annotations=[]), ["names no class"]),
    ("no list of images", lambda tree: tree.train.pop("images"), ["images, annotations, categories"]),
]


@pytest.mark.parametrize("spoil,words", [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
def test_impossible_annotations(tool, coco_tree, tmp_path, spoil, words):
    spoil(coco_tree)
    coco_tree.write()
    outcome = tool("train", *SMALL, *coco_tree.arguments, f"output={tmp_path / 'run'}")
    outcome.sentence(3, str(coco_tree.annotations("train")), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "box,words",
    [
        ([30, 10, 500, 20], "1 box reaching outside the image clipped, namely annotation 101"),
        ([300, 10, 20, 20], "1 box outside the image dropped, namely annotation 101"),
        ([30, 10, 0, 20], "1 box without extent dropped, namely annotation 101"),
        ([30, 10, 20, -5], "1 box without extent dropped, namely annotation 101"),
    ],
)
def test_boxes_that_are_mended_are_told(tool, coco_tree, tmp_path, box, words):
    _annotation(bbox=box)(coco_tree)
    coco_tree.write()
    outcome = tool("show_data", *SMALL, *coco_tree.arguments, f"output={tmp_path / 'mosaic.png'}")
    assert outcome.code == 0 and words in outcome.out


def test_a_mended_box_trains(tool, coco_tree, tmp_path):
    _annotation(bbox=[300, 10, 20, 20])(coco_tree)
    coco_tree.write()
    outcome = tool("train", *SMALL, *coco_tree.arguments, f"output={tmp_path / 'run'}")
    assert outcome.code == 0 and "outside the image dropped" in outcome.out


def test_broken_annotation_files(tool, coco_tree, tmp_path):
    path = coco_tree.annotations("val")
    for content, words in (('{"images": [', ["line 1"]), (None, ["does not exist"]), ("[]", ["images, annotations"])):
        path.unlink()
        if content is not None:
            path.write_text(content)
        tool("train", *SMALL, *coco_tree.arguments, f"output={tmp_path / 'run'}").sentence(3, str(path), *words)
        path.write_text("")
    assert not (tmp_path / "run").exists()


def test_data_root(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONKIT_DATASETS", str(tmp_path))
    outcome = tool("train", *SMALL, "data=coco", "data.root=nowhere", f"output={tmp_path / 'run'}")
    outcome.sentence(3, "data root 'nowhere'", str(tmp_path / "nowhere"), "VISIONKIT_DATASETS")
    tool("train", *SMALL, "data=voc", f"data.root={tmp_path}", f"output={tmp_path / 'run'}").sentence(3, "train.txt")
    assert files_below(tmp_path) == []


# Pictures


def _jpeg(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def test_missing_image(tool, coco_tree, tmp_path):
    (coco_tree.root / "train2017/2.png").unlink()
    outcome = tool("train", *SMALL, *coco_tree.arguments, f"output={tmp_path / 'run'}")
    outcome.sentence(3, str(coco_tree.root / "train2017/2.png"), "does not exist")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_truncated_jpeg_in_the_first_batch(tool, coco_tree, tmp_path, workers):
    for entry in coco_tree.train["images"]:
        entry.update(file_name=f"{entry['id']}.jpg", height=64, width=80)
        data = _jpeg(entry["id"])
        (coco_tree.root / "train2017" / entry["file_name"]).write_bytes(data[: len(data) // 2])
    coco_tree.write()
    arguments = [*SMALL, *coco_tree.arguments, f"trainer.workers={workers}", f"output={tmp_path / 'run'}"]
    tool("train", *arguments).sentence(3, str(coco_tree.root / "train2017"), ".jpg", "truncated")
    assert not (tmp_path / "run").exists()


def test_truncated_jpeg_of_the_validation(tool, coco_tree, tmp_path):
    """It is met after the first epoch: what was learnt is saved, and nothing claims to be a result."""
    data, path = _jpeg(), coco_tree.root / "val2017/12.jpg"
    path.write_bytes(data[: len(data) // 2])
    coco_tree.val["images"][1].update(file_name="12.jpg", height=64, width=80)
    coco_tree.write()
    run = tmp_path / "run"
    tool("train", *SMALL, *coco_tree.arguments, f"output={run}").sentence(3, str(path), "truncated")
    assert checkpoint.load(run / "checkpoints/last.pt")["meta"]["names"] == list(NAMES)
    assert [name for name in files_below(run) if name.startswith(("eval", "checkpoints"))] == ["checkpoints/last.pt"]
    path.write_bytes(data)
    assert tool("train", *SMALL, *coco_tree.arguments, f"output={run}").code == 0  # mended, it goes on


def test_image_of_another_size_than_stated(tool, coco_tree, tmp_path):
    for entry in coco_tree.train["images"]:
        entry["width"] += 1
    coco_tree.write()
    outcome = tool("train", *SMALL, *coco_tree.arguments, f"output={tmp_path / 'run'}")
    outcome.sentence(3, str(coco_tree.root / "train2017"), "its annotation says")
    assert not (tmp_path / "run").exists()


# Classes


def test_unknown_class_in_evaluation(tool, trained, tmp_path):
    other = CocoTree(tmp_path / "other", names=("cross", "moon", "square"))
    folder = tmp_path / "eval"
    arguments = [f"checkpoint={trained.best}", *other.arguments, "workers=0", f"output={folder}"]
    tool("evaluate", *arguments).sentence(3, str(other.annotations("val")), "'moon'", ", ".join(NAMES))
    assert not folder.exists()


def test_other_classes_when_resuming(tool, trained, coco_tree, tmp_path):
    """The same settings, but the data has changed under them."""
    run, tree = tmp_path / "run", coco_tree
    assert tool("train", *SMALL, *tree.arguments, f"output={run}").code == 0
    before = (run / "checkpoints/last.pt").read_bytes()
    for content in (tree.train, tree.val):
        content["categories"][1]["name"] = "moon"
    tree.write()
    outcome = tool("train", *SMALL, *tree.arguments, f"output={run}")
    outcome.sentence(2, str(run / "checkpoints/last.pt"), "disc", "moon")
    assert (run / "checkpoints/last.pt").read_bytes() == before


# Checkpoints and weights


def _damaged(path: Path, content: bytes, how: str) -> Path:
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "flipped": bytes(flipped)}[how])
    return path


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_damaged_checkpoints(tool, trained, tmp_path, how):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    path = _damaged(tmp_path / "run/checkpoints/last.pt", trained.last.read_bytes(), how)
    before = path.read_bytes()
    train = [*SMALL, *trained.tree.arguments]
    source, out = trained.tree.root / "val2017", tmp_path / "out"
    tool("train", *train, f"output={tmp_path / 'run'}").sentence(2, str(path))  # resume=auto
    tool("train", *train, f"output={out}", f"resume={path}").sentence(2, str(path))
    tool("evaluate", f"checkpoint={path}", f"output={out}").sentence(2, str(path))
    tool("demo", f"checkpoint={path}", f"source={source}", f"output={out}").sentence(2, str(path))
    assert files_below(tmp_path) == ["run/checkpoints/last.pt"] and path.read_bytes() == before


@pytest.mark.parametrize("kind", ["absent", "folder", "text", "weights"])
def test_files_that_are_no_checkpoints(tool, trained, tmp_path, kind):
    path = tmp_path / "file.pt"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "weights":
        torch.save({"conv1.weight": torch.zeros(1)}, path)
    before, out, source = files_below(tmp_path), tmp_path / "out", trained.tree.root / "val2017"
    train = [*SMALL, *trained.tree.arguments, f"output={out}", f"resume={path}"]
    tool("train", *train).sentence(2, str(path))
    tool("evaluate", f"checkpoint={path}").sentence(2, str(path))
    tool("demo", f"checkpoint={path}", f"source={source}", f"output={out}").sentence(2, str(path))
    assert files_below(tmp_path) == before


def test_resume_under_another_configuration(tool, trained, tmp_path):
    arguments = [*SMALL, *trained.tree.arguments, "trainer.max_steps=4", "optim.lr=0.02", "task.regions=16"]
    outcome = tool("train", *arguments, f"resume={trained.last}", f"output={tmp_path / 'run'}")
    outcome.sentence(2, str(trained.last), "optim.lr: 0.01 -> 0.02", "task.regions: 8 -> 16")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "tensors,words",
    [
        ({"features.0.weight": (64, 3, 3, 3)}, ["features.0.weight", "ResNet"]),
        ({"conv1.weight": (64, 3, 7, 7)}, ["ResNet", "does not have"]),
        ({}, ["no tensors"]),
    ],
)
def test_weights_of_another_network(tool, trained, tmp_path, tensors, words):
    path = tmp_path / "weights.pth"
    torch.save({name: torch.zeros(shape) for name, shape in tensors.items()}, path)
    arguments = [*SMALL, *trained.tree.arguments, f"backbone.weights={path}", f"output={tmp_path / 'run'}"]
    tool("train", *arguments).sentence(2, str(path), *words)
    assert not (tmp_path / "run").exists()


# The demo's sources


def test_sources_that_are_none(tool, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("no picture")
    (tmp_path / "film.mp4").write_bytes(b"no film")
    (tmp_path / "cut.jpg").write_bytes(_jpeg()[:900])
    out = tmp_path / "out"
    for name, words in {
        "absent.png": ["absent.png does not exist"],
        "empty": ["empty holds no image"],
        "note.txt": ["note.txt", "not an image"],
        "film.mp4": ["film.mp4", "video"],
        "cut.jpg": ["cut.jpg", "truncated"],
    }.items():
        tool("demo", f"checkpoint={trained.best}", f"source={tmp_path / name}", f"output={out}").sentence(3, *words)
    assert not out.exists()


def test_the_demo_never_overwrites_its_source(tool, trained, tmp_path):
    (tmp_path / "a.jpg").write_bytes(_jpeg())
    for source in (tmp_path, tmp_path / "a.jpg"):
        outcome = tool("demo", f"checkpoint={trained.best}", f"source={source}", f"output={tmp_path}")
        outcome.sentence(2, str(tmp_path), "overwritten")
    assert files_below(tmp_path) == ["a.jpg"] and (tmp_path / "a.jpg").read_bytes() == _jpeg()


# Results files


@pytest.mark.parametrize(
    "change,words",
    [
        ({"bbox": [1, 2, math.nan, 4]}, ["entry 1", "NaN"]),
        ({"bbox": [1, 2, math.inf, 4]}, ["entry 1", "infinite"]),
        ({"bbox": [1, 2, 3, -4]}, ["entry 1", "negative"]),
        ({"score": math.nan}, ["entry 1", "score"]),
        ({"image_id": 999}, ["entry 1", "image_id 999", "instances_val2017.json"]),
        ({"category_id": 4}, ["entry 1", "category_id 4"]),
        ({"bbox": None}, ["entry 1", "bbox"]),
    ],
)
def test_impossible_predictions(tool, trained, tmp_path, change, words):
    sound = {"image_id": 11, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}
    path = tmp_path / "results.json"
    path.write_text(json.dumps([sound, sound | change]))
    arguments = [f"predictions={path}", f"truth={trained.tree.annotations('val')}", f"output={tmp_path / 'out'}"]
    tool("evaluate", *arguments).sentence(3, str(path), *words)
    assert not (tmp_path / "out").exists()


def test_files_that_hold_no_predictions(tool, trained, tmp_path):
    truth, path = trained.tree.annotations("val"), tmp_path / "results.json"
    tool("evaluate", f"predictions={path}", f"truth={truth}").sentence(3, str(path), "cannot be read")
    for content, words in (("{", "not a JSON file"), ("{}", "list")):
        path.write_text(content)
        tool("evaluate", f"predictions={path}", f"truth={truth}").sentence(3, str(path), words)
    path.write_text("[]")
    tool("evaluate", f"predictions={path}", f"truth={tmp_path / 'no.json'}").sentence(3, str(tmp_path / "no.json"))
    assert tool("evaluate", f"predictions={path}", f"truth={truth}").code == 0  # nothing found is no mistake


# A loss that is no number


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_non_finite_loss(tool, trained, tmp_path, precision):
    run = tmp_path / "run"
    arguments = [*SMALL, *trained.tree.arguments, "optim.lr=1e30", f"trainer.precision={precision}", f"output={run}"]
    tool("train", *arguments).sentence(4, "step 2", "not finite", "image ids")
    state = checkpoint.load(run / "checkpoints/last.pt")  # as it was before things went wrong
    assert all(value.isfinite().all() for value in state["model"].values() if value.is_floating_point())
    assert not (run / "eval").exists() and not (run / "checkpoints/best.pt").exists()


# The same as processes: exit codes as a shell sees them, and what the interpreter itself writes on leaving


@pytest.mark.parametrize(
    "arguments,code,words",
    [
        (["trainer.epoch=3"], 2, "trainer.epoch;"),
        (["data=coco", "data.root=nowhere"], 3, "data root 'nowhere'"),
        (["data=coco", "data.root={tree}", "optim.lr=1e30", "output={run}"], 4, "not finite"),
    ],
)
def test_exit_codes_of_processes(trained, tmp_path, arguments, code, words):
    filled = [argument.format(tree=trained.tree.root, run=tmp_path / "run") for argument in arguments]
    environment = {name: value for name, value in os.environ.items() if name != "VISIONKIT_TRACEBACK"}
    done = subprocess.run(
        [sys.executable, str(CLONE / "tools/train.py"), *SMALL, *filled],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and words in done.stderr
    assert code == 4 or files_below(tmp_path) == []
