"""A classifier with one thing done wrong on purpose, to see what it costs (`study=failures`)."""

from typing import Literal

import torch
from torch import nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.models.build import classifier
from visionkit.models.classifier import Classifier
from visionkit.models.pixels import Normalize

SABOTAGES = ("raw_pixels", "zero_weights", "no_bias")


def sabotaged(
    backbone: Backbone,
    num_classes: int,
    *,
    sabotage: Literal["raw_pixels", "zero_weights", "no_bias"],
    size: int | None = None,
) -> Classifier:
    """The target of configs/task/sabotaged.yaml.

    Args:
        sabotage: "raw_pixels" feeds the network 0 ... 255 as they are, neither scaled nor centred; "zero_weights"
            starts every weight of a convolution or a linear layer at 0; "no_bias" takes their biases away.
        size: as in `build.classifier`.
    Raises:
        ConfigError: another sabotage, or a size that the network does not take.
    """
    if sabotage not in SABOTAGES:
        raise ConfigError(f"task.sabotage={sabotage}: the sabotages are {', '.join(SABOTAGES)}")
    model = classifier(backbone, num_classes, size=size)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if sabotage == "raw_pixels":
        channels = len(backbone.mean)
        model.normalize = Normalize([0.0] * channels, [1 / 255] * channels)
    for layer in layers:
        if sabotage == "zero_weights":
            with torch.no_grad():
                layer.weight.zero_()
        elif sabotage == "no_bias":
            layer.bias = None
    return model
