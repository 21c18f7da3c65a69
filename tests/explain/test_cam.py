"""Class activation maps: their means are the logits, Grad-CAM is the same map, and who has none is told so."""

import pytest
import torch
from torch import nn

from tests.explain.traces import unchanged
from tests.explain.twins import photographs, published_twins, random_twins, small_resnet
from visionkit.backbones import googlenet, lenet, mobilenet_v2, nin, squeezenet, vgg
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet, resnet18
from visionkit.errors import ConfigError
from visionkit.explain.cam import class_activation_map
from visionkit.explain.grad_cam import grad_cam, signed_grad_cam
from visionkit.explain.targets import class_score
from visionkit.models.build import classifier, localizer


def resnet():
    return random_twins("resnet18").ours


def mobilenet():
    torch.manual_seed(0)
    return classifier(mobilenet_v2.mobilenet_v2(), 5).eval()


def squeeze():
    return random_twins("squeezenet1_0").ours


def network_in_network():
    torch.manual_seed(0)
    model = classifier(nin.nin(), 5).eval()
    nn.init.normal_(model.head.get_parameter("conv.weight"), 0, 0.3)
    return model


def boxes():
    torch.manual_seed(0)
    return localizer(basic_resnet((8, 8, 8, 8)), 5, size=64).eval()


@pytest.mark.parametrize("build", [resnet, mobilenet, boxes])
def test_linear_heads(build):
    """Mean and bias are the logit; Grad-CAM of the last maps is the map over its places (theory, Selvaraju et al.)."""
    model, images = build(), torch.randn(2, 3, 64, 96)
    head = model.class_head if build is boxes else model.head
    for label in (0, 1, 4):
        score = class_score(model, label)
        with unchanged(model):
            found = class_activation_map(model, images, label)
        assert found.shape == (2, 2, 3) and found.dtype == torch.float32 and not found.requires_grad
        logits = found.mean(dim=(1, 2)) + head.get_parameter("linear.bias")[label]
        torch.testing.assert_close(logits, score(images), rtol=1e-4, atol=1e-5)
        expected = found / 6
        atol = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(signed_grad_cam(model, score, images, "tail"), expected, rtol=1e-4, atol=atol)
        torch.testing.assert_close(grad_cam(model, score, images, "tail"), expected.clamp(min=0), rtol=1e-4, atol=atol)


@pytest.mark.parametrize("build", [squeeze, network_in_network])
def test_heads_of_maps(build):
    """The mean is the logit; Grad-CAM of the head's own maps is the map over its places."""
    model, images = build(), torch.randn(2, 3, 96, 128)
    seen = 0
    for label in (0, 1, 4):
        score = class_score(model, label)
        with unchanged(model):
            found = class_activation_map(model, images, label)
        assert found.ndim == 3 and found.dtype == torch.float32 and not found.requires_grad
        torch.testing.assert_close(found.mean(dim=(1, 2)), score(images), rtol=1e-4, atol=1e-6)
        seen += int(found.std() > 0)
        expected = grad_cam(model, score, images, "head.relu") * found[0].numel()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert seen >= 2


def test_squeezenet_where_bias_is_zero():
    """From the maps before the head Grad-CAM knows the same, but for the share of places that are above 0."""
    model, images = squeeze(), torch.randn(1, 3, 96, 96)
    nn.init.zeros_(model.head.get_parameter("conv.bias"))
    found = class_activation_map(model, images, 1)
    share = (found > 0).float().mean()
    assert share > 0
    expected = grad_cam(model, class_score(model, 1), images, "tail") * found.numel() / share
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_published_weights(weights_root, datasets_root):
    twins = published_twins("resnet18", weights_root)
    images, labels = photographs(datasets_root, twins.ours, 2)
    found = class_activation_map(twins.ours, images, labels[0])
    kept = []
    hook = twins.last.register_forward_hook(lambda _module, _given, out: kept.append(out))
    logits = twins.theirs(images)
    hook.remove()
    expected = torch.tensordot(kept[0], twins.theirs.fc.weight[labels[0]], dims=([1], [0]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    bias = twins.theirs.fc.bias[labels[0]]
    torch.testing.assert_close(found.mean(dim=(1, 2)) + bias, logits[:, labels[0]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: classifier(vgg.vgg11_bn_narrow(), 5),
        lambda: classifier(lenet.lenet(), 5),
        lambda: classifier(build_fpn(resnet18), 5),
        lambda: classifier(squeezenet.squeezenet1_1(), 5, head="svm"),
    ],
    ids=["vgg", "lenet", "fpn", "svm"],
)
def test_networks_without(build):
    model = build().eval()
    channels = len(model.backbone.mean)
    with pytest.raises(ConfigError, match=f"{type(model.backbone).__name__}.*Grad-CAM"):
        class_activation_map(model, torch.randn(1, channels, 224, 224), 1)


def test_no_images_half_precision_and_frozen_weights():
    for model in (small_resnet(), squeeze()):
        images = torch.randn(1, 3, 48, 48)
        assert class_activation_map(model, images[:0], 2).shape[0] == 0
        expected = class_activation_map(model, images, 2)
        model.requires_grad_(False)
        with torch.no_grad():
            assert torch.equal(class_activation_map(model, images, 2), expected)
        rounded = class_activation_map(model.bfloat16(), images.bfloat16(), 2)
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(rounded, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "googlenet"])
def test_more_networks(name):
    torch.manual_seed(0)
    model = random_twins(name).ours if name == "densenet121" else classifier(googlenet.googlenet(), 7).eval()
    images = torch.randn(1, 3, 96, 96)
    found = class_activation_map(model, images, 1)
    logit = found.mean(dim=(1, 2)) + model.head.get_parameter("linear.bias")[1]
    torch.testing.assert_close(logit, class_score(model, 1)(images), rtol=1e-4, atol=1e-5)
    expected = signed_grad_cam(model, class_score(model, 1), images, "tail") * found.numel()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(found.abs().max()))
