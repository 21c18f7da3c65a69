"""Fitting heads to vectors: on digits and on class lists with holes; what is refused."""

import sys

import numpy as np
import pytest
import torch

from visionkit.backbones.mlp import mlp
from visionkit.backbones.resnet import basic_resnet
from visionkit.classification import ClassificationEvaluator
from visionkit.data.array_pictures import ArrayPictures
from visionkit.data.classification import labelled_batches
from visionkit.data.digits import digits
from visionkit.data.labelled import LabelledData, LabelledIndex
from visionkit.errors import ConfigError, DataError, NonFiniteLossError
from visionkit.fitted import fit_nearest, fit_svm, training_vectors
from visionkit.models.build import classifier


@pytest.fixture(scope="module")
def data():
    return digits(8)


def pixels(head, classes=10, side=8):
    return classifier(mlp(hidden=[], resolution=side, color="gray"), classes, head=head)


def top1(model, data):
    return ClassificationEvaluator(data.val, batch_size=512).metrics(model)["top1"]


def gray_levels(labels, names=("dark", "gap", "bright"), side=4):
    """Pictures whose brightness is their class."""
    levels = np.array([20, 120, 220])[labels] + np.arange(len(labels)) % 7
    images = np.broadcast_to(levels[:, None, None, None], (len(labels), side, side, 3)).astype(np.uint8)
    pictures = ArrayPictures.join([images], ["levels"])
    index = LabelledIndex(names, "levels", [], pictures, np.array(labels, np.int32))
    return LabelledData(index, index, names)


def test_pixels_of_digits_are_classified_as_scikit_learn_does(data):
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    x = {split: np.stack([index.pictures.read(i)[:, :, 0].ravel() for i in range(len(index))])
         for split, index in (("train", data.train), ("val", data.val))}  # fmt: skip
    model = pixels("nearest")
    assert fit_nearest(model, data, k=1) == {"k": 1.0}
    theirs = KNeighborsClassifier(1).fit(x["train"], data.train.labels).score(x["val"], data.val.labels)
    assert top1(model, data) == pytest.approx(theirs, abs=1.5 / len(data.val)) and theirs > 0.97

    model = pixels("svm")
    told = fit_svm(model, data, C=0.01, batch_size=256)
    scaler = StandardScaler().fit(x["train"])
    svm = LinearSVC(C=0.01, random_state=0).fit(scaler.transform(x["train"]), data.train.labels)
    theirs = svm.score(scaler.transform(x["val"]), data.val.labels)
    assert top1(model, data) == pytest.approx(theirs, abs=1.5 / len(data.val)) and theirs > 0.93
    assert told["C"] == 0.01 and told["svm_train_top1"] > 0.95 and "svm_held_out_top1" not in told


def test_a_fit_repeats_bit_for_bit_and_leaves_the_backbone_alone(data):
    few = LabelledData(data.train.select(np.arange(0, 1400, 7)), data.val, data.names)
    torch.manual_seed(0)
    model = classifier(basic_resnet((8, 8, 16, 16)), 10, size=32, head="svm").train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    fit_svm(model, few, C=[0.01])
    first = {key: value.clone() for key, value in model.head.state_dict().items()}
    fit_svm(model, few, C=[0.01])
    assert all(torch.equal(first[key], value) for key, value in model.head.state_dict().items())
    assert all(torch.equal(before[key], value) for key, value in model.backbone.state_dict().items())
    assert model.training, "the mode is left as it was"


def test_c_is_chosen_by_pictures_held_out(data):
    few = LabelledData(data.train.select(np.arange(0, 1400, 7)), data.val, data.names)
    model = pixels("svm")
    told = fit_svm(model, few, C=[1e-7, 0.01])
    assert told["C"] == 0.01 and 0.8 < told["svm_held_out_top1"] <= 1
    two = fit_svm(pixels("svm", 3, 4), gray_levels([0, 2] * 10), C=[1.0, 0.1])
    assert two["C"] == 0.1, "of equally good ones the smaller"


def test_vectors_are_those_of_the_test_in_order(data):
    model = classifier(basic_resnet((8, 8, 16, 16)), 10, size=32)
    few = data.train.select(np.array([5, 700, 31]))
    vectors = training_vectors(model, few, batch_size=2)
    model.eval()
    one_by_one = [model.features(batch).detach().numpy()[0] for _, batch in labelled_batches(few, model.resize, 1)]
    np.testing.assert_allclose(vectors, np.stack(one_by_one), atol=1e-5)


def test_a_pixel_that_is_always_the_same_is_not_blown_up():
    data = gray_levels([0, 2] * 6)
    data.train.pictures.arrays[0][:, 0, 0] = 77
    model = pixels("svm", 3, side=4)
    fit_svm(model, data)
    assert model.head.scale[0] == 1 and (model.head.scale[1:] > 1.1).all()


@pytest.mark.parametrize("head", ["svm", "nearest"])
def test_a_class_without_pictures_is_never_found(head):
    data = gray_levels([0, 2] * 6)
    model = pixels(head, 3, side=4)
    (fit_svm if head == "svm" else fit_nearest)(model, data)
    scores = torch.cat([model.classify(batch) for _, batch in labelled_batches(data.val, model.resize, 4)])
    assert scores.argmax(dim=1).tolist() == [0, 2] * 6 and scores.isfinite().all()


def test_loss_and_evaluation_of_a_fitted_model_are_finite(data):
    model = pixels("nearest")
    fit_nearest(model, data, k=3)
    metrics = ClassificationEvaluator(data.val, batch_size=512).metrics(model)
    assert 0 < metrics["val_loss"] < 1.5 and metrics["top5"] > metrics["top1"]


@pytest.mark.parametrize(
    ("act", "error", "sentence"),
    [
        (lambda data: fit_svm(pixels("own"), data), ConfigError, "the head is Sequential: set task.head=svm"),
        (lambda data: fit_svm(pixels("nearest"), data), ConfigError, "head is NearestNeighbours: set task.head=svm"),
        (lambda data: fit_nearest(pixels("svm"), data), ConfigError, "set task.head=nearest"),
        (lambda data: fit_svm(pixels("svm"), data, C=0), ConfigError, "C=0: a number above 0"),
        (lambda data: fit_svm(pixels("svm"), data, C=[]), ConfigError, r"C=\[\]: a number above 0"),
        (lambda data: fit_svm(pixels("svm"), data, C=[1, "x"]), ConfigError, "C=.*: a number above 0"),
        (lambda data: fit_svm(pixels("svm"), data, batch_size=0), ConfigError, "batch_size=0: a whole number"),
        (lambda data: fit_nearest(pixels("nearest"), data, k=0), ConfigError, "k=0: from 1 to all 1438 training"),
        (lambda data: fit_nearest(pixels("nearest"), data, k=2000), ConfigError, "k=2000: from 1 to all 1438"),
        (lambda data: fit_svm(pixels("svm", 3, 4), gray_levels([1, 1])), DataError, "levels: .* there is one alone"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted(data, act, error, sentence):
    with pytest.raises(error, match=sentence):
        act(data)


def test_a_network_of_nan_is_not_fitted_to(data):
    model = classifier(mlp(hidden=[4], resolution=8, color="gray"), 10, head="svm")
    torch.nn.init.constant_(model.backbone.layers[0].bias, float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"vector for scikit-learn's digits\[\d+\] has values that are no num"):
        fit_svm(model, data)


def test_without_scikit_learn_the_extra_is_named(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(ConfigError, match=r"pip install visionkit\[svm\]"):
        fit_svm(pixels("svm"), data)
    fit_nearest(pixels("nearest"), data)  # needs none
