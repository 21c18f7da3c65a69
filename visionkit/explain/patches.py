"""The pictures that excite a unit most, and where in them (Girshick et al. 2014, sec. 3.1; Zeiler and Fergus 2014)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from visionkit.errors import NonFiniteLossError


class Top(NamedTuple):
    """Of each channel of a layer the k strongest places, the strongest first, at most one in a picture."""

    values: Tensor  # (C, k) float32; -inf where there were fewer pictures
    pictures: Tensor  # (C, k) int64, the number of the picture; -1 likewise
    places: Tensor  # (C, k, 2) int64, the cell (y, x)


def strongest_places(maps: Iterable[Tensor], k: int) -> Top:
    """The k strongest places of every channel over any number of pictures: only these are kept.

    Among equals the earlier picture comes first, and in a picture the cell that is first when read line by line.

    Args:
        maps: (B, C, h, w) of one batch after the other; sizes may differ, C does not.
        k: at least 1.
    Raises:
        NonFiniteLossError: maps with numbers that are not finite.
        ValueError: no maps at all, or k below 1.
    """
    if k < 1:
        raise ValueError(f"k={k}: at least one place is wanted")
    top: Top | None = None
    first = 0
    for batch in maps:
        found = _strongest_of_each(batch, first)
        top = _merged(found if top is None else Top(*(torch.cat(two, 1) for two in zip(top, found, strict=True))), k)
        first += len(batch)
    if top is None:
        raise ValueError("there are no pictures whose maps could be compared")
    missing = k - top.values.shape[1]
    if missing <= 0:
        return top
    count = len(top.values)
    none = Top(
        torch.full((count, missing), -torch.inf),
        torch.full((count, missing), -1),
        torch.zeros(count, missing, 2, dtype=torch.int64),
    )
    return Top(*(torch.cat(two, 1) for two in zip(top, none, strict=True)))


def _strongest_of_each(maps: Tensor, first: int) -> Top:
    """One place a picture: (C, B) each."""
    maps = maps.detach().float().cpu()
    if not maps.isfinite().all():
        raise NonFiniteLossError("the layer's maps of a picture have numbers that are not finite.")
    count, channels, _, width = maps.shape
    values, cells = maps.flatten(2).max(dim=2)  # (B, C); the first of equals
    places = torch.stack((cells // width, cells % width), dim=2)  # (B, C, 2)
    pictures = torch.arange(first, first + count).expand(channels, count)
    return Top(values.T, pictures, places.transpose(0, 1))


def _merged(top: Top, k: int) -> Top:
    """The k best columns of each row."""
    values, order = top.values.sort(dim=1, descending=True, stable=True)  # earlier pictures stand before
    values, order = values[:, :k], order[:, :k]
    places = top.places.gather(1, order[:, :, None].expand(-1, -1, 2))
    return Top(values, top.pictures.gather(1, order), places)


def liveliest_channels(top: Top, count: int) -> list[int]:
    """The channels whose strongest places are on average the strongest, the lower number first among equals; without
    those that nothing excites (no value above 0). May be fewer than `count`."""
    known = top.values.where(top.values.isfinite(), 0)
    means = known.sum(dim=1) / top.values.isfinite().sum(dim=1).clamp(min=1)  # (C,)
    order = means.sort(descending=True, stable=True).indices.tolist()
    return [channel for channel in order if top.values[channel, 0] > 0][:count]
