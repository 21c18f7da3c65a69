"""Explanations of every file of configs/backbone. On the meta device, where tensors have shapes and no values; the slow
test computes them."""

import re
from pathlib import Path

import pytest
import torch

from visionkit.config import compose, instantiate
from visionkit.errors import ConfigError
from visionkit.explain.cam import class_activation_map
from visionkit.explain.grad_cam import grad_cam
from visionkit.explain.layers import last_maps_layer, map_gradient, maps_and_scores
from visionkit.explain.rectified import guided_backpropagation
from visionkit.explain.saliency import saliency
from visionkit.explain.targets import class_score
from visionkit.models.build import classifier

NAMES = sorted(file.stem for file in (Path(__file__).parents[2] / "configs/backbone").glob("*.yaml"))


def built(name, device):
    on = "cpu" if name.startswith("timm") else device  # the adapter looks at what a real image gives
    torch.manual_seed(0)
    with torch.device(on):
        net = instantiate(compose("train", [f"backbone={name}"]).backbone)
    side = max(net.min_size, min(net.resolution, 96))
    with torch.device(on):
        model = classifier(net, 5, size=side).eval().to(device)
    return model, torch.randn(1, len(net.mean), side, side, device=device)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_maps_and_their_gradient_are_found(name):
    model, images = built(name, "meta")
    maps, scores = maps_and_scores(model, class_score(model, 3), images, "tail")
    assert map_gradient(scores, maps, "tail").shape == maps.shape and scores.shape == (1,)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_values(name):
    """Maps that are finite and not all zero, at the last layer and at every stage that the score needs."""
    model, images = built(name, "cpu")
    score = class_score(model, 3)
    for found in (saliency(score, images), guided_backpropagation(score, images).abs()):
        assert found.isfinite().all() and found.max() > 0
    layer = last_maps_layer(model)
    assert grad_cam(model, score, images, layer).isfinite().all()
    for stage in model.backbone.stages:
        try:
            maps, scores = maps_and_scores(model, score, images, stage)
            slope = map_gradient(scores, maps, stage)
        except ConfigError as error:  # what only proposals use (p6), a deepest map that the tail makes in its own way
            assert re.search("does not depend|is not run", str(error))
            assert stage not in model.backbone.region_stages
            continue
        assert slope.isfinite().all() and slope.abs().sum() > 0, stage
    try:
        assert class_activation_map(model, images, 3).isfinite().all()
    except ConfigError as error:
        assert str(error)
