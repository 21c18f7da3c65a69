"""A classifier measured in every way: views, probabilities and ensembles, published weights; and what goes wrong."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_runs import files_below, picture, run_tool

import visionkit
from visionkit.evaluation.probabilities import read_probabilities
from visionkit.models.views import Dense, TenCrop

SHAPES = ("cross", "disc", "square")
NETWORK = ("task=classify", "backbone=basic_resnet", "backbone.widths=[8,8,16,16]", "task.size=32", "task.short=36")
SMALL = (
    *NETWORK,
    *("trainer.max_steps=2", "trainer.batch_size=4", "trainer.workers=0", "trainer.evaluate_epochs=0"),
    *("trainer.device=cpu", "optim=sgd", "optim.lr=0.01", "schedule=constant"),
)


def write_tree(root: Path, names: tuple[str, ...] = SHAPES) -> Path:
    for split, count in (("train", 3), ("val", 3)):
        for name, shape in zip(names, SHAPES, strict=False):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                size = (40 + 2 * i, 36)
                Image.fromarray(picture(size, [(shape, (4, 4, 32, 32))], i)).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import torch

    folder = tmp_path_factory.mktemp("run")
    tree = write_tree(folder / "tree")
    before = torch.are_deterministic_algorithms_enabled()
    assert run_tool("train", *SMALL, "data=folder", f"data.root={tree}", f"output={folder / 'run'}") == 0
    torch.use_deterministic_algorithms(before)
    return SimpleNamespace(folder=folder / "run", tree=tree, best=folder / "run/checkpoints/best.pt")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Weights as they are published, of a small network, and pictures of three of ImageNet's classes."""
    import torch

    from visionkit.backbones.resnet import basic_resnet

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("imagenet")
    net = basic_resnet((8, 8, 16, 16))
    weights = net.state_dict() | {"fc.weight": torch.randn(1000, 16), "fc.bias": torch.zeros(1000)}
    torch.save(weights, folder / "net.pth")
    tree = write_tree(folder / "tree", ("goldfish", "tench", "volcano"))
    return SimpleNamespace(weights=folder / "net.pth", tree=tree, arguments=(
        *NETWORK, f"backbone.weights={folder / 'net.pth'}", "data=folder", f"data.root={tree}", "workers=0",
    ))  # fmt: skip


def metrics(folder: Path):
    return json.loads((folder / "metrics.json").read_text())


def test_a_run_shows_its_confusions_its_calibration_and_its_mistakes(run):
    assert set(metrics(run.folder / "eval")) == {"top1", "top5", "val_loss", "ece"}
    assert 0 <= metrics(run.folder / "eval")["ece"] <= 1
    wanted = {"plots/confusion.png", "plots/reliability.png", "plots/losses.png", "samples/classes.jpg"}
    assert wanted <= set(files_below(run.folder))
    found = json.loads((run.folder / "eval/predictions.json").read_text())
    wrong = any(row["found"][0]["class"] != row["truth"] for row in found)
    assert (run.folder / "samples/mistakes.jpg").exists() == wrong
    assert "ece" in (run.folder / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("views", "expected"),
    [(["ten_crop"], TenCrop()), (["dense", "views.shorts=[32,40]", "views.flip=false"], Dense([32, 40], False))],
)
def test_other_views_of_a_model_that_was_trained_with_the_middle(tool, run, tmp_path, views, expected):
    arguments = (f"checkpoint={run.best}", "workers=0", f"views={views[0]}", *views[1:], "probabilities=true")
    assert tool("evaluate", *arguments, f"output={tmp_path / 'e'}").code == 0
    found = read_probabilities(tmp_path / "e/probabilities.npz")
    predictor = visionkit.load(run.best)
    for path, values in zip(found.files, found.values, strict=True):
        image = np.asarray(Image.open(path).convert("RGB"))
        assert expected(predictor.model, image).numpy() == pytest.approx(values, abs=1e-6)
    top1 = (found.values.argmax(axis=1) == found.labels).mean()
    assert metrics(tmp_path / "e")["top1"] == pytest.approx(top1)


