"""The cascade of fresh weights: what has changed at every step, and what has not."""

import pytest
import torch
from torch import nn

from visionkit.backbones.lenet import lenet
from visionkit.backbones.resnet import basic_resnet
from visionkit.explain.randomisation import cascade, weight_layers
from visionkit.explain.targets import class_score
from visionkit.models.build import classifier

IMAGES = torch.randn(1, 3, 32, 32)


def network(seed: int, trained: bool = False):
    """With `trained` every weight and statistic is unlike what the builder gives."""
    torch.manual_seed(seed)
    model = classifier(basic_resnet((8, 8, 16, 16)), 3, size=32).eval()
    if trained:
        with torch.no_grad():
            for tensor in (*model.parameters(), *(b for name, b in model.named_buffers() if "running" in name)):
                tensor.add_(torch.rand_like(tensor) + 0.1)
    return model


def layers_of(model):
    return weight_layers(model, class_score(model, 1), IMAGES)


def test_layers_stand_in_the_order_in_which_they_run_each_with_its_norm():
    model = network(0)
    layers = layers_of(model)
    assert layers[0] == ("backbone.conv1", "backbone.bn1")
    assert layers[-1][0].startswith("head.")
    flat = [path for layer in layers for path in layer]
    with_weights = [path for path, m in model.named_modules() if list(m.parameters(recurse=False))]
    assert sorted(flat) == sorted(with_weights), "all, and none twice"
    assert flat.index("backbone.layer1.0.conv2") < flat.index("backbone.layer2.0.conv1")
    for layer in layers:
        assert model.get_submodule(layer[0]).weight.ndim > 1, "a layer begins with its weights"


def test_every_step_replaces_one_layer_more_and_nothing_else():
    model, fresh = network(0, trained=True), network(1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layers, given = layers_of(model), fresh.state_dict()
    replaced: list[str] = []
    for (path, changed), layer in zip(cascade(model, fresh, layers), reversed(layers), strict=True):
        assert path == layer[0]
        replaced += layer
        for key, value in changed.state_dict().items():
            if "num_batches" in key:
                continue
            if key.rpartition(".")[0] in replaced:
                assert torch.equal(value, given[key]) and not torch.equal(value, before[key]), (path, key)
            else:
                assert torch.equal(value, before[key]), (path, key)
    assert not changed.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "the model stays"
    assert torch.equal(class_score(changed, 1)(IMAGES), class_score(fresh, 1)(IMAGES)), "all of it is fresh at the end"


def test_parts_that_the_score_does_not_need_are_left_alone():
    model = network(0, trained=True)
    model.extra = nn.Linear(3, 3)
    assert not any("extra" in path for layer in layers_of(model) for path in layer)


def test_no_hook_is_left_and_an_error_leaves_none():
    model = network(0)

    def broken(images):
        model.scores(images)
        raise RuntimeError("here")

    with pytest.raises(RuntimeError, match="here"):
        weight_layers(model, broken, IMAGES)
    layers_of(model)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_another_network_is_refused():
    model = network(0)
    other = classifier(basic_resnet((8, 8, 16, 24)), 3, size=32)
    with pytest.raises(ValueError, match="another one"):
        list(cascade(model, other, layers_of(model)))
    with pytest.raises(ValueError, match="another one"):
        list(cascade(model, nn.Sequential(), layers_of(model)))


def test_a_chain_with_fully_connected_layers():
    model = classifier(lenet(), 10).eval()
    layers = weight_layers(model, class_score(model, 0), torch.zeros(1, 1, 32, 32))
    kinds = [type(model.get_submodule(layer[0])) for layer in layers]
    assert kinds[0] is nn.Conv2d and kinds[-1] is nn.Linear and kinds == sorted(kinds, key=lambda k: k is nn.Linear)
