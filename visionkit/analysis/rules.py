"""For each operation: what the cells of its output see, and how many multiply-adds it does.

Operations are ATen's, as a dispatch mode meets them: a few dozen stand for all of torch's functions and modules. One
that has no rule here works cell by cell (activations, norms, sums) as long as the map keeps its height and width;
where it does not, nothing is claimed about receptive fields from there on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from visionkit.analysis.receptive_field import Field

aten = torch.ops.aten
Inputs = Sequence[tuple[Tensor, Field | None]]  # those made from the image, and what their cells see if it is known
Rule = Callable[[Field, Tensor, Sequence[Any], Tensor], Field | None]  # field, input, all arguments, output


def multiply_adds(packet: Any, args: Sequence[Any], out: Tensor) -> int:
    """Of a convolution or a matrix product; 0 for anything else. The addition of a bias is not counted."""
    if packet is aten.convolution:
        images, weight, transposed = args[0], args[1], args[6]
        return int(out.shape[0] * weight.numel() * math.prod((images if transposed else out).shape[2:]))
    if packet in (aten.mm, aten.bmm):
        return int(args[0].numel() * args[1].shape[-1])
    if packet in (aten.addmm, aten.baddbmm):
        return int(args[1].numel() * args[2].shape[-1])
    return 0


def output_field(packet: Any, args: Sequence[Any], inputs: Inputs, out: Tensor) -> Field | None:
    """What the cells of `out` see; None where that is not known.

    Of a map and a vector that scales its channels (squeeze and excitation), the map alone counts.
    """
    known = [(tensor, field) for tensor, field in inputs if field is not None]
    if len(known) < len(inputs):
        return None
    maps = [(tensor, field) for tensor, field in known if field.is_map] or known
    tensor, field = maps[0]
    for _, other in maps[1:]:
        joined = field.joined(other)
        if joined is None:
            return None
        field = joined
    if not field.is_map:
        return field  # a vector has lost its places already
    rule = RULES.get(packet, _cell_by_cell)
    return rule(field, tensor, args, out)


def scales_a_map(inputs: Inputs) -> bool:
    """Whether a vector of the whole image meets a map."""
    return len({field.is_map for _, field in inputs if field is not None}) == 2


def _cell_by_cell(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    fits = field.dims is not None and len(out.shape) >= -min(field.dims)
    return field if fits and field.extents(out.shape) == field.extents(x.shape) else None


def _convolution(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    size, (stride, padding, dilation, transposed) = args[1].shape, args[3:7]
    if field.dims != (-2, -1):
        return None
    y, x_ = (
        (axis.transposed if transposed else axis.window)(size[i], stride[i], padding[i], dilation[i])
        for i, axis in ((-2, field.y), (-1, field.x))
    )
    return field.each(y, x_)


def _pool(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    """kernel, stride (the kernel's by default), padding; a max pool also has dilation."""
    if field.dims != (-2, -1):
        return None
    size = args[1]
    stride = (args[2] if len(args) > 2 else None) or size
    padding = args[3] if len(args) > 3 else [0, 0]
    dilation = args[4] if len(args) > 4 and isinstance(args[4], list) else [1, 1]
    return field.each(
        field.y.window(size[-2], stride[-2], padding[-2], dilation[-2]),
        field.x.window(size[-1], stride[-1], padding[-1], dilation[-1]),
    )


def _adaptive_pool(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    if field.dims != (-2, -1):
        return None
    (height, width), (h, w) = x.shape[-2:], out.shape[-2:]
    if (h, w) == (1, 1):
        return field.vector(height, width)
    return field.each(field.y.adaptive(height, h), field.x.adaptive(width, w))


def _reduction(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    """Over channels: cell by cell. Over both axes: a vector."""
    if field.dims is None:
        return None
    dims = args[1] if len(args) > 1 and args[1] else range(x.ndim)
    reduced = {d % x.ndim for d in ([dims] if isinstance(dims, int) else dims)}
    axes = {d % x.ndim for d in field.dims}
    if axes <= reduced:
        return field.vector(*(x.shape[d] for d in field.dims))
    if axes & reduced:
        return None
    kept = len(args) > 2 and args[2]
    return field if kept else _moved(field, x, [d for d in range(x.ndim) if d not in reduced])


def _view(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    old, new = tuple(x.shape), tuple(out.shape)
    if field.rows is not None:  # the matrix of cells becomes a map with its channels last again
        return replace(field, dims=(-3, -2), rows=None) if new[-3:-1] == field.rows else None
    size = field.extents(old)
    if size is None:
        return None
    if field.dims == (-2, -1) and new[-2:] == size:  # channels are regrouped
        return field
    if field.dims == (-3, -2) and new[-3:] == old[-3:]:
        return field
    if field.dims == (-3, -2) and len(new) == 2 and new[1] == old[-1]:
        return replace(field, dims=None, rows=size)
    if len(new) == 2 and new[0] == old[0]:  # flattened for a fully connected layer
        return field.vector(*size)
    return None


def _matrix_product(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    return field if field.rows is not None else None


def _moved(field: Field, x: Tensor, order: Sequence[int | None]) -> Field | None:
    """After dimensions were reordered: `order[i]` is the old place of the new dimension i, None for a new one."""
    if field.dims is None:
        return None
    places = [d % x.ndim for d in field.dims]
    if any(place not in order for place in places):
        return None
    y, x_ = (order.index(place) - len(order) for place in places)
    return replace(field, dims=(y, x_))


def _permute(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    return _moved(field, x, [d % x.ndim for d in args[1]])


def _transpose(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    order: list[int | None] = list(range(x.ndim))
    a, b = args[1] % x.ndim, args[2] % x.ndim
    order[a], order[b] = order[b], order[a]
    return _moved(field, x, order)


def _unsqueeze(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    order: list[int | None] = list(range(x.ndim))
    order.insert(args[1] % (x.ndim + 1), None)
    return _moved(field, x, order)


def _squeeze(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    """Also `select`, which takes one place of a dimension away."""
    return field if out.ndim == x.ndim else _moved(field, x, [d for d in range(x.ndim) if d != args[1] % x.ndim])


def _slice(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    if field.dims is None:
        return None
    dim = (args[1] if len(args) > 1 else 0) % x.ndim
    start, step = (args[2] if len(args) > 2 else 0) or 0, args[4] if len(args) > 4 else 1
    start = max(start + x.shape[dim] if start < 0 else start, 0)
    axes = [field.y, field.x]
    for i, place in enumerate(field.dims):
        if place % x.ndim == dim:
            axes[i] = axes[i].read(lambda cell: (start + cell * step,) * 2, advance=step)
    return field.each(*axes)


def _pad(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    """`args[1]`: before and behind, from the last dimension on."""
    if field.dims is None:
        return None
    before = {-(i + 1): count for i, count in enumerate(args[1][::2])}
    y, x_ = (
        axis.window(1, padding=before.get(place, 0)) for axis, place in zip((field.y, field.x), field.dims, strict=True)
    )
    return field.each(y, x_)


def _upsample(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    """By whole factors; maps of odd sides, doubled to one cell less, count as doubled."""
    if field.dims != (-2, -1):
        return None
    factors = [max(1, round(out.shape[d] / x.shape[d])) for d in (-2, -1)]
    if len(args) > 2 and isinstance(args[2], bool):  # bilinear: align_corners
        return field.each(field.y.bilinear(factors[0]), field.x.bilinear(factors[1]))
    return field.each(field.y.nearest(factors[0]), field.x.nearest(factors[1]))


def _softmax(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    return field if field.dims is None or args[1] % x.ndim not in [d % x.ndim for d in field.dims] else None


def _unknown(field: Field, x: Tensor, args: Sequence[Any], out: Tensor) -> Field | None:
    """Mixes cells in a way that is not followed."""
    return None


RULES: dict[Any, Rule] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _pool,
    aten.avg_pool2d: _pool,
    aten.avg_pool3d: _pool,
    aten._adaptive_avg_pool2d: _adaptive_pool,
    aten.adaptive_max_pool2d: _adaptive_pool,
    aten.mean: _reduction,
    aten.sum: _reduction,
    aten.amax: _reduction,
    aten.view: _view,
    aten._unsafe_view: _view,
    aten.mm: _matrix_product,
    aten.addmm: _matrix_product,
    **dict.fromkeys((aten.bmm, aten.baddbmm, aten.roll, aten.flip, aten.cumsum), _unknown),
    aten._softmax: _softmax,
    aten.permute: _permute,
    aten.transpose: _transpose,
    aten.unsqueeze: _unsqueeze,
    aten.squeeze: _squeeze,
    aten.select: _squeeze,
    aten.slice: _slice,
    aten.constant_pad_nd: _pad,
    aten.upsample_nearest2d: _upsample,
    aten.upsample_bilinear2d: _upsample,
}
