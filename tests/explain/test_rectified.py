"""Guided backpropagation and the deconvnet against captum's, their rules one by one, and projections."""

import pytest
import torch
import torch.nn.functional as F
from captum.attr import Deconvolution, GuidedBackprop
from torch import nn

from tests.explain.traces import unchanged
from tests.explain.twins import photographs, published_twins, random_twins, small_resnet
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError
from visionkit.explain.rectified import deconvnet, guided_backpropagation, project
from visionkit.explain.score import gradient
from visionkit.explain.targets import class_score
from visionkit.models.build import classifier

METHODS = {"guided": (guided_backpropagation, GuidedBackprop), "deconvnet": (deconvnet, Deconvolution)}
QUIET = ("ignore:Setting .* hooks", "ignore:Input Tensor 0 did not")  # captum's


def captum(oracle, model, images, labels):
    return oracle(model).attribute(images.clone(), target=labels).detach()


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_against_captum(name, method):
    """Ours has its ReLUs in place."""
    ours, oracle = METHODS[method]
    twins, images = random_twins(name), torch.randn(2, 3, 64, 64)
    assert all(module.inplace for module in twins.ours.modules() if isinstance(module, nn.ReLU))
    with unchanged(twins.ours):
        found = ours(class_score(twins.ours, 3), images)
    expected = captum(oracle, twins.theirs, images, 3)
    assert found.shape == images.shape and found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    plain = gradient(class_score(twins.ours, 3), images)
    assert (found - plain).abs().max() > 0.1 * plain.abs().max()


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_published_weights(weights_root, datasets_root, name, method):
    ours, oracle = METHODS[method]
    twins = published_twins(name, weights_root)
    images, labels = photographs(datasets_root, twins.ours, 1)
    found = ours(class_score(twins.ours, labels[0]), images)
    expected = captum(oracle, twins.theirs, images, labels[0])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("call", [
    F.relu, torch.relu, lambda x: x.relu(), lambda x: F.relu(x.clone(), inplace=True),
    lambda x: F.relu(x.clone(), True), lambda x: F.relu_(x.clone()), lambda x: x.clone().relu_(),
    lambda x: F.relu(input=x), nn.ReLU(), lambda x: nn.ReLU(inplace=True)(x.clone()),
])  # fmt: skip
def test_every_way_to_rectify(call):
    images = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5)
    signals = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    check_rules(call, images, signals, active=torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]))


@pytest.mark.parametrize("call", [
    F.relu6, lambda x: F.relu6(x.clone(), inplace=True), nn.ReLU6(), lambda x: nn.ReLU6(inplace=True)(x.clone()),
    lambda x: F.hardtanh(x, 0, 6), lambda x: F.hardtanh(x, min_val=0, max_val=6), nn.Hardtanh(0, 6),
    lambda x: F.hardtanh_(x.clone(), 0.0, 6.0),
])  # fmt: skip
def test_every_way_to_rectify_and_cut(call):
    images = torch.tensor([-2.0, -1.0, 3.0, 3.0, 8.0, 8.0]).view(1, 1, 1, 6)
    signals = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    check_rules(call, images, signals, active=torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]))


def check_rules(call, images, signals, active):
    def score(given):
        rectified = call(given)
        assert torch.equal(rectified.detach(), call(images))  # also while the rules are in force
        return (rectified * signals).sum(dim=(1, 2, 3))

    assert torch.equal(gradient(score, images).flatten(), signals * active)
    assert torch.equal(deconvnet(score, images).flatten(), signals.clamp(min=0))
    assert torch.equal(guided_backpropagation(score, images).flatten(), signals.clamp(min=0) * active)


@pytest.mark.parametrize("layer", [nn.LeakyReLU(), nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.ELU(), nn.Hardtanh(-1, 1)])
def test_what_does_not_rectify_keeps_its_gradient(layer):
    images, signals = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)

    def score(given):
        return (layer(given) * signals).sum(dim=(1, 2, 3))

    expected = gradient(score, images)
    assert torch.equal(guided_backpropagation(score, images), expected)
    assert torch.equal(deconvnet(score, images), expected)


def test_in_place_means_in_place():
    """A network may use what it gave and not what came back."""

    def score(given):
        maps = given * 2
        F.relu(maps, inplace=True)
        return (maps * torch.tensor([1.0, -1.0, 1.0])).sum(dim=(1, 2, 3))

    images = torch.tensor([1.0, 1.0, -1.0]).view(1, 1, 1, 3)
    assert guided_backpropagation(score, images).flatten().tolist() == [2, 0, 0]
    assert deconvnet(score, images).flatten().tolist() == [2, 0, 2]


