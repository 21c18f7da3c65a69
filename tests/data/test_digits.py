"""The digits inside scikit-learn."""

import sys

import numpy as np
import pytest

from visionkit.data.classification import labelled_sample
from visionkit.data.digits import digits
from visionkit.errors import ConfigError


def test_all_are_there_once_and_in_equal_shares():
    data = digits(8)
    assert len(data.train) + len(data.val) == 1797 and data.names == tuple("0123456789")
    shares = data.val.class_counts() / (data.train.class_counts() + data.val.class_counts())
    assert np.abs(shares - 0.2).max() < 0.005
    names = [index.path(i) for index in (data.train, data.val) for i in range(len(index))]
    assert len(set(names)) == 1797


def test_they_lie_by_class():
    data = digits(8)
    assert (np.diff(data.train.labels) >= 0).all() and (np.diff(data.val.labels) >= 0).all()


def test_pictures_are_gray_levels_of_scikit_learn():
    from sklearn.datasets import load_digits

    theirs = load_digits()
    order = np.argsort(theirs.target, kind="stable")
    index = digits(8).val
    for i in (0, 100, 350):
        number = int(index.path(i).partition("[")[2][:-1])
        sample = labelled_sample(index, i)
        assert sample.truth.image_label == theirs.target[order[number]]
        expected = theirs.images[order[number]] * 255 / 16
        assert np.abs(sample.image[:, :, 0] - expected).max() <= 0.5
        assert (sample.image == sample.image[:, :, :1]).all() and sample.image.dtype == np.uint8


def test_they_are_enlarged_bilinearly():
    import torch
    import torch.nn.functional as F

    small, large = digits(8).val, digits(32).val
    for i in (0, 200):
        pixels = torch.from_numpy(small.pictures.read(i)).permute(2, 0, 1)[None].float()
        expected = F.interpolate(pixels, (32, 32), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
        found = large.pictures.read(i)
        assert found.shape == (32, 32, 3) and np.abs(found - expected).max() <= 1


def test_the_seed_decides_the_split():
    splits = [digits(8, seed=seed).val for seed in (0, 0, 1)]
    chosen = [{index.path(i) for i in range(len(index))} for index in splits]
    assert chosen[0] == chosen[1] and len(chosen[0] & chosen[2]) < 150


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"side": 4}, "data.side=4: the digits are 8 pixels a side"),
        ({"side": 32.5}, "data.side=32.5"),
        ({"val_fraction": 1.0}, "data.val_fraction=1.0"),
    ],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        digits(**settings)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ConfigError, match=r"pip install visionkit\[svm\]"):
        digits()
