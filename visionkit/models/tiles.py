"""Class scores of pictures that are too large to be seen at once: overlapping tiles, their seams blended."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from visionkit.models.pixels import batch_of
from visionkit.models.segmenter import Segmenter
from visionkit.ops.keep_size import KeepSize

GRID = (
    32  # pixels; the networks' strides divide it, so that tiles that begin on it have cells where the picture has them
)


class Span(NamedTuple):
    """A piece of one side of the picture."""

    start: int
    weights: Tensor  # (length,) float32, what the piece counts at each of its pixels; of all pieces there they sum to 1

    @property
    def stop(self) -> int:
        return self.start + len(self.weights)


def spans(side: int, size: int, overlap: int, margin: int = 0) -> list[Span]:
    """Pieces that cover a side of `side` pixels, from its beginning to its end.

    All begin at multiples of `GRID` and are `size` pixels long, the last one up to `GRID` - 1 shorter; it is moved back
    so that it ends with the side. A side of at most `size` pixels is one piece.

    Args:
        size: pixels, more than `overlap` by at least `GRID`.
        overlap: pixels that neighbours share at least.
        margin: pixels at the ends of a piece that count for nothing, at most half the overlap. Over the rest of the
            overlap a piece counts the less, the nearer the end; not so where the picture ends too.
    """
    if side <= size:
        return [Span(0, torch.ones(side))]
    step = (size - overlap) // GRID * GRID
    last = -(-(side - size) // GRID) * GRID
    starts = [*range(0, last, step), last]
    ramp = overlap - 2 * margin
    pieces, total = [], torch.zeros(side, dtype=torch.float64)
    for start in starts:
        stop = min(start + size, side)
        places = torch.arange(start, stop, dtype=torch.float64) + 0.5
        left = (places - start) if start > 0 else torch.full_like(places, torch.inf)
        right = (stop - places) if stop < side else torch.full_like(places, torch.inf)
        inward = torch.minimum(left, right) - margin  # (length,) pixels from what counts for nothing
        weights = (inward / ramp).clamp(0, 1) if ramp else (inward > 0).double()
        total[start:stop] += weights
        pieces.append((start, stop, weights))
    return [Span(start, (weights / total[start:stop]).float()) for start, stop, weights in pieces]


def blended_rows(model: Segmenter, picture: np.ndarray, size: int, overlap: int, margin: int = 0) -> Iterator[Tensor]:
    """Class scores (before the softmax) of a picture, row by row of tiles, in what mode the model is.

    Args:
        picture: (H, W, 3) uint8, at the size of the network.
        size, overlap, margin: see `spans`.
    Yields:
        (K, n, W) float32 where the model is, one below the other the scores of the whole picture. No more than the rows
        of one tile are held.
    """
    device = next(model.parameters()).device
    height, width = picture.shape[:2]
    columns, rows = spans(width, size, overlap, margin), spans(height, size, overlap, margin)
    band = torch.zeros(model.num_classes, 0, width, device=device)
    for k, row in enumerate(rows):
        begun, band = band, torch.zeros(model.num_classes, row.stop - row.start, width, device=device)
        band[:, : begun.shape[1]] = begun  # rows that an earlier tile has seen too
        for column in columns:
            tile = np.ascontiguousarray(picture[row.start : row.stop, column.start : column.stop])
            scores = model.logits(batch_of(tile, KeepSize()).to(device))[0]  # (K, h, w)
            weights = row.weights[:, None] * column.weights[None, :]  # (h, w)
            band[:, :, column.start : column.stop] += scores * weights.to(device)
        finished = (rows[k + 1].start if k + 1 < len(rows) else height) - row.start
        yield band[:, :finished]
        band = band[:, finished:]
