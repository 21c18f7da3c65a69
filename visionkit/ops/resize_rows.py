"""Bilinear resizing of maps that are too large to be there at once: rows come, and rows go."""

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_rows(
    blocks: Iterable[Tensor], size: tuple[int, int], target: tuple[int, int], chunk: int = 64
) -> Iterator[Tensor]:
    """What `ops.upsample.resize_maps` gives, piece by piece: by pixel centres, the last values repeated at the frame.

    Args:
        blocks: (C, n, w) float, n of any length; one below the other they are maps of `size`.
        size: (height, width) of the maps.
        target: (height, width) wanted.
        chunk: rows in a piece, at most.
    Yields:
        (C, m, W), one below the other maps of `target`; with `target` = `size` the very numbers that came. No more than
        a block and a piece are held.
    """
    (height, _), (wanted, width) = size, target
    step = height / wanted
    held: Tensor | None = None  # rows from `first` on that are still needed
    first, done = 0, 0  # rows that came and went; rows that went out
    for block in blocks:
        held = block if held is None else torch.cat([held, block], dim=1)
        last = first + held.shape[1]  # rows that have come
        while done < wanted:
            # A row lies between two that came; the second is needed only where it does not lie on the first.
            ready = wanted if last == height else min(wanted, math.floor((last - 0.5) / step - 0.5) + 1)
            until = min(done + chunk, ready)
            if until <= done:
                break
            yield _between(held, first, torch.arange(done, until), step, height, width)
            done = until
        needed = min(last, int(max((done + 0.5) * step - 0.5, 0.0)))
        held = held[:, needed - first :].clone() if needed < last else None  # a copy: the block can go
        first = needed


def _between(held: Tensor, first: int, rows: Tensor, step: float, height: int, width: int) -> Tensor:
    """Rows (m,) of the result from rows `first` ... of the maps: (C, m, W)."""
    places = ((rows + 0.5).double() * step - 0.5).clamp(min=0.0)  # (m,) in rows of the maps
    above = places.floor().long().clamp(max=height - 1)
    share = (places - above).to(held.dtype)
    below = (above + (share > 0)).clamp(max=height - 1)
    above, below, share = (each.to(held.device) for each in (above, below, share))
    found = held[:, above - first]  # (C, m, w)
    if bool((share > 0).any()):
        found = found.lerp(held[:, below - first], share[None, :, None])
    if found.shape[2] == width:
        return found
    return F.interpolate(found[None], size=(found.shape[1], width), mode="bilinear", align_corners=False)[0]
