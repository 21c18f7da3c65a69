"""Maps of named layers, with a graph to the score, and nothing left behind."""

import pytest
import torch
from torch import nn

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet, resnet18
from visionkit.backbones.vgg import vgg11, vgg11_bn_narrow
from visionkit.errors import ConfigError
from visionkit.explain.layers import last_maps_layer, layer_names, map_gradient, maps_and_scores, recorded
from visionkit.explain.targets import class_score
from visionkit.models.build import classifier, mask_rcnn
from visionkit.models.build_segmenter import fcn


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return classifier(resnet18(), 5, size=64).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64)


def test_the_deepest_maps_are_the_tails_unless_that_is_a_vector(resnet):
    assert last_maps_layer(resnet) == "tail"
    assert last_maps_layer(classifier(vgg11(), 5)) == "c5"


@pytest.mark.parametrize("layer", ["tail", "c1", "c3", "c4", "c5", "layer2.1.conv1", "backbone.layer3", "conv1"])
def test_maps_are_those_of_the_score_and_the_gradient_is_theirs(resnet, images, layer):
    score = class_score(resnet, 3)
    maps, scores = maps_and_scores(resnet, score, images, layer)
    assert torch.equal(scores, score(images))
    slope = map_gradient(scores, maps, layer)
    assert slope.shape == maps.shape and slope.abs().sum() > 0
    if layer in ("c1", "c3", "c4", "c5"):
        with torch.no_grad():
            assert torch.equal(maps, resnet.backbone(images, (layer,))[layer])


def test_the_gradient_at_the_tail_is_the_weight_of_the_last_layer(resnet, images):
    maps, scores = maps_and_scores(resnet, class_score(resnet, 1), images, "tail")
    slope = map_gradient(scores, maps, "tail")
    weight = resnet.head.linear.weight[1] / (maps.shape[2] * maps.shape[3])
    torch.testing.assert_close(slope, weight[None, :, None, None].expand_as(slope))


def test_layers_that_write_over_their_input_leave_the_record_alone():
    net = classifier(vgg11(), 5, size=64).eval()
    assert net.backbone.features[1].inplace
    maps, _ = maps_and_scores(net, class_score(net, 0), torch.randn(1, 3, 64, 64), "features.0")
    assert (maps < 0).any()


def test_frozen_weights_are_no_obstacle(images):
    net = classifier(resnet18(), 5, size=64).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    maps, scores = maps_and_scores(net, class_score(net, 3), images, "c2")
    assert map_gradient(scores, maps, "c2").abs().sum() > 0


def test_stages_of_a_pyramid_and_of_the_network_inside():
    net = mask_rcnn(build_fpn(resnet18, norm="batch"), 3, short=64, long=96).eval()

    def score(given):
        return net.encode.maps_of(given)["p3"].sum(dim=(1, 2, 3))

    for layer in ("p3", "c3", "c4"):
        maps, scores = maps_and_scores(net, score, torch.randn(1, 3, 64, 64), layer)
        assert map_gradient(scores, maps, layer).abs().sum() > 0
    with pytest.raises(ConfigError, match="does not depend on layer=p2"):
        maps, scores = maps_and_scores(net, score, torch.randn(1, 3, 64, 64), "p2")
        map_gradient(scores, maps, "p2")


@pytest.mark.parametrize(
    ("layer", "words"),
    [("c9", "did you mean"), ("layer4.0.conv9", "layer4.0.conv"), ("", "the stages are tail, c1"), ("xyz", "c5")],
)
def test_an_unknown_layer_is_answered_with_the_nearest_names(resnet, images, layer, words):
    with pytest.raises(ConfigError, match=f"there is no layer '{layer}'.*{words}"):
        maps_and_scores(resnet, class_score(resnet, 0), images, layer)


def test_layers_without_places_or_without_a_part_in_the_score(resnet, images):
    with pytest.raises(ConfigError, match="are no maps"):
        maps_and_scores(resnet, class_score(resnet, 0), images, "head.linear")
    with pytest.raises(ConfigError, match="layer=normalize is not run"):
        maps_and_scores(resnet, class_score(resnet, 0), images, "normalize")
    doubled = lambda given: class_score(resnet, 0)(given) + class_score(resnet, 1)(given)  # noqa: E731
    with pytest.raises(ConfigError, match="layer=conv1 runs 2 times"):
        maps_and_scores(resnet, doubled, images, "conv1")


def test_hooks_are_gone_also_after_an_exception(resnet, images):
    before = resnet(images_batch(images), truth(images))["loss_class"].detach()
    for layer in ("tail", "c3", "layer1"):
        with pytest.raises(RuntimeError), recorded(resnet, layer):
            raise RuntimeError
    hooks = [h for m in resnet.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    assert not hooks
    assert torch.equal(resnet(images_batch(images), truth(images))["loss_class"].detach(), before)


def test_names_begin_with_the_short_ones(resnet):
    assert layer_names(resnet)[:6] == ["tail", "c1", "c2", "c3", "c4", "c5"]
    assert "backbone.layer4.1.conv2" in layer_names(resnet)


def images_batch(images):
    from visionkit.structures import Batch

    pixels = ((images - images.min()) * 30).to(torch.uint8)
    ids = torch.arange(len(images))
    return Batch(pixels, torch.full((len(images), 2), 64), ids, ids)


def truth(images):
    from visionkit.structures import Targets

    none = torch.zeros(len(images), 1, dtype=torch.bool)
    labels = torch.zeros(len(images), dtype=torch.int64)
    return Targets(torch.zeros(len(images), 1, 4), labels[:, None], none, none, image_labels=labels)


@pytest.mark.parametrize(("backbone", "layer"), [(lambda: basic_resnet((8, 8, 16, 16)), "c5"), (vgg11_bn_narrow, "c5")])
def test_the_last_layer_of_a_segmenter_is_one_that_it_runs(backbone, layer):
    torch.manual_seed(0)
    model = fcn(backbone(), 3).eval()
    assert last_maps_layer(model) == layer
    maps, _ = maps_and_scores(
        model, lambda images: model.scores(images)[:, 1, 20, 20], torch.randn(1, 3, 64, 64), layer
    )
    assert len(maps) == 1
