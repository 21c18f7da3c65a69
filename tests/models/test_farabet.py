"""One trunk on several scales with a classifier of each pixel: golden loss, overfitting, sizes, settings."""

import numpy as np
import pytest
import torch
from pixel_pictures import fixed_weights, overfitted, painted, small_vgg, truth

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.lenet import lenet
from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.models.build_patches import farabet
from visionkit.models.segmenter import Segmenter

SIZES = [(48, 64), (41, 50)]


def small(norm: str = "none", **settings) -> Segmenter:
    return farabet(small_vgg(norm), 3, **{"levels": 2, "hidden": 16} | settings)


# Computed once on a CPU in float32; a change of this number is a change of the algorithm.
def test_golden_loss():
    model = small()
    fixed_weights(model)
    losses = model(*painted(SIZES, (48, 64)))
    assert losses.keys() == {"loss_class"} == set(model.loss_names)
    assert losses["loss_class"].item() == pytest.approx(1.134007, rel=1e-3)


def test_overfits_two_pictures():
    batch, targets = painted(SIZES, (48, 64))
    torch.manual_seed(0)
    assert overfitted(small("batch"), batch, targets, 40) > 0.95


def test_every_scale_has_a_say_and_they_share_their_weights():
    batch, targets = painted(SIZES, (48, 64))
    model = small(levels=3)
    fixed_weights(model)
    loss = model(batch, targets)["loss_class"]
    loss.backward()
    used = model.decoder.hidden[0].weight.grad.abs().sum(dim=(0, 2, 3))  # (3 * 16,)
    assert all((used[16 * level : 16 * level + 16] > 0).any() for level in range(3))
    first = {key: value.shape for key, value in small(levels=1).backbone.state_dict().items()}
    assert first == {key: value.shape for key, value in model.backbone.state_dict().items()}


def test_nothing_labelled_is_a_loss_of_zero_with_gradients_everywhere():
    batch, targets = painted(SIZES, (48, 64))
    model = small("batch")
    loss = model(batch, truth(torch.full_like(targets.semantic, 255)))["loss_class"]
    loss.backward()
    assert loss.item() == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and (parameter.grad == 0).all(), name


@pytest.mark.parametrize("size", [(1, 1), (9, 150), (61, 43), (64, 128)])
def test_pictures_of_any_size(size):
    model = small(levels=3)
    fixed_weights(model)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = model.predict([image])[0]
    assert found.labels.shape == size and found.scores.isfinite().all()


def test_what_has_outputs_for_each_class_is_named():
    models = [farabet(small_vgg(), k, hidden=5) for k in (3, 4)]
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in models]
    changed = {key for key in shapes[0] if shapes[0][key] != shapes[1][key]}
    named = {key for key in shapes[0] if any(key.startswith(layer) for layer in models[0].class_layers)}
    assert changed == named == {"decoder.scores.weight", "decoder.scores.bias", "class_weights"}


def test_the_stage_is_the_last_of_stride_4_or_the_named_one():
    assert small().backbone.stage == "c3" and small(stage="c2").backbone.stages["scales"] == (16, 2)
    assert farabet(basic_resnet((8, 8, 16, 16)), 3).backbone.stage == "c2"
    assert farabet(lenet(), 3).backbone.stage == "c2"
    with pytest.raises(ConfigError, match="no stage 'c7'"):
        small(stage="c7")
    with pytest.raises(ConfigError, match="FPN wraps a network"):
        farabet(build_fpn(basic_resnet, names=["c3", "c4", "c5"], channels=8, hidden=8, extra=None), 3)
    with pytest.raises(ConfigError, match="levels=0"):
        small(levels=0)
