"""The driver: pictures in, a table, three files and a drawing out."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from visionkit.backbones.cifar_resnet import CifarResNet
from visionkit.config import compose
from visionkit.errors import ConfigError, DataError
from visionkit.explain.motions import mirror, rotate, shift
from visionkit.invariance import default_motions, invariance
from visionkit.models.build import classifier
from visionkit.predictor import Predictor, published


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{k}.png" for k in range(3)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    return files


@pytest.fixture
def predictor():
    return Predictor(classifier(CifarResNet(8), 4), ("a", "b", "c", "d"), {})


def test_files_and_table(predictor, paths, tmp_path):
    motions = [shift(4), shift(2), rotate(90), mirror()]
    found = invariance(predictor, paths, tmp_path / "out", motions, batch_size=2)
    assert found.pictures == 3 and len(found.rows) == 4 * 5 and len(found.answers) == 4
    assert [file.name for file in found.files] == ["invariance.csv", "invariance.json", "invariance.png"]
    with open(found.files[0], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and float(rows[0]["ignores"]) == found.rows[0].ignores and rows[3]["follows"] == ""
    content = json.loads(found.files[1].read_text())
    assert content["rows"][0] == found.rows[0]._asdict() and content["answers"][2]["kind"] == "rotate"
    drawn = np.asarray(Image.open(found.files[2]).convert("RGB")).astype(int)
    assert min(drawn.shape[:2]) > 300 and (abs(drawn - 255).sum(axis=2) > 100).mean() > 0.01
    lines = str(found).splitlines()
    assert len(lines) == 2 + 4 and lines[2].startswith("shift 4") and lines[-1].startswith("mirror ")
    assert lines[1].split() == ["motion", "c0", "c1", "tail", "vector", "probabilities", "class", "kept"]


def test_default_motions_fit_the_picture():
    large, small = default_motions(224), default_motions(32)
    shifts = [motion.amount for motion in large if motion.kind == "shift"]
    assert shifts[:4] == [0.5, 1, 2, 4] and shifts[-1] == 56 and {16, 32} <= set(shifts)
    assert max(motion.amount for motion in small if motion.kind == "shift") == 8
    assert {motion.kind for motion in small} == {"shift", "rotate", "scale", "mirror", "turn over"}


def test_refused(predictor, paths, tmp_path):
    with pytest.raises(DataError, match="there are 1"):
        invariance(predictor, paths[:1], tmp_path)
    with pytest.raises(ConfigError, match="no c7"):
        invariance(predictor, paths, tmp_path, [shift(1)], stages=["c7"])
    with pytest.raises(ConfigError, match="this is a CifarResNet"):
        invariance(Predictor(CifarResNet(8), ("a",), {}), paths, tmp_path)


def test_published_weights_ignore_small_motions_more_the_deeper_they_are(datasets_root, weights_root, tmp_path):
    """Zeiler and Fergus 2013, fig. 5; Goodfellow et al. 2009."""
    folder = datasets_root / "imagenet_samples"
    if not folder.is_dir() or not (weights_root / "squeezenet1_0_imagenet.pth").is_file():
        pytest.skip("no imagenet_samples or SqueezeNet")
    config = compose(
        "train", ["task=classify", "backbone=squeezenet1_0", "backbone.weights=squeezenet1_0_imagenet.pth"]
    )
    files = sorted(folder.rglob("*.[jJ]*"))[::40]
    found = invariance(published(config), files, tmp_path, [shift(8), rotate(180)], stages=["c1", "c4"])
    by_layer = {(row.kind, row.layer): row for row in found.rows}
    first, last, vector = (by_layer["shift", layer].ignores for layer in ("c1", "c4", "vector"))
    assert first > last > vector and by_layer["shift", "c1"].follows < 0.01, "a whole number of cells"
    assert found.answers[0].kept > found.answers[1].kept
