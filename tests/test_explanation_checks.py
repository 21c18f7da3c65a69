"""The checks of explanations on real files: what they ask, count, write and refuse."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.config import compose, to_plain
from visionkit.data.index import DetectionIndex, IndexBuilder
from visionkit.data.labelled import LabelledIndex
from visionkit.data.pictures import Files
from visionkit.deletion_check import RANDOM, deletion_table
from visionkit.errors import ConfigError, DataError
from visionkit.explain.methods import METHODS
from visionkit.explanation_checks import joined_labels, spread
from visionkit.pointing_check import pointing_table, questions
from visionkit.predictor import Predictor
from visionkit.randomisation_check import fresh_model, randomisation_table

NAMES = ("left", "right", "nothing")
SETTINGS = ["task=classify", "backbone=basic_resnet", "backbone.widths=[8,8,16,16]", "task.size=64", "task.short=64"]


@pytest.fixture(scope="module")
def predictor():
    config = to_plain(compose("train", SETTINGS))
    predictor = Predictor(None, NAMES, config)
    model = fresh_model(predictor, seed=5)
    with torch.no_grad():
        for tensor in model.parameters():  # as if trained: unlike what the builder gives
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel())))
    return replace(predictor, model=model.eval())


@pytest.fixture
def index(tmp_path) -> DetectionIndex:
    """Ten pictures of 64 x 64 with a bright rectangle each: "left" ones at the left, "cat" ones at the right."""
    builder, rng = IndexBuilder(("left", "cat"), "made here"), np.random.default_rng(0)
    for i in range(10):
        x1, label = (4, 0) if i % 2 else (40, 1)
        image = rng.integers(40, 80, (64, 64, 3), dtype=np.uint8)
        image[20:44, x1 : x1 + 20] = 220
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        builder.add_image(str(tmp_path / f"{i}.png"), 100 + i, (64, 64))
        builder.add_object((float(x1), 20.0, float(x1 + 20), 44.0), label)
    return builder.build()


def labelled(index: DetectionIndex) -> LabelledIndex:
    return LabelledIndex(index.names, index.source, [], Files(index.paths), index.labels)


def at_the_left(model, score, images, layer):
    found = torch.zeros(len(images), *images.shape[2:])
    found[:, 30, 10] = 1
    return found


def test_the_pointing_game_asks_for_the_classes_that_are_known(predictor, index, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "at the left", at_the_left)
    report = pointing_table(predictor, index, ["at the left", "grad_cam"], tmp_path / "out", tolerance=0)
    left, grad_cam, centre = report.rows
    assert (left.method, grad_cam.method, centre.method) == ("at the left", "grad_cam", "centre")
    assert left.questions == left.single == left.hard == 5 and report.left_out == 5, "a cat is no class of the model"
    assert left.accuracy == left.class_mean == left.single_accuracy == left.hard_accuracy == left.exact_accuracy == 1
    assert centre.accuracy == 0 and left.by_class == {"left": 1.0}
    near = pointing_table(predictor, index, ["centre"], tolerance=8).rows
    assert [row.method for row in near] == ["centre"] and near[0].accuracy == 1 and near[0].exact_accuracy == 0
    text = (tmp_path / "out/pointing.txt").read_text()
    assert "centre (baseline)" in text and "5 questions, 5 of them on single objects and 5 hard" in text
    rows = list(csv.DictReader((tmp_path / "out/pointing.csv").open()))
    assert rows[0]["method"] == "at the left" and float(rows[0]["accuracy"]) == 1
    classes = list(csv.DictReader((tmp_path / "out/pointing_classes.csv").open()))
    assert classes == [{"class": "left", "at the left": "1.0", "grad_cam": str(grad_cam.accuracy), "centre": "0.0"}]
    assert (tmp_path / "out/pointing.png").stat().st_size > 0


def test_a_label_is_every_object(predictor, index, monkeypatch):
    monkeypatch.setitem(METHODS, "at the left", at_the_left)
    row = pointing_table(predictor, index, ["at the left"], label="right").rows[0]
    assert row.questions == 10 and row.accuracy == 0.5 and row.by_class == {"right": 0.5}
    few = pointing_table(predictor, index, ["at the left"], label="right", limit=3).rows[0]
    assert few.questions == 3


def test_questions_about_crowds_difficult_objects_and_what_is_cut_off(predictor):
    builder = IndexBuilder(("a", "b", "c"), "made here")
    builder.add_image("0.png", 1, (100, 200))
    builder.add_object((0.0, 0.0, 40.0, 90.0), 0)  # outside of the middle
    builder.add_object((90.0, 10.0, 110.0, 20.0), 1, crowd=True)
    builder.add_object((100.0, 10.0, 120.0, 20.0), 2, crowd=True)
    builder.add_object((60.0, 50.0, 70.0, 60.0), 2)
    builder.add_object((130.0, 50.0, 140.0, 60.0), 2, difficult=True)
    index = builder.build()
    asked = questions(predictor.model, index.truth(0), (100, 200), {0: 0, 1: 1, 2: 2})
    assert [question.label for question in asked] == [2], "the only a is cut off, all b are a crowd"
    assert len(asked[0].boxes) == 3 and not asked[0].single, "a hit on the crowd is one as well"
    assert asked[0].boxes[1].tolist() == pytest.approx([0.64 * 10, 32, 0.64 * 20, 0.64 * 60], abs=0.01)
    assert questions(predictor.model, index.truth(0), (100, 200), {0: 0}) == []


def test_deletion_of_all_pictures(predictor, index, tmp_path):
    given = {"limit": 4, "steps": 8, "batch_size": 5}
    report = deletion_table(predictor, index, ["edges", "centre"], tmp_path / "out", **given)
    assert [row.method for row in report.rows] == ["edges", "centre", RANDOM]
    first = report.rows[0]
    assert first.pictures == 4 and len(first.deletion_curve) == len(first.insertion_curve) == 9
    assert len({row.deletion_curve[0] for row in report.rows}) == 1, "all begin with the picture"
    assert first.deletion_curve[0] == pytest.approx(first.insertion_curve[-1])
    assert first.deletion == pytest.approx(np.trapezoid(first.deletion_curve, dx=1 / 8))
    assert deletion_table(predictor, index, ["edges"], **given).rows == [report.rows[0], report.rows[2]]
    assert deletion_table(predictor, index, ["edges"], seed=1, **given).rows[1] != report.rows[2]
    assert deletion_table(predictor, labelled(index), ["edges", "centre"], **given) == report, "pictures alone are read"
    named = deletion_table(predictor, index, ["edges"], label="nothing", **given).rows[0]
    assert named.deletion_curve != first.deletion_curve
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"deletion.txt", "deletion.csv", "deletion.png"}


def test_what_ignores_the_network_stays_and_the_rest_does_not(predictor, index, tmp_path):
    before = {key: value.clone() for key, value in predictor.model.state_dict().items()}
    methods = ["saliency", "edges"]
    report = randomisation_table(predictor, index, methods, tmp_path / "out", limit=3, steps=4)
    steps = list(dict.fromkeys(row.down_to for row in report.rows))
    assert len(steps) == 4 and steps[0].startswith("head") and steps[-1] == "backbone.conv1"
    assert [(row.method, row.down_to) for row in report.rows] == [(m, step) for step in steps for m in methods]
    for row in report.rows:
        assert row.pictures == 3 and row.blank == 0
        if row.method == "edges":
            assert row.rank_correlation == 1.0 and row.ssim == pytest.approx(1.0)
        else:
            assert row.rank_correlation < 0.99
    assert all(torch.equal(value, before[key]) for key, value in predictor.model.state_dict().items())
    assert randomisation_table(predictor, index, methods, limit=3, steps=4) == report, "follows from the seed"
    assert randomisation_table(predictor, index, methods, limit=3, steps=4, seed=1) != report
    every = randomisation_table(predictor, index, ["edges"], limit=1, steps=None)
    assert len(every.rows) == report.rows[-1].layers > 4
    text = (tmp_path / "out/randomisation.txt").read_text()
    assert "rank correlation; fresh down to" in text and "backbone.conv1" in text
    rows = list(csv.DictReader((tmp_path / "out/randomisation.csv").open()))
    assert len(rows) == 8 and rows[1]["rank_correlation"] == "1.0"
    assert (tmp_path / "out/randomisation.png").stat().st_size > 0


def test_blank_maps_are_counted(predictor, index, monkeypatch):
    monkeypatch.setitem(METHODS, "blank", lambda _model, _score, images, _layer: torch.zeros(1, *images.shape[2:]))
    report = randomisation_table(predictor, index, ["blank"], limit=2, steps=2)
    assert [(row.rank_correlation, row.blank) for row in report.rows] == [(None, 2)] * 2
    assert "n/a" in str(report) and str(report).endswith("have no rank correlation: blank 4")


def test_fresh_weights_leave_the_random_numbers_alone(predictor):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fresh_model(predictor, seed=0)
    assert torch.equal(torch.rand(2), expected)


CHECKS = [pointing_table, deletion_table, randomisation_table]


@pytest.mark.parametrize("check", CHECKS)
def test_what_every_check_refuses(check, predictor, index):
    with pytest.raises(ConfigError, match="gradcam is no method"):
        check(predictor, index, ["gradcam"])
    with pytest.raises(ConfigError, match=r"label=dog is no class of this model .*classes are left, right, nothing"):
        check(predictor, index, ["edges"], label="dog")
    with pytest.raises(ConfigError, match="limit=0"):
        check(predictor, index, ["edges"], limit=0)
    with pytest.raises(ConfigError, match="there is no layer 'c9'"):
        check(predictor, index, ["grad_cam"], layer="c9", limit=2)
    with pytest.raises(DataError, match="the split is empty"):
        check(predictor, index.select([]), ["edges"])
    with pytest.raises(ConfigError, match="a Linear gives no class to a whole picture"):
        check(replace(predictor, model=torch.nn.Linear(1, 1)), index, ["edges"])


def test_what_single_checks_refuse(predictor, index):
    with pytest.raises(ConfigError, match="the pointing game wants boxes, and made here has none"):
        pointing_table(predictor, labelled(index), ["edges"])
    with pytest.raises(ConfigError, match="tolerance=-1"):
        pointing_table(predictor, index, ["edges"], tolerance=-1)
    with pytest.raises(ConfigError, match="steps=1"):
        randomisation_table(predictor, index, ["edges"], steps=1)
    with pytest.raises(ConfigError, match="steps=0"):
        deletion_table(predictor, index, ["edges"], steps=0)
    cats = index.select(range(0, 10, 2))
    with pytest.raises(DataError, match="sees no object of its classes in any picture"):
        pointing_table(predictor, cats, ["edges"])


def test_classes_are_joined_by_name():
    assert joined_labels(("a", "b", "c"), ("c", "x", "a"), "here") == {0: 2, 2: 0}
    with pytest.raises(DataError, match="here: the model knows none of the classes a, b by name, its own are x"):
        joined_labels(("a", "b"), ("x",), "here")


def test_pictures_are_spread_over_the_split():
    assert spread(10, None) == list(range(10)) and spread(10, 20) == list(range(10))
    assert spread(10, 4) == [0, 2, 5, 7] and spread(10, 1) == [0]
