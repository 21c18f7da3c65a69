"""Running a model on normalised images for the sake of the layers inside of it."""

from torch import Tensor, nn

from visionkit.explain.layers import backbones_of
from visionkit.models.box_list import BoxList
from visionkit.models.localizer import Localizer
from visionkit.models.whole_image import whole_image_maps


def answer(model: nn.Module, images: Tensor) -> Tensor:
    """All that the model says about whole images, as one row each: (B, C, H, W) -> (B, N), with a graph.

    Classes of a classifier or localizer, of pixels, a density, slots of a list of boxes. A detector says nothing about
    whole images: the deepest maps of its trunk. So does a backbone.
    """
    if isinstance(model, Localizer):
        return model.outputs(images)[0]
    if isinstance(model, BoxList):
        first: Tensor = model.head(whole_image_maps(model.backbone, images))[0]
        return first.flatten(1)
    if hasattr(model, "scores"):
        found: Tensor = model.scores(images)  # type: ignore[operator]
        return found.flatten(1)
    backbone = backbones_of(model)[0]
    *_, deepest = backbone(images, tuple(backbone.stages)).values()
    return deepest.flatten(1)
