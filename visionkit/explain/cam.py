"""Class activation maps: what each place of the last maps adds to a class's score (Zhou et al., "Learning Deep Features
for Discriminative Localization", 2016)."""

import torch
from torch import Tensor, nn

from visionkit.errors import ConfigError
from visionkit.explain.layers import TAIL, last_maps_layer, maps_and_scores
from visionkit.explain.targets import class_score
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer


def class_activation_map(model: Classifier | Localizer, images: Tensor, label: int) -> Tensor:
    """The map of a class (Zhou et al. 2016, sec. 2, eq. 2), read off the weights of the head without a gradient.

    The mean over places is the logit. Where a linear layer follows the mean (ResNet, GoogLeNet, DenseNet ...), the map
    is that layer's weights times the tail's maps, and the layer's bias, which belongs to no place, is left out: the
    mean is the logit less the bias. Where the head makes a map for each class before the mean (NiN, SqueezeNet), that
    is the map, and since a ReLU stands between, the one after the ReLU: only that one has the logit as its mean.

    Args:
        model: a classifier, or a localizer for its classes; in eval mode.
        images: (B, C, H, W) float, normalised.
        label: 0 ... K-1.
    Returns:
        (B, h, w) float32; at least 0 where the head ends in a ReLU, else signed.
    Raises:
        ConfigError: layers without places come before the classes (AlexNet, VGG, pyramids), or the head is another.
    """
    head = model.head if isinstance(model, Classifier) else model.class_head
    kind = [type(layer) for layer in head.children() if not isinstance(layer, nn.Dropout)]
    if kind == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear] and last_maps_layer(model) == TAIL:
        return _weighted(model, images, label, head.get_parameter("linear.weight"))
    if kind == [nn.Conv2d, nn.ReLU, nn.AdaptiveAvgPool2d, nn.Flatten]:
        path = "head.relu" if isinstance(model, Classifier) else "class_head.relu"
        maps, _ = maps_and_scores(model, class_score(model, label), images, path)  # (B, K, h, w)
        return maps[:, label].detach().float()
    raise ConfigError(
        f"class activation maps need a head that is a mean over places beside one layer of weights, which this "
        f"{type(model.backbone).__name__} with its {type(head).__name__} has not: use Grad-CAM."
    )


def _weighted(model: Classifier | Localizer, images: Tensor, label: int, weight: Tensor) -> Tensor:
    maps, _ = maps_and_scores(model, class_score(model, label), images, TAIL)  # (B, C, h, w)
    return torch.einsum("bchw,c->bhw", maps.detach().float(), weight[label].detach().float())
