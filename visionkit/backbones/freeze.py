"""Freezing the first parts of a backbone for fine-tuning."""

from torch import nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError


def freeze(backbone: Backbone, upto: str) -> list[str]:
    """Take the gradient from every part up to and including a stage, and keep its batch norms at their statistics.

    Args:
        backbone: a network, or a neck around one, whose body is then frozen.
        upto: a stage of the network; "c2" freezes a ResNet's stem and first group, as torchvision's detectors do
            with `trainable_layers=3`.

    Returns:
        The names of the frozen parameters, as `backbone.named_parameters()` has them.

    Raises:
        ConfigError: no such stage; the sentence names those there are.
    """
    parts = backbone.innermost().parts()
    if upto not in parts:
        raise ConfigError(f"cannot freeze up to {upto!r}: the backbone's stages are {', '.join(parts)}")
    frozen: set[int] = set()
    for stage, modules in parts.items():
        for module in modules:
            module.requires_grad_(False)
            frozen.update(id(parameter) for parameter in module.parameters())
            for norm in module.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.eval()  # `Backbone.train` leaves it so
        if stage == upto:
            break
    return [name for name, parameter in backbone.named_parameters() if id(parameter) in frozen]
