"""What the units of a layer are made of and answer, as pictures: filters, and maps of a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from visionkit.explain.filters import checked_channels, convolution, strongest_channels
from visionkit.explain.layer_maps import layer_maps
from visionkit.network_images import at_network_size, normalised
from visionkit.pictures import write_image
from visionkit.predictor import Predictor
from visionkit.viz.filter_grid import filter_grid, filter_pictures, map_grid

MOST = 256  # filters on a sheet


def filters(predictor: Predictor, output: Path, layer: str | None = None) -> list[Path]:
    """`filters_LAYER.png`: the filters of the first convolution, or of a named one (the first `MOST` pictures of it).

    Raises:
        ConfigError: no such layer, or no convolution.
    """
    path, conv = convolution(predictor.model, layer)
    pictures = filter_pictures(conv.weight.detach().float().cpu().numpy())
    rows = conv.weight.shape[1] if conv.weight.shape[1] not in (1, 3) else None  # a row for each filter
    grid = filter_grid(pictures[:MOST], columns=None if rows is None else min(rows, 32))
    return [written(grid, output / f"filters_{path}.png")]


@torch.no_grad()
def activations(
    predictor: Predictor,
    picture: Path | np.ndarray,
    output: Path,
    layer: str,
    channels: Sequence[int] | None = None,
    count: int = 24,
) -> list[Path]:
    """`activations_LAYER.png`: maps that a layer makes of one picture, the strongest channels first.

    Args:
        picture: a file, or (H, W, 3) uint8 RGB.
        channels: those that are shown; None = the `count` with the highest values.
    Raises:
        ConfigError: no such layer or channel.
        DataError: the picture cannot be read.
    """
    model = predictor.model.eval()
    image = at_network_size(model, picture)
    maps = layer_maps(model, layer, normalised(model, [image]))[0].float().cpu()  # (C, h, w)
    chosen = strongest_channels(maps, count).tolist() if channels is None else list(channels)
    checked_channels(chosen, len(maps), layer)
    return [written(map_grid(image, maps[chosen].numpy(), chosen), output / f"activations_{layer}.png")]


def written(image: np.ndarray, path: Path) -> Path:
    """The path of a picture (H, W, 3) uint8 that was written there."""
    write_image(path, image)
    return path
