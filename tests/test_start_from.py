"""Fine-tuning from a checkpoint of the kit: what is taken over, joined by name, reset, refused."""

from types import SimpleNamespace

import pytest
import torch

from visionkit.backbones.resnet import basic_resnet
from visionkit.engine import checkpoint
from visionkit.errors import ConfigError
from visionkit.models.build import classifier
from visionkit.start_from import start_from


def model(classes=3, widths=(8, 8, 16, 16)):
    return classifier(basic_resnet(widths=list(widths)), classes, size=32)


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(1)
    path, trained = tmp_path / "best.pt", model()
    meta = {"names": ("cat", "dog", "fox"), "config": {"experiment": "pets"}}
    checkpoint.save(path, {"model": trained.state_dict(), "average": None, "meta": meta})
    return SimpleNamespace(path=path, model=trained)


def test_the_same_classes_take_over_everything(source):
    fresh = model()
    lines = start_from(source.path, fresh, ("cat", "dog", "fox"))
    assert all(torch.equal(value, source.model.state_dict()[key]) for key, value in fresh.state_dict().items())
    assert len(lines) == 1 and "tensors taken over" in lines[0]


@pytest.mark.parametrize("names", [("cat", "dog"), ("cat", "dog", "owl"), ("a", "b", "c", "d")])
def test_a_changed_class_list_resets_the_head_and_says_so(source, names):
    fresh = model(len(names))
    before = fresh.state_dict()["head.linear.weight"].clone()
    lines = start_from(source.path, fresh, names)
    assert torch.equal(fresh.state_dict()["head.linear.weight"], before)
    assert torch.equal(fresh.backbone.conv1.weight, source.model.backbone.conv1.weight)
    assert "class list has changed (cat, dog, fox" in lines[1] and "begin afresh" in lines[1]


def test_nothing_that_fits_is_an_error(source, tmp_path):
    from visionkit.backbones.mlp import mlp

    other = classifier(mlp(), 3)
    assert other.normalize.mean.shape == source.model.normalize.mean.shape  # which fits, and is no reason to go on
    for names in (("a", "b", "c"), ("cat", "dog", "fox")):  # with the same classes the head's biases would fit as well
        with pytest.raises(ConfigError, match="none of its .* fits a parameter of this model; .* experiment=pets"):
            start_from(source.path, other, names)
    checkpoint.save(tmp_path / "bare.pt", {"model": source.model.state_dict(), "meta": {}})
    with pytest.raises(ConfigError, match="no class names"):
        start_from(tmp_path / "bare.pt", model(), ("a", "b", "c"))


def test_other_shapes_are_named(source):
    lines = start_from(source.path, model(widths=(8, 8, 16, 32)), ("cat", "dog", "fox"))
    assert any("warning" in line and "another shape" in line for line in lines)


def test_averaged_weights_count(source, tmp_path):
    average = {key: torch.zeros_like(value) for key, value in source.model.state_dict().items()}
    state = {"model": source.model.state_dict(), "average": {"weights": average, "updates": 1}}
    checkpoint.save(tmp_path / "ema.pt", state | {"meta": {"names": ("cat", "dog", "fox")}})
    fresh = model()
    start_from(tmp_path / "ema.pt", fresh, ("cat", "dog", "fox"))
    assert fresh.backbone.conv1.weight.abs().sum() == 0
