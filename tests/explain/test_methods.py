"""The table of methods: one form for all, the baselines, and the class activation map that finds its class."""

import pytest
import torch
from torch import nn

from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError
from visionkit.explain.cam import class_activation_map
from visionkit.explain.grad_cam import enlarge
from visionkit.explain.layers import last_maps_layer
from visionkit.explain.methods import METHODS, chosen_methods, label_of
from visionkit.explain.targets import class_probability, class_score
from visionkit.models.build import classifier, localizer


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return classifier(basic_resnet((8, 8, 16, 16)), 4, size=64).eval()


IMAGES = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_map_of_the_images(model, name):
    score, layer = class_score(model, 2), last_maps_layer(model)
    found = METHODS[name](model, score, IMAGES, layer)
    assert found.shape == (2, 64, 48) and found.dtype == torch.float32 and not found.requires_grad
    assert float(found.min()) >= 0 and found.isfinite().all()
    assert torch.equal(found, METHODS[name](model, score, IMAGES, layer)), "the same each time"
    alone = METHODS[name](model, score, IMAGES[1:], layer)
    assert torch.allclose(alone[0], found[1], atol=1e-5), "images do not influence each other"


@pytest.mark.parametrize("name", [name for name in METHODS if name != "cam"])
def test_no_image_has_no_map(model, name):
    assert METHODS[name](model, class_score(model, 2), IMAGES[:0], last_maps_layer(model)).shape == (0, 64, 48)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("centre", "edges")])
def test_methods_look_at_the_class(model, name):
    layer = last_maps_layer(model)
    one, other = (METHODS[name](model, class_score(model, label), IMAGES, layer) for label in (0, 3))
    assert not torch.allclose(one, other)


def test_the_baselines_know_neither_network_nor_class(model):
    for name in ("centre", "edges"):
        assert torch.isfinite(METHODS[name](nn.Identity(), lambda _: 1 / 0, IMAGES, "no layer")).all()
    centre = METHODS["centre"](model, None, IMAGES, "")
    assert int(centre[0].argmax()) in (31 * 48 + 23, 31 * 48 + 24, 32 * 48 + 23, 32 * 48 + 24)
    assert torch.equal(centre[0], centre[1]) and float(centre[0, 0, 0]) < 0.03


def test_edges_of_a_step():
    image = torch.zeros(1, 3, 8, 10)
    image[..., 5:] = 1
    found = METHODS["edges"](nn.Identity(), lambda _: _, image, "")
    assert found[0].tolist() == [[0, 0, 0, 0, 4, 4, 0, 0, 0, 0]] * 8
    turned = METHODS["edges"](nn.Identity(), lambda _: _, image.transpose(2, 3), "")
    assert torch.equal(turned[0], found[0].T)


def test_the_class_activation_map_finds_its_class(model):
    for label in range(4):
        score = class_score(model, label)
        assert label_of(model, score, IMAGES) == label
        expected = enlarge(class_activation_map(model, IMAGES, label).clamp(min=0), (64, 48))
        assert torch.equal(METHODS["cam"](model, score, IMAGES, "tail"), expected)
    wide = localizer(basic_resnet((8, 8, 16, 16)), 3, size=64, box_hidden=4).eval()
    assert label_of(wide, class_score(wide, 1), IMAGES) == 1


def test_where_there_is_no_class_activation_map(model):
    with pytest.raises(ConfigError, match="this score is none"):
        METHODS["cam"](model, class_probability(model, 1), IMAGES, "tail")
    with pytest.raises(ConfigError, match="a Identity has no classes"):
        METHODS["cam"](nn.Identity(), lambda images: images.sum(dim=(1, 2, 3)), IMAGES, "tail")
    connected = classifier(vgg11_bn_narrow(), 3).eval()
    with pytest.raises(ConfigError, match="use Grad-CAM"):
        METHODS["cam"](connected, class_score(connected, 0), torch.zeros(1, 3, 32, 32), "tail")


def test_methods_by_name():
    assert list(chosen_methods(["edges", "grad_cam"])) == ["edges", "grad_cam"]
    with pytest.raises(ConfigError, match="gradcam is no method; the methods are grad_cam, hires_cam"):
        chosen_methods(["edges", "gradcam"])
    with pytest.raises(ConfigError, match="no method is named"):
        chosen_methods([])
