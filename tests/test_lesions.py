"""The driver: pictures in, a table, three files and a drawing out; and what the published networks lose."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.backbones import cifar_resnet
from visionkit.backbones.cifar_resnet import CifarResNet
from visionkit.backbones.lenet import lenet_relu
from visionkit.backbones.pretrained import load_weights
from visionkit.errors import ConfigError, DataError
from visionkit.lesions import folder_labels, lesions
from visionkit.models.build import classifier
from visionkit.predictor import Predictor

NAMES = ("bird", "cat", "dog")


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    files = [tmp_path / name / f"{k}.png" for name in NAMES for k in range(3)]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file)
    return files


def predictor(**settings):
    return Predictor(classifier(CifarResNet(14, **settings), len(NAMES)), NAMES, {})


@pytest.mark.parametrize(("shortcuts", "parts", "changing"), [(True, 6, 2), (False, 10, 0)])
def test_files_and_table(paths, tmp_path, shortcuts, parts, changing):
    one = predictor(shortcuts=shortcuts)
    found = lesions(one, paths, tmp_path / "out", sizes=(2, 3, 40), draws=2)
    assert (found.residual, found.labelled, found.pictures) == (shortcuts, True, 9)
    assert len(found.singles) == parts and sum(not x.keeps_shape for x in found.singles) == changing
    assert [len(x.parts) for x in found.groups] == [2, 2, 3, 3]
    right = [int(one.predict(path).probabilities.argmax()) == NAMES.index(path.parent.name) for path in paths]
    assert found.whole == pytest.approx(np.mean(right)), "the network is whole afterwards, and was before"
    with open(found.files[0], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 + parts + 4 and rows[1]["parts"] == found.singles[0].parts[0]
    content = json.loads(found.files[1].read_text())
    assert content["whole"] == found.whole and content["lesions"][-1]["accuracy"] == found.groups[-1].accuracy
    drawn = np.asarray(Image.open(found.files[2]).convert("RGB")).astype(int)
    assert (abs(drawn - 255).sum(axis=2) > 100).mean() > 0.01
    lines = str(found).splitlines()
    assert len(lines) == 1 + parts + 1 + 2 and lines[-1].startswith("without 3 ")
    assert sum("changes the shape" in line for line in lines) == changing


def test_without_labels_answers_are_compared_with_the_whole_networks(paths, tmp_path):
    for path in paths:
        path.rename(tmp_path / f"{path.parent.name}{path.name}")
    files = sorted(tmp_path.glob("*.png"))
    one = predictor()
    for block in (one.model.backbone.layer1[1], one.model.backbone.layer3[1]):
        torch.nn.init.zeros_(block.conv2.weight)  # nothing is lost with it
    found = lesions(one, files, tmp_path / "out", sizes=())
    assert not found.labelled and found.whole == 1.0 and found.groups == ()
    assert [x.accuracy for x in found.singles if x.parts[0].endswith(("layer1.1", "layer3.1"))] == [1.0, 1.0]


def test_labels_of_folders():
    assert folder_labels(["x/cat/1.jpg", "x/bird/2.jpg"], NAMES) == [1, 0]
    assert folder_labels(["x/cat/1.jpg", "x/horse/2.jpg"], NAMES) is None and folder_labels([], NAMES) is None


def test_refused(paths, tmp_path):
    with pytest.raises(DataError, match="there is none"):
        lesions(predictor(), [], tmp_path)
    with pytest.raises(DataError, match="1 labels were given for 9 pictures"):
        lesions(predictor(), paths, tmp_path, labels=[0])
    with pytest.raises(ConfigError, match="LeNet has no residual block"):
        lesions(Predictor(classifier(lenet_relu(), 3), NAMES, {}), paths, tmp_path)
    with pytest.raises(ConfigError, match="this is a CifarResNet"):
        lesions(Predictor(CifarResNet(8), NAMES, {}), paths, tmp_path)


def test_the_published_network_survives_any_block_that_keeps_the_shape(datasets_root, weights_root, tmp_path):
    """Veit et al. 2016, fig. 3: most single blocks of a residual network can be deleted, those that change the shape
    cost most."""
    folder = datasets_root / "cifar10_jpeg" / "val"
    if not folder.is_dir() or not (weights_root / "cifar_resnet20.th").is_file():
        pytest.skip("no cifar10_jpeg or cifar_resnet20.th")
    names = tuple(sorted(path.name for path in folder.iterdir()))
    model = classifier(cifar_resnet.resnet20(), 10)
    load_weights(model.backbone, "cifar_resnet20.th", model.head)
    found = lesions(Predictor(model, names, {}), sorted(folder.glob("*/*.jpg"))[::10], tmp_path, sizes=(6,), draws=2)
    assert found.whole > 0.7
    keeping = [one.accuracy for one in found.singles if one.keeps_shape]
    changing = [one.accuracy for one in found.singles if not one.keeps_shape]
    assert len(keeping) == 7 and min(keeping) > 0.35 and max(changing) < np.mean(keeping)
    assert max(one.accuracy for one in found.groups) < 0.35, "six of nine at once"
