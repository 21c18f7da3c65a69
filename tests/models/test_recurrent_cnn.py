"""A network that looks at its own class scores: the recursion written out, golden losses, overfitting, sizes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pixel_pictures import fixed_weights, overfitted, painted, small_vgg, truth

from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.models.build_patches import recurrent_cnn
from visionkit.models.recurrent_cnn import RecurrentCNN

SIZES = [(48, 64), (41, 50)]


def small(norm: str = "none", **settings) -> RecurrentCNN:
    return recurrent_cnn(small_vgg(norm), 3, **settings)


@torch.no_grad()
def test_an_instance_sees_the_shrunk_picture_and_the_scores_of_the_one_before():
    batch, _ = painted([(128, 192)], (128, 192))
    model = small().eval()
    fixed_weights(model)
    images = model.normalize(batch)
    first = model.decoder.scores(model.backbone(torch.cat((images, torch.zeros(1, 3, 128, 192)), 1), ("c3",))["c3"])
    assert first.shape == (1, 3, 32, 48)
    seen = F.interpolate(images, size=(32, 48), mode="bilinear", antialias=True)
    second = model.decoder.scores(model.backbone(torch.cat((seen, first), 1), ("c3",))["c3"])
    assert second.shape == (1, 3, 8, 12)
    found = model.instance_scores(model.normalize(batch))
    for scores, expected in zip(found, (first, second), strict=True):
        whole = F.interpolate(expected, size=(128, 192), mode="bilinear")
        torch.testing.assert_close(scores, whole, atol=1e-5, rtol=1e-4)
    assert torch.equal(model.logits(batch), found[-1])


# Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
def test_golden_losses():
    model = small(instances=3)
    fixed_weights(model)
    losses = model(*painted(SIZES, (48, 64)))
    assert tuple(losses) == model.loss_names == ("loss_class", "loss_earlier")
    assert [loss.item() for loss in losses.values()] == pytest.approx([1.677704, 3.229658], rel=1e-3)


def test_begins_as_the_network_that_knows_nothing_of_its_scores():
    batch, targets = painted(SIZES, (48, 64))
    model = small()
    model(batch, targets)["loss_class"].backward()
    extra = model.backbone.get_submodule("features.0").extra
    assert extra.weight.shape == (8, 3, 3, 3) and (extra.weight == 0).all() and (extra.weight.grad != 0).any()
    assert small(instances=1).loss_names == ("loss_class",)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_overfits_two_pictures(norm):
    sizes = [(96, 128), (88, 120)]
    batch, targets = painted(sizes, (96, 128))
    torch.manual_seed(0)
    assert overfitted(small(norm, stage="c2"), batch, targets, 60) > 0.93


def test_nothing_labelled_is_a_loss_of_zero_with_gradients_everywhere():
    batch, targets = painted(SIZES, (48, 64))
    model = small("batch")
    losses = model(batch, truth(torch.full_like(targets.semantic, 255)))
    sum(losses.values()).backward()
    assert all(loss.item() == 0 for loss in losses.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and (parameter.grad == 0).all(), name


@pytest.mark.parametrize("size", [(1, 1), (9, 150), (61, 43), (64, 128)])
def test_pictures_of_any_size(size):
    model = small(instances=3)
    fixed_weights(model)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = model.predict([image])[0]
    assert found.labels.shape == size and found.scores.isfinite().all()


def test_what_has_outputs_or_inputs_for_each_class_is_named():
    models = [recurrent_cnn(make(), k) for make in (small_vgg, lambda: basic_resnet((8, 8, 16, 16))) for k in (3, 4)]
    for three, four in (models[:2], models[2:]):
        shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (three, four)]
        changed = {key for key in shapes[0] if shapes[0][key] != shapes[1][key]}
        named = {key for key in shapes[0] if any(key.startswith(layer) for layer in three.class_layers)}
        assert changed == named and len(changed) == 4, "the scores' two, the weights of the loss, the first layer's"


def test_settings_are_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="instances=0"):
        small(instances=0)
    with pytest.raises(ConfigError, match="no stage 'c8'"):
        small(stage="c8")
