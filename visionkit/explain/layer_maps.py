"""The maps of a named layer for given images, without a score: what its units answer, everywhere."""

from torch import Tensor, nn

from visionkit.errors import ConfigError
from visionkit.explain.answer import answer
from visionkit.explain.layers import backbones_of, recorded


def layer_maps(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Normalised images of one size (B, C, H, W) -> the layer's maps (B, C', h, w), with a graph back to them.

    A stage is computed by the trunk alone, no further than needed. Vectors (fully connected layers, class scores) are
    maps of one cell. Of a detector, layers that see whole images can be asked for: those of its backbone.

    Raises:
        ConfigError: no such layer (the nearest names are listed), one that is not run for whole images or runs more
            than once, or one that gives neither maps nor vectors.
    """
    for backbone in backbones_of(model):
        if layer in backbone.stages:
            return backbone(images, (layer,))[layer]
    with recorded(model, layer) as found:
        answer(model, images)
    if len(found) != 1:
        times = "is not run for whole images" if not found else f"runs {len(found)} times"
        raise ConfigError(f"layer={layer} {times}: choose a stage or another layer.")
    maps = found[0]
    if len(maps) != len(images):
        raise ConfigError(f"layer={layer} runs on patches of the pictures, not on the pictures: choose a stage.")
    if maps.ndim == 2:
        return maps[:, :, None, None]  # (B, C', 1, 1)
    if maps.ndim != 4:
        raise ConfigError(f"layer={layer} gives {tuple(maps.shape)}, which are neither maps nor vectors.")
    return maps
