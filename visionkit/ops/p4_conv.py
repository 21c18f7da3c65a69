"""Group convolution over shifts and quarter turns, the group p4 (Cohen and Welling, "Group Equivariant Convolutional
Networks", 2016, sec. 6): every filter is used in its four rotations, and the maps know which rotation they are of.

Maps of the group are (B, 4, C, h, w): `maps[:, r]` is what the filters turned by r quarter turns found. A quarter turn
of the image turns every map and moves it on to the next rotation (`turned`), and a layer does the same to its output as
was done to its input. Quarter turns are counter-clockwise, as those of `torch.rot90`.

Exact under quarter turns of square maps at stride 1, and at stride s where s cells fit the turned grid: a side of
kernel - 2 * padding plus a multiple of s. Rotations by other angles are followed no better than by any convolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TURNS = 4


def turned(maps: Tensor, turns: int) -> Tensor:
    """What quarter turns of the image do to maps of the group (B, 4, C, h, w): each is turned, and takes the place of
    the one that many rotations on (sec. 4.4, fig. 1). (B, 4, C, w, h) for an odd number of turns."""
    return torch.rot90(maps, turns, dims=(-2, -1)).roll(turns, dims=1)


def lifting_filters(weight: Tensor) -> Tensor:
    """(O, I, k, k) -> (4, O, I, k, k): the filters, turned 0, 1, 2, 3 times."""
    return torch.stack([torch.rot90(weight, r, dims=(-2, -1)) for r in range(TURNS)])


def group_filters(weight: Tensor) -> Tensor:
    """(O, 4, I, k, k) -> (4, O, 4, I, k, k): filters on maps of the group, turned 0, 1, 2, 3 times. A turn moves a
    filter's slices from rotation to rotation too (sec. 7.1)."""
    return torch.stack([turned(weight, r) for r in range(TURNS)])


def lifting_conv(
    images: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """The first layer: correlation of an image with every filter in its four rotations (sec. 6.1, eq. 10).

    Args:
        images: (B, I, H, W) float.
        weight: (O, I, k, k).
        bias: (O,), the same for all rotations, or none.
        stride, padding: as of a convolution.
    Returns:
        (B, 4, O, h, w). Raises ValueError for a weight of another form.
    """
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise ValueError(f"lifting filters are (O, I, k, k), not {tuple(weight.shape)}")
    filters = lifting_filters(weight).flatten(0, 1)  # (4 * O, I, k, k)
    found = F.conv2d(images, filters, _repeated(bias), stride, padding)  # (B, 4 * O, h, w)
    return _by_rotation(found)


def group_conv(maps: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> Tensor:
    """The layers after it: correlation over places and rotations (sec. 6.1, eq. 11).

    Args:
        maps: (B, 4, I, h, w) float.
        weight: (O, 4, I, k, k).
        bias, stride, padding: as of `lifting_conv`.
    Returns:
        (B, 4, O, h', w'). Raises ValueError for a weight of another form.
    """
    if weight.ndim != 5 or weight.shape[1] != TURNS or weight.shape[3] != weight.shape[4]:
        raise ValueError(f"filters of the group are (O, 4, I, k, k), not {tuple(weight.shape)}")
    filters = group_filters(weight).flatten(2, 3).flatten(0, 1)  # (4 * O, 4 * I, k, k)
    found = F.conv2d(maps.flatten(1, 2), filters, _repeated(bias), stride, padding)  # (B, 4 * O, h', w')
    return _by_rotation(found)


def pool_rotations(maps: Tensor) -> Tensor:
    """The largest over the four rotations, (B, 4, C, h, w) -> (B, C, h, w): it turns with the image, as a plain map of
    a symmetric filter would, and forgets which rotation was seen (sec. 6.3)."""
    return maps.amax(dim=1)


def _by_rotation(found: Tensor) -> Tensor:
    return found.reshape(len(found), TURNS, found.shape[1] // TURNS, *found.shape[2:])  # (B, 4, O, h, w)


def _repeated(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.repeat(TURNS)  # (4 * O,)


def lifting_conv_reference(images: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """`lifting_conv` from its definition, one cell and one rotation at a time; the kernel's side is odd."""
    as_group = images[:, None].expand(-1, TURNS, -1, -1, -1) / TURNS  # a sum over equal slices
    return group_conv_reference(as_group, weight[:, None].expand(-1, TURNS, -1, -1, -1), padding)


def group_conv_reference(maps: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """`group_conv` from its definition (sec. 6.1, eq. 11): for g = (place x, rotation r) the sum over all h = (y, s)
    of f(h) psi(g^-1 h), where g^-1 h is the place y - x turned back by r, and the rotation s - r."""
    reach = weight.shape[-1] // 2
    padded = F.pad(maps, (padding,) * 4)  # (B, 4, I, h, w)
    height, width = padded.shape[-2:]
    found = maps.new_zeros(len(maps), TURNS, len(weight), height - 2 * reach, width - 2 * reach)
    offsets = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    for r in range(TURNS):
        for row in range(found.shape[-2]):
            for column in range(found.shape[-1]):
                for dy, dx in offsets:
                    v, u = dy, dx
                    for _ in range(r):  # back, clockwise: up (-1, 0) becomes right (0, 1)
                        v, u = u, -v
                    for s in range(TURNS):
                        seen = padded[:, s, :, row + reach + dy, column + reach + dx]  # (B, I)
                        found[:, r, :, row, column] += seen @ weight[:, (s - r) % TURNS, :, reach + v, reach + u].T
    return found
