"""The patches of a folder's pictures that excite single units most, and what in them does so (Zeiler and Fergus)."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.data.progress import Progress
from visionkit.data.source_images import list_images
from visionkit.errors import ConfigError
from visionkit.explain.filters import checked_channels
from visionkit.explain.layer_maps import layer_maps
from visionkit.explain.patches import Top, liveliest_channels, strongest_places
from visionkit.explain.rectified import project
from visionkit.explain.seen import Seen, seen_by
from visionkit.network_images import at_network_size, batches_of, normalised
from visionkit.predictor import Predictor
from visionkit.unit_pictures import written
from visionkit.viz.filter_grid import around_gray
from visionkit.viz.mosaic import mosaic
from visionkit.viz.patch_sheet import Unit, cut, patch_sheet

SHARE = 0.995  # of a projection's pixels that are told apart, see `around_gray`


def patches(
    predictor: Predictor,
    source: Path,
    output: Path,
    layer: str,
    channels: Sequence[int] | None = None,
    count: int = 8,
    top: int = 9,
    batch_size: int = 32,
    limit: int | None = None,
    projected: bool = False,
) -> list[Path]:
    """`patches_LAYER.png`: for units of a layer the patches of a folder's pictures that excite them most, at most one
    of each picture, cut to exactly what the unit sees; `patches_LAYER.json` says where they are, in pixels of the
    network's image. What a unit sees beyond the border is gray. A patch that does not excite its unit (no value above
    0) is left out.

    `projected` writes `deconvnet_patches_LAYER`: beside each patch what of it excited the unit, projected back to the
    pixels by a deconvnet (Zeiler and Fergus 2014, fig. 2), each around gray on its own scale.

    Args:
        source: a folder of pictures; they are read one batch after the other and not kept.
        channels: the units; None = the `count` that are excited most.
        top: patches of each unit.
        limit: most pictures that are looked through, the first ones; None = all.
    Raises:
        ConfigError: no such layer or channel, or nothing excites any unit.
        DataError: no pictures, or one that cannot be read.
    """
    for name, value in (("count", count), ("top", top), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name}={value} has to be at least 1.")
    model, paths = predictor.model.eval(), list_images(source)[:limit]
    sight = _Sight(model, layer)
    first = sight.of(at_network_size(model, paths[0]).shape)  # what is wrong with the settings is said at once
    checked_channels([] if channels is None else list(channels), first.channels, layer)
    best = strongest_places(_maps(model, layer, paths, batch_size), top)
    chosen = liveliest_channels(best, count) if channels is None else list(channels)
    if not chosen:
        raise ConfigError(f"layer={layer}: none of {len(paths)} pictures excites any of its units.")
    units, records = [], []
    with Progress(f"patches of {layer}", len(chosen), "units") as progress:
        for channel in chosen:
            unit, found = _unit(model, layer, channel, best, paths, sight, projected)
            units.append(unit)
            records.append({"unit": channel, "patches": found})
            progress.advance()
    name = f"{'deconvnet_' if projected else ''}patches_{layer}"
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    sheet = mosaic([patch_sheet(units)], titles=[_heading(layer, first, len(paths))], gap=0)
    return [written(sheet, output / f"{name}.png")]


class _Sight:
    """What a layer's units see, by the size of the image; found once for each."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        self._by_size = lru_cache(maxsize=None)(lambda size: seen_by(model, layer, size))

    def of(self, shape: Sequence[int]) -> Seen:
        return self._by_size((shape[0], shape[1]))


def _maps(model: nn.Module, layer: str, paths: Sequence[Path], batch_size: int) -> Iterator[Tensor]:
    with Progress(f"maps of {layer}", len(paths), "pictures") as progress:
        for images in batches_of(model, paths, batch_size):
            with torch.inference_mode():  # not around the yield: it would be on in the caller too
                maps = layer_maps(model, layer, normalised(model, images))  # (B, C, h, w)
            yield maps
            progress.advance(len(images))


def _unit(
    model: nn.Module, layer: str, channel: int, best: Top, paths: Sequence[Path], sight: _Sight, projected: bool
) -> tuple[Unit, list[dict[str, Any]]]:
    """The patches of a unit, and where they are. Pictures are read again: keeping them would take all the memory."""
    crops, projections, records = [], [], []
    for value, number, place in zip(*(part[channel].tolist() for part in best), strict=True):
        if value <= 0:
            break
        image = at_network_size(model, paths[number])
        box = sight.of(image.shape).box(*place)
        crops.append(cut(image, box))
        records.append({"file": str(paths[number]), "value": value, "box": box})
        if projected:
            found = project(model, layer, normalised(model, [image]), channel, (place[0], place[1]))[0]  # (C, h, w)
            inside = cut(found.permute(1, 2, 0).cpu().numpy(), box, fill=0)  # scaled by what is shown
            projections.append(_colored(inside))
    strength = f"{records[0]['value']:.3g} ... {records[-1]['value']:.3g}" if records else "never excited"
    return Unit(f"{channel}: {strength}", crops, projections), records


def _colored(values: np.ndarray) -> np.ndarray:
    """(h, w, C) float of any sign -> (h, w, 3) uint8 around gray."""
    picture = around_gray(values, SHARE)
    return picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture


def _heading(layer: str, seen: Seen, count: int) -> str:
    height, width = seen.size
    words = f"{layer}: a unit sees {width} x {height} px"
    if seen.gated:
        words += " (gates left out, which see all)"
    if seen.larger_than_image:
        words += f", more than the image of {seen.image[1]} x {seen.image[0]}"
    return f"{words}; the strongest of {count} pictures"