def test_the_middle_is_what_it_was(tool, run, tmp_path):
    """Asked for or not, with probabilities or without: the same file, which `predict` agrees with bit for bit."""
    for name, more in (("a", ()), ("b", ("views=center",)), ("c", ("probabilities=true",))):
        assert tool("evaluate", f"checkpoint={run.best}", "workers=0", f"output={tmp_path / name}", *more).code == 0
    first, *others = [(tmp_path / name / "predictions.json").read_bytes() for name in "abc"]
    assert all(other == first for other in others)
    found = read_probabilities(tmp_path / "c/probabilities.npz")
    assert found.names == SHAPES and found.ids.tolist() == list(range(1, 10)) and found.model.endswith("/run")
    for path, values in zip(found.files, found.values, strict=True):
        assert visionkit.load(run.best).predict(path).probabilities.numpy().tolist() == values.tolist()


def test_an_evaluations_default_folders(tool, run):
    before = (run.folder / "eval/predictions.json").read_bytes()
    assert tool("evaluate", f"checkpoint={run.best}", "workers=0", "views=ten_crop").code == 0
    assert (run.folder / "eval/predictions.json").read_bytes() == before
    assert "plots/confusion.png" in files_below(run.folder / "eval_TenCrop")


def test_an_ensemble_of_views(tool, run, tmp_path):
    for views in ("center", "ten_crop"):
        arguments = (f"views={views}", "probabilities=true", f"output={tmp_path / f'members, {views}'}")
        assert tool("evaluate", f"checkpoint={run.best}", "workers=0", *arguments).code == 0
    members = f"members=['{tmp_path / 'members, center'}','{tmp_path / 'members, ten_crop/probabilities.npz'}']"
    outcome = tool("ensemble", members, "resamples=200", f"output={tmp_path / 'e'}")
    assert outcome.code == 0, outcome.err
    table = (tmp_path / "e/table.md").read_text()
    assert table.strip() in outcome.out and "| ensemble |" in table and "run #2" in table
    expected = [
        read_probabilities(tmp_path / f"members, {views}/probabilities.npz") for views in ("center", "ten_crop")
    ]
    mean = (expected[0].values + expected[1].values) / 2
    found = metrics(tmp_path / "e")
    assert found["top1"] == pytest.approx((mean.argmax(axis=1) == expected[0].labels).mean())
    assert {"top5", "val_loss", "ece", "best_member", "difference", "low", "high", "not_better"} <= set(found)
    tool("ensemble", members, "weights=[1]", f"output={tmp_path / 'f'}").sentence(2, "weights=[1]", "2 members")
    tool("ensemble", f"members=[{run.folder / 'plots'},a.npz]", f"output={tmp_path / 'f'}").sentence(
        3, "probabilities=true"
    )
    tool("ensemble", f"output={tmp_path / 'f'}").sentence(2, "members")
    assert not (tmp_path / "f").exists()


