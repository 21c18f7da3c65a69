"""Grad-CAM against captum's and pytorch-grad-cam's, its relatives against their definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, GuidedGradCam, LayerGradCam

from tests.explain.traces import unchanged
from tests.explain.twins import photographs, published_twins, random_twins, small_resnet
from visionkit.errors import ConfigError
from visionkit.explain.grad_cam import enlarge, grad_cam, guided_grad_cam, signed_grad_cam
from visionkit.explain.layers import last_maps_layer
from visionkit.explain.targets import class_score

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not", "ignore:Setting .* hooks")  # captum's
NETWORKS = ["resnet18", "squeezenet1_0", pytest.param("resnet50", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", NETWORKS)
def test_against_captum(name):
    twins, images = random_twins(name), torch.randn(2, 3, 96, 64)
    score, oracle = class_score(twins.ours, 0), LayerGradCam(twins.theirs, twins.last)
    layer = last_maps_layer(twins.ours)
    assert layer == "tail"
    with unchanged(twins.ours):
        found, signed = (method(twins.ours, score, images, layer) for method in (grad_cam, signed_grad_cam))
    expected = oracle.attribute(images.clone(), target=0)[:, 0].detach()
    assert found.dtype == torch.float32 and not found.requires_grad and found.min() >= 0
    assert expected.min() < 0 < expected.max()
    torch.testing.assert_close(signed, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found, expected.clamp(min=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("ours", "theirs"), [("c3", "layer2"), ("layer3.0.conv1", "layer3.0.conv1"), ("c1", "relu")])
def test_inner_layers_against_captum(ours, theirs):
    twins, images = random_twins("resnet18"), torch.randn(2, 3, 64, 64)
    found = signed_grad_cam(twins.ours, class_score(twins.ours, 1), images, ours)
    oracle = LayerGradCam(twins.theirs, twins.theirs.get_submodule(theirs))
    expected = oracle.attribute(images.clone(), target=1)[:, 0].detach()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_published_weights_against_pytorch_grad_cam(weights_root, datasets_root, name):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    twins = published_twins(name, weights_root)
    images, labels = photographs(datasets_root, twins.ours, 2)
    score = class_score(twins.ours, labels[0])
    found = grad_cam(twins.ours, score, images, "tail")
    with GradCAM(twins.theirs, [twins.last]) as oracle:
        oracle(images, [ClassifierOutputTarget(labels[0])] * 2)
        taken = (
            kept[0].numpy()
            for kept in (oracle.activations_and_grads.activations, oracle.activations_and_grads.gradients)
        )
        raw = oracle.get_cam_image(images, twins.last, [], *taken)  # before it is scaled to 0 ... 1 and enlarged
    assert found.max() > 1e-3
    np.testing.assert_allclose(found.numpy(), np.maximum(raw, 0), rtol=1e-3, atol=1e-4 * raw.max())


def test_guided_grad_cam_is_a_product():
    """captum enlarges by the nearest cell, so its factor is taken by itself."""
    twins, images = random_twins("squeezenet1_0"), torch.randn(2, 3, 64, 80)
    score = class_score(twins.ours, 3)
    with unchanged(twins.ours):
        found = guided_grad_cam(twins.ours, score, images, "tail")
    oracle = LayerGradCam(twins.theirs, twins.last)
    coarse = oracle.attribute(images.clone(), target=3, relu_attributions=True).detach()
    guided = GuidedBackprop(twins.theirs).attribute(images.clone(), target=3).detach()
    expected = F.interpolate(coarse, size=(64, 80), mode="bilinear") * guided
    assert found.shape == images.shape and expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
    whole = GuidedGradCam(twins.theirs, twins.last).attribute(images.clone(), target=3, interpolate_mode="bilinear")
    torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_what_grad_cam_cuts_off_speaks_for_the_negative_score():
    model, images = random_twins("resnet18").ours, torch.randn(2, 3, 96, 96)
    score = class_score(model, 0)
    signed = signed_grad_cam(model, score, images, "tail")
    assert signed.min() < 0 < signed.max()
    negative = grad_cam(model, lambda given: -score(given), images, "tail")
    torch.testing.assert_close(negative, (-signed).clamp(min=0))


def test_weights_are_means_of_the_gradient():
    """Eq. 1 and 2 on a score of which they are known: sum of squares of two maps, one of them counted down."""
    model = random_twins("resnet18").ours
    images = torch.randn(1, 3, 64, 64)
    kept = []

    def score(given):
        maps = model.backbone(given, ("c3",))["c3"]
        kept.append(maps.detach())
        return maps[:, 4].square().sum(dim=(1, 2)) - 2 * maps[:, 9].sum(dim=(1, 2))

    found = signed_grad_cam(model, score, images, "c3")
    maps = kept[0]
    expected = 2 * maps[:, 4].mean() * maps[:, 4] - 2 * maps[:, 9]
    torch.testing.assert_close(found, expected)


def test_enlarge():
    maps = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]])
    found = enlarge(maps, (4, 4))
    assert found[0, 0].tolist() == [0, 1, 3, 4] and found[0, :, 0].tolist() == [0, 2, 6, 8]
    assert enlarge(maps, (5, 7)).shape == (1, 5, 7)
    assert enlarge(maps[:0], (5, 7)).shape == (0, 5, 7)


def test_no_images_half_precision_and_frozen_weights():
    model, images = small_resnet(), torch.randn(1, 3, 64, 64)
    score = class_score(model, 2)
    assert grad_cam(model, score, images[:0], "c3").shape == (0, 8, 8)
    assert guided_grad_cam(model, score, images[:0], "c3").shape == (0, 3, 64, 64)
    expected = signed_grad_cam(model, score, images, "c3")
    model.requires_grad_(False)
    with torch.no_grad():
        assert torch.equal(signed_grad_cam(model, score, images, "c3"), expected)
    rounded = signed_grad_cam(model.bfloat16(), class_score(model, 2), images.bfloat16(), "c3")
    assert rounded.dtype == torch.float32
    assert torch.corrcoef(torch.stack((rounded.flatten(), expected.flatten())))[0, 1] > 0.8


def test_sentences_and_nothing_left():
    model, images = random_twins("resnet18").ours, torch.randn(1, 3, 64, 64)
    score = class_score(model, 2)

    def of_the_trunk(given):
        return model.backbone(given, ("c4",))["c4"].sum(dim=(1, 2, 3)) + 0 * model.scores(given)[:, 0].detach()

    with unchanged(model):
        with pytest.raises(ConfigError, match="no layer 'c9'"):
            grad_cam(model, score, images, "c9")
        with pytest.raises(ConfigError, match="does not depend on layer=layer4.1.conv2"):
            guided_grad_cam(model, of_the_trunk, images, "layer4.1.conv2")
        with pytest.raises(ConfigError, match="head gives .* no maps"):
            grad_cam(model, score, images, "head")
