"""Pictures of images made to order: what a class looks like to a network, what its layers know of a photograph."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from visionkit.errors import ConfigError
from visionkit.explain.inversion import Made, class_image, invert
from visionkit.explain.layers import TAIL, backbones_of, classifier_of
from visionkit.explain.priors import FOR_CLASSES, FOR_LAYERS, Priors
from visionkit.explain.targets import class_probability, class_score
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.network_images import at_network_size, denormalised, limits_of, normalised
from visionkit.predictor import Predictor
from visionkit.unit_pictures import written
from visionkit.viz.figure import curve_color, new_figure, save
from visionkit.viz.mosaic import mosaic

PROBES = ("c1", "c2", "c3", "c4", "c5")  # depths at which a photograph is found again, where the network has them


def class_images(
    predictor: Predictor, output: Path, labels: Sequence[int], priors: Priors = FOR_CLASSES, size: int | None = None
) -> list[Path]:
    """`class_images.png`: an image for each class that the network is sure of, made from noise, with its probability
    and its score; `class_images_losses.png`: the curves of the searches.

    Args:
        labels: of the classes; the search of each starts from the same noise.
        size: side of the images; None = the network's own.
    Raises:
        ConfigError: another model than a classifier or localizer, or a label that is none.
    """
    model = predictor.model.eval()
    if not isinstance(model, Classifier | Localizer):
        raise ConfigError(f"images of classes are made of classifiers and localizers, not of a {type(model).__name__}.")
    for label in labels:
        if not 0 <= label < len(predictor.names):
            raise ConfigError(f"class {label}: the model has the classes 0 ... {len(predictor.names) - 1}.")
    side = size or model.resize.size
    shape = (1, len(model.backbone.mean), side, side)
    device = next(model.parameters()).device
    pictures, titles, made = [], [], {}
    for label in labels:
        one = class_image(class_score(model, label), shape, priors, limits_of(model), device)
        with torch.no_grad():
            chance = float(class_probability(model, label)(one.images)[0])
            score = float(class_score(model, label)(one.images)[0])
        pictures.append(denormalised(model, one.images)[0])
        titles.append(f"{predictor.names[label]} {chance:.2f} (score {score:.1f})")
        made[predictor.names[label]] = one
    sheet = written(mosaic(pictures, titles=titles), output / "class_images.png")
    return [sheet, _curves(made, output / "class_images_losses.png")]


def inversion(
    predictor: Predictor,
    picture: Path | np.ndarray,
    output: Path,
    layers: Sequence[str] | None = None,
    priors: Priors = FOR_LAYERS,
) -> list[Path]:
    """`inversion.png`: a picture, and beside it images found from noise to which layers answer as they do to it, each
    with its relative error in the layer; `inversion_losses.png`: the curves of the searches.

    Args:
        picture: a file, or (H, W, 3) uint8 RGB.
        layers: shallow to deep; None = those of `PROBES` that the network has, or all its stages, and a fully
            connected tail.
    Raises:
        ConfigError: no such layer.
        DataError: the picture cannot be read.
    """
    model = predictor.model.eval()
    image = at_network_size(model, picture)
    given = normalised(model, [image])
    pictures, titles, made = [image], ["picture"], {}
    for layer in probes(model) if layers is None else layers:
        one = invert(model, layer, given, priors, limits_of(model))
        pictures.append(denormalised(model, one.images)[0])
        titles.append(f"{layer}: error {one.errors[0]:.3f}")
        made[layer] = one
    sheet = written(mosaic(pictures, columns=min(4, len(pictures)), titles=titles), output / "inversion.png")
    return [sheet, _curves(made, output / "inversion_losses.png")]


def probes(model: nn.Module) -> list[str]:
    """Layers from shallow to deep that are worth finding a picture again from."""
    backbone = backbones_of(model)[0]
    known = [stage for stage in PROBES if stage in backbone.stages] or list(backbone.stages)
    is_stage = known[-1] not in backbone.region_stages  # the tail's maps are the last stage's
    return known + ([] if is_stage or classifier_of(model) is None else [TAIL])


def _curves(made: Mapping[str, Made], path: Path) -> Path:
    figure, axis = new_figure((7.0, 4.0))
    for i, (name, one) in enumerate(made.items()):
        axis.plot(range(1, len(one.losses) + 1), one.losses, color=curve_color(i), label=name)
    axis.set(xlabel="step", ylabel="distance or -score, and priors")
    if all(loss > 0 for one in made.values() for loss in one.losses):
        axis.set_yscale("log")
    if made:
        axis.legend()
    return save(figure, path)