def test_published_weights_without_a_checkpoint(tool, imagenet, tmp_path, monkeypatch):
    outcome = tool("evaluate", *imagenet.arguments, "probabilities=true", f"output={tmp_path / 'e'}")
    assert outcome.code == 0, outcome.err
    assert "997 of 1000 classes have no pictures here" in outcome.out
    found = read_probabilities(tmp_path / "e/probabilities.npz")
    assert found.model == "basic_resnet" and found.values.shape == (9, 1000)
    assert [found.names[k] for k in found.labels[::3]] == ["goldfish", "tench", "volcano"]

    import torch

    from visionkit.backbones.resnet import basic_resnet
    from visionkit.models.build import classifier

    weights = torch.load(imagenet.weights, weights_only=True)
    model = classifier(basic_resnet((8, 8, 16, 16)), 1000, size=32, short=36)
    model.head.linear.load_state_dict({"weight": weights.pop("fc.weight"), "bias": weights.pop("fc.bias")})
    model.backbone.load_state_dict(weights)
    image = np.asarray(Image.open(found.files[4]).convert("RGB"))
    assert model.predict([image])[0].probabilities.numpy() == pytest.approx(found.values[4], abs=1e-6)

    monkeypatch.chdir(tmp_path)
    assert tool("evaluate", *imagenet.arguments, "views=ten_crop").code == 0
    assert (tmp_path / "outputs/evaluate/basic_resnet_tree_TenCrop/metrics.json").exists()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (["backbone.weights=null"], 2, ["backbone.weights=imagenet is wanted"]),
        (["backbone.weights=imagenet"], 2, ["no ImageNet weights are published for this ResNet"]),
        (["backbone.weights=nowhere.pth"], 2, ["nowhere.pth"]),
        (["checkpoint=a.pt"], 2, ["either checkpoint", "task=classify"]),
        (["iou_type=bbox"], 2, ["iou_type is for detectors"]),
        (["views=dense", "views.shorts=[24]"], 2, ["views.shorts=[24]", "32 pixels"]),
        (["views=dense", "views.shorts=36"], 2, ["views.shorts=36"]),
    ],
)
def test_one_sentence(tool, imagenet, tmp_path, change, code, words):
    tool("evaluate", *imagenet.arguments, *change, f"output={tmp_path / 'e'}").sentence(code, *words)


def test_what_has_no_published_classifier(tool, imagenet, tmp_path):
    """A file without one, one of other classes, a network around the published one, another task."""
    import torch

    trunk = {k: v for k, v in torch.load(imagenet.weights, weights_only=True).items() if not k.startswith("fc.")}
    torch.save(trunk, tmp_path / "trunk.pth")
    torch.save(trunk | {"fc.weight": torch.zeros(10, 16), "fc.bias": torch.zeros(10)}, tmp_path / "ten.pth")
    arguments = (*imagenet.arguments, f"output={tmp_path / 'e'}")
    outcome = tool("evaluate", *arguments, f"backbone.weights={tmp_path / 'trunk.pth'}")
    outcome.sentence(2, "trunk.pth holds nothing of this classifier", "ImageNet's 1,000 classes")
    outcome = tool("evaluate", *arguments, f"backbone.weights={tmp_path / 'ten.pth'}")
    outcome.sentence(2, "fc.weight has shape (10, 16)", "ImageNet's 1,000 classes")
    pyramid = [a.replace("backbone.widths", "backbone.body.widths") for a in arguments]
    outcome = tool("evaluate", *pyramid, "backbone=basic_fpn")
    outcome.sentence(2, "no classifier is published for build_fpn", "inside of it")
    detector = [a for a in pyramid if not a.startswith("task.")]
    outcome = tool("evaluate", *detector, "backbone=basic_fpn", "task=faster_rcnn")
    outcome.sentence(2, "published weights are those of classifiers", "task=classify")


def test_views_and_probabilities_are_for_classifiers(tool, trained, tmp_path):
    for more in ("views=ten_crop", "probabilities=true"):
        outcome = tool("evaluate", f"checkpoint={trained.best}", "workers=0", f"output={tmp_path / 'e'}", more)
        outcome.sentence(2, more.partition("=")[0], "is for classifiers")


def test_one_class_alone_is_refused(tool, tmp_path):
    tree, output = write_tree(tmp_path / "tree", ("cross",)), tmp_path / "run"
    outcome = tool("train", *SMALL, "data=folder", f"data.root={tree}", f"output={output}", "trainer.batch_size=2")
    outcome.sentence(3, "one class alone", "'cross'", "at least two")
    assert not output.exists()


def test_views_of_a_training_run(tool, run, tmp_path):
    arguments = (*SMALL, "data=folder", f"data.root={run.tree}", f"output={tmp_path / 'run'}")
    assert tool("train", *arguments, "views@evaluation.views=ten_crop").code == 0
    assert "TenCrop" in (tmp_path / "run/config.yaml").read_text()
    arguments = (f"checkpoint={tmp_path / 'run/checkpoints/best.pt'}", "workers=0", f"output={tmp_path / 'e'}")
    assert tool("evaluate", *arguments).code == 0
    assert metrics(tmp_path / "e") == metrics(tmp_path / "run/eval")
