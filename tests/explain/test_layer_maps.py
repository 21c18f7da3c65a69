"""The maps of layers, asked for without a score."""

import pytest
import torch

from visionkit.backbones.cifar_resnet import resnet20
from visionkit.errors import ConfigError
from visionkit.explain.layer_maps import layer_maps
from visionkit.explain.layers import recorded
from visionkit.models.build import classifier


@pytest.mark.parametrize("layer", ["c0", "c2", "tail", "backbone.layer2.1.conv2", "layer2.1.conv2", "head"])
def test_as_recorded_while_scores_are_computed(layer):
    model = classifier(resnet20(), 7).eval()
    images = torch.randn(2, 3, 32, 32)
    with recorded(model, layer) as found:
        scores = model.scores(images)
    maps = layer_maps(model, layer, images)
    assert torch.equal(maps, found[0] if found[0].ndim == 4 else found[0][:, :, None, None])
    if layer == "head":
        assert torch.equal(maps[:, :, 0, 0], scores)


def test_gradients_flow():
    model = classifier(resnet20(), 7).eval()
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    layer_maps(model, "layer1.0", images).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_refused():
    model = classifier(resnet20(), 7).eval()
    with pytest.raises(ConfigError, match="there is no layer 'layer9'"):
        layer_maps(model, "layer9", torch.zeros(1, 3, 32, 32))
    model.backbone.register_module("idle", torch.nn.Identity())
    with pytest.raises(ConfigError, match="layer=idle is not run for whole images"):
        layer_maps(model, "idle", torch.zeros(1, 3, 32, 32))
