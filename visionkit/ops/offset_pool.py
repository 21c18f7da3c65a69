"""OverFeat's offset max pooling (Sermanet et al. 2013, sec. 3.3, fig. 3): the stride of the last pool, won back.

A layer of stride S looks at every S-th cell. Run S times along each axis on the map shifted by 0 ... S - 1 cells, its
outputs interleaved are those of every cell: a network of stride 32 gives windows every 16 pixels at twice the rows and
columns of its last layers, and the layers before run once.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def at_every_offset(layers: Callable[[Tensor], Tensor], maps: Tensor, window: int, stride: int) -> Tensor:
    """The layers at every cell of a map.

    Args:
        layers: maps (B, C, h, w) -> (B, C', h', w'), one output cell for each window that fits, every `stride` cells.
        maps: (B, C, h, w), at least one window.
        window: cells that one output sees, along each axis.
        stride: of the layers, cells.
    Returns:
        (B, C', h - window + 1, w - window + 1).
    """
    if stride == 1:
        return layers(maps)
    count, rows, columns = len(maps), *(side - window + 1 for side in maps.shape[-2:])
    # Cells that no kept output sees make all shifted maps equal in size: they run as one batch.
    maps = F.pad(maps, (0, -columns % stride, 0, -rows % stride))
    high, wide = (side - stride + 1 for side in maps.shape[-2:])
    shifted = [maps[:, :, y : y + high, x : x + wide] for y in range(stride) for x in range(stride)]
    found = layers(torch.cat(shifted))  # (S * S * B, C', h', w')
    found = found.reshape(stride, stride, count, *found.shape[1:]).permute(2, 3, 4, 0, 5, 1)  # (B, C', h', S, w', S)
    return found.flatten(4).flatten(2, 3)[:, :, :rows, :columns]
