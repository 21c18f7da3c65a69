"""Classification data through the tools: made into shards, trained on, checked; and one sentence for what is wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import CocoTree, files_below, picture

SMALL = (
    *("task=classify", "backbone=basic_resnet", "backbone.widths=[8,8,16,16]", "task.size=32"),
    *("trainer.max_steps=4", "trainer.batch_size=4", "trainer.workers=0", "trainer.evaluate_epochs=0"),
    *("trainer.device=cpu", "optim=sgd", "optim.lr=0.01", "schedule=constant"),
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for split, count in (("train", 6), ("val", 3)):
        for name in ("disc", "square"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(picture((40, 36), [(name, (4, 4, 32, 32))], i))
                image.save(root / split / name / f"{i}.jpg")
    return root


def spoil(path: Path) -> None:
    """A JPEG whose second half is missing: its header is sound."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def train(tool, tmp_path, *arguments):
    return tool("train", *SMALL, *arguments, f"output={tmp_path / 'run'}")


def write_shards(tool, tree, shards):
    return tool("prepare_data", "data=shards", f"source={tree}", f"output={shards}", "shard_size=5", "shuffle=false")


def test_folders_become_shards_once(tool, tree, tmp_path):
    shards = tmp_path / "shards"
    outcome = write_shards(tool, tree, shards)
    assert outcome.code == 0, outcome.err
    assert f"12 images of 2 classes are in {shards / 'train'}" in outcome.out
    assert files_below(shards) == sorted([*(f"train/{k:06d}.tar" for k in range(3)), "train/classes.txt",
                                          *(f"val/{k:06d}.tar" for k in range(2)), "val/classes.txt"])  # fmt: skip
    write_shards(tool, tree, shards).sentence(3, "train exists and is not empty")


@pytest.mark.slow
def test_shards_train_like_the_folder(tool, tree, tmp_path):
    shards = tmp_path / "shards"
    assert write_shards(tool, tree, shards).code == 0
    runs = (("folder", f"data.root={tree}"), ("shards", f"data.root={shards}", "data.order=all"))
    for name, *rest in runs:
        outcome = tool("train", *SMALL, f"data={name}", *rest, f"output={tmp_path / name}")
        assert outcome.code == 0, outcome.err
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name, *_ in runs]
    assert lines[0] == lines[1] and '"loss"' in lines[0]


def test_shards_of_a_named_data_set(tool, tree, tmp_path, monkeypatch):
    shutil.copytree(tree, tmp_path / "datasets" / "cifar10_jpeg")
    monkeypatch.setenv("VISIONKIT_DATASETS", str(tmp_path / "datasets"))
    outcome = tool("prepare_data", "data=shards", "dataset=cifar10_jpeg", f"output={tmp_path / 's'}", "shard_size=100")
    assert outcome.code == 0 and files_below(tmp_path / "s/val") == ["000000.tar", "classes.txt"], outcome.err
    tool("prepare_data", "data=shards", "dataset=nothing", f"output={tmp_path / 't'}").sentence(2, "nothing")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["data=shards"], 2, ["data=shards needs output=FOLDER, and either source=FOLDER or dataset=NAME"]),
        (["data=shards", "source=x", "dataset=mnist", "output=y"], 2, ["either source=FOLDER or dataset=NAME"]),
        (["data=shards", "source=nowhere", "output=y"], 3, ["nowhere does not exist"]),
        (["data=shards", "source={tree}", "output=y", "shard_size=0"], 2, ["shard_size=0"]),
        (["data=imagenet"], 2, ["data=imagenet needs source=FOLDER"]),
        (["data=imagenet", "source={tree}", "output={tree}/out"], 3, ["ILSVRC2012_img_train.tar does not exist"]),
    ],
)
def test_preparing_what_cannot_be(tool, tree, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    tool("prepare_data", *(argument.format(tree=tree) for argument in arguments)).sentence(code, *words)
    assert not (tmp_path / "y").exists() and not (tree / "out").exists()


def test_an_empty_class_folder(tool, tree, tmp_path):
    (tree / "train" / "triangle").mkdir()
    outcome = train(tool, tmp_path, "data=folder", f"data.root={tree}")
    outcome.sentence(3, f"{tree}/train/triangle: the class 'triangle' has no pictures")
    assert not (tmp_path / "run").exists()


def test_an_unreadable_picture_among_good_ones_ends_training(tool, tree, tmp_path):
    spoil(tree / "train" / "disc" / "3.jpg")
    outcome = train(tool, tmp_path, "data=folder", f"data.root={tree}")
    outcome.sentence(3, f"image {tree}/train/disc/3.jpg cannot be read")


@pytest.mark.parametrize(
    ("lines", "settings", "words"),
    [
        (["path,label", "train/disc/0.jpg,disc"], [], ["list.csv has no column 'file'", "it has path, label"]),
        (["file,label", "train/disc/0.jpg,0", "train/disc/1.jpg,2"], ["data.names=[disc,square]"],
         ["list.csv, line 3: the label '2' of train/disc/1.jpg is outside the list", "0 ... 1"]),
        (["file,label", "train/disc/9.jpg,disc"], [], ["train/disc/9.jpg does not exist"]),
    ],
)  # fmt: skip
def test_lists_with_mistakes(tool, tree, tmp_path, lines, settings, words):
    (tree / "list.csv").write_text("\n".join(lines) + "\n")
    outcome = train(tool, tmp_path, "data=csv", f"data.root={tree}", "data.train=list.csv", *settings)
    outcome.sentence(3, *words)


def test_check_names_every_broken_picture(tool, tree):
    spoil(tree / "train" / "disc" / "3.jpg")
    (tree / "val" / "square" / "0.jpg").write_bytes(b"")
    arguments = ("task=classify", "data=folder", f"data.root={tree}", "check=true")
    outcomes = [tool("show_data", *arguments, f"trainer.workers={workers}") for workers in (0, 2)]
    for outcome in outcomes:
        outcome.sentence(3, "2 of 18 pictures cannot be used")
        first, second = outcome.out.splitlines()
        assert first.startswith(f"image {tree}/train/disc/3.jpg cannot be read: ")
        assert second.startswith(f"image {tree}/val/square/0.jpg cannot be read: ")
        assert "checking train: 12 of 12 images (100 %)" in outcome.err and "images/s" in outcome.err
    assert outcomes[0].out == outcomes[1].out


def test_check_of_sound_pictures(tool, tree):
    outcome = tool("show_data", "task=classify", "data=folder", f"data.root={tree}", "check=true", "trainer.workers=0")
    assert outcome.code == 0 and outcome.out == "18 pictures of 2 classes can be read.\n"
    assert files_below(tree) == sorted(f"{s}/{c}/{i}.jpg" for s, n in (("train", 6), ("val", 3))
                                       for c in ("disc", "square") for i in range(n))  # fmt: skip


def test_check_of_a_detection_set_knows_the_sizes(tool, tmp_path):
    coco = CocoTree(tmp_path / "coco")
    wrong, broken = sorted(coco.root.rglob("*.png"))[:2]
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(wrong)
    broken.write_bytes(b"not a picture")
    outcome = tool("show_data", *coco.arguments, "check=true", "trainer.workers=0")
    outcome.sentence(3, "2 of ", "pictures cannot be used")
    lines = sorted(outcome.out.splitlines())
    assert len(lines) == 2
    assert any(str(wrong) in line and "is 20 x 10 pixels" in line for line in lines)
    assert any(str(broken) in line and "cannot be read" in line for line in lines)