def test_a_deconvnet_of_a_chain_by_hand():
    """Convolution, ReLU, max pool, twice: transposed filters, rectification and unpooling with switches (sec. 2.1)."""
    torch.manual_seed(3)
    first, second, images = torch.randn(6, 3, 3, 3), torch.randn(4, 6, 3, 3), torch.randn(1, 3, 12, 12)
    pool = {"kernel_size": 2, "return_indices": True}
    maps1, switches1 = F.max_pool2d(F.conv2d(images, first, padding=1).relu(), **pool)
    maps2, switches2 = F.max_pool2d(F.conv2d(maps1, second, padding=1).relu(), **pool)
    signal = torch.zeros_like(maps2)
    signal[:, 2] = maps2[:, 2]  # one channel, all places
    for switches, weights in ((switches2, second), (switches1, first)):
        signal = F.max_unpool2d(signal, switches, 2).relu()
        signal = F.conv_transpose2d(signal, weights, padding=1)

    def score(given):
        maps = F.max_pool2d(F.conv2d(given, first, padding=1).relu(), 2)
        maps = F.max_pool2d(F.conv2d(maps, second, padding=1).relu(), 2)
        return (maps[:, 2] * maps2[:, 2]).sum(dim=(1, 2))

    torch.testing.assert_close(deconvnet(score, images), signal)


def test_nothing_is_left_after_an_exception():
    model = random_twins("resnet18").ours

    def score(given):
        model.scores(given)
        raise RuntimeError("on the way")

    with unchanged(model):
        for method in (guided_backpropagation, deconvnet):
            with pytest.raises(RuntimeError, match="on the way"):
                method(score, torch.randn(1, 3, 64, 64))
        with pytest.raises(ConfigError):
            project(model, "c9", torch.randn(1, 3, 64, 64), 0)
    images = torch.randn(1, 3, 8, 8)
    expected = -torch.ones_like(images) * (images > 0)
    assert torch.equal(gradient(lambda given: -F.relu(given).sum(dim=(1, 2, 3)), images), expected)


@pytest.mark.parametrize("method", [guided_backpropagation, deconvnet])
def test_no_images_half_precision_and_frozen_weights(method):
    model = small_resnet()
    score, images = class_score(model, 1), torch.randn(1, 3, 64, 64)
    assert method(score, images[:0]).shape == (0, 3, 64, 64)
    expected = method(score, images)
    model.requires_grad_(False)
    with torch.no_grad():
        assert torch.equal(method(score, images), expected)
    rounded = method(class_score(model.bfloat16(), 1), images.bfloat16())
    assert rounded.dtype == torch.float32
    assert torch.corrcoef(torch.stack((rounded.flatten(), expected.flatten())))[0, 1] > 0.8


def chain():
    """VGG's layers, few and narrow."""
    torch.manual_seed(1)
    net = VGG((1, 1, 1, 1, 1), widths=(8, 8, 8, 8, 8), hidden=16, window=1)
    nn.init.constant_(net.get_parameter("features.3.bias"), 5)  # few of the second block's units are off
    return classifier(net, 4).eval()


@pytest.mark.parametrize("place", [None, (2, 5)])
def test_project_is_the_deconvnet_of_one_activation(place):
    model, images = chain(), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        maps = model.backbone(images, ("pool2",))["pool2"]  # (3, 8, 8, 8)
    with unchanged(model):
        found = project(model, "pool2", images, 3, place)
    for i, image in enumerate(images):
        row, column = place or divmod(int(maps[i, 3].argmax()), 8)
        value = float(maps[i, 3, row, column])

        def score(given, row=row, column=column, value=value):
            return value * model.backbone(given, ("pool2",))["pool2"][:, 3, row, column]

        assert value > 0
        torch.testing.assert_close(found[i], deconvnet(score, image[None])[0])
        rows, columns = (found[i].abs().sum(dim=0) > 0).nonzero(as_tuple=True)
        # A cell of pool2 sees 4 x 4 pixels of its own, and 2 + 1 more on each side.
        assert 4 * row - 3 <= rows.min() and rows.max() <= 4 * row + 6
        assert 4 * column - 3 <= columns.min() and columns.max() <= 4 * column + 6


def test_project_any_layer_of_real_networks():
    images = torch.randn(2, 3, 64, 64)
    for name, layers in {"resnet18": ("c1", "layer2.0.conv1", "tail"), "squeezenet1_0": ("c2",)}.items():
        model = random_twins(name).ours
        for layer in layers:
            found = project(model, layer, images, 5)
            assert found.shape == images.shape and not found.requires_grad and found.abs().max() > 0
            assert project(model, layer, images[:0], 5).shape == (0, 3, 64, 64)


@pytest.mark.parametrize(
    ("layer", "channel", "place", "sentence"),
    [
        ("c2", 8, None, "channel=8: layer c2 has channels 0 ... 7"),
        ("c2", -1, None, "channel=-1"),
        ("c2", 0, (16, 0), r"place=\(16, 0\): the maps of layer c2 have 16 rows and 16 columns"),
        ("c2", 0, (0, -1), "place"),
        ("c7", 0, None, "no layer 'c7'"),
    ],
)
def test_project_names_what_is_wrong(layer, channel, place, sentence):
    with pytest.raises(ConfigError, match=sentence):
        project(chain(), layer, torch.randn(1, 3, 32, 32), channel, place)
