"""Regions of maps as windows of one size: RoIPool (Fast R-CNN, sec. 2.1), RoIAlign (Mask R-CNN, sec. 3), FPN's levels.

Boxes are in image pixels, get no gradient, and are bounded before any kernel sees them: an infinite coordinate, or one
of 1e30, makes torchvision's CPU kernels read outside the map.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from visionkit.ops.kernels import torchvision_ops

_BOUND = 1e5  # pixels; larger than any image, small enough for float32 to place a sample within 0.01 px


def assign_levels(
    boxes: Tensor,
    min_level: int,
    max_level: int,
    canonical: float = 224,
    canonical_level: int = 4,
    eps: float = 1e-6,
) -> Tensor:
    """Which pyramid level a box is cut from: floor(canonical_level + log2(sqrt(area) / canonical)) (FPN, eq. 1).

    Args:
        boxes: (R, 4) xyxy pixels.
        min_level, max_level: levels there are, as powers of two of their strides; others are cut to these.
        canonical: side in pixels of a box that belongs to `canonical_level` (ImageNet's crop).
        eps: added before rounding down, so that a box of exactly that side does not depend on rounding errors.
    Returns:
        (R,) int64 from 0 (min_level) to max_level - min_level: positions in the list of maps.
    """
    boxes = _bounded(boxes.detach())
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)  # (R, 2)
    side = (sides[:, 0] * sides[:, 1]).sqrt()  # (R,)
    level = torch.floor(canonical_level + torch.log2(side / canonical) + eps)  # (R,), -inf for an empty box
    return level.clamp(min_level, max_level).to(torch.int64) - min_level


def roi_align(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image_index: Tensor,
    strides: Sequence[int],
    window: int,
    sampling: int = 2,
    level: Tensor | None = None,
    aligned: bool = False,
) -> Tensor:
    """Average of sampling x sampling bilinear samples in each of window x window bins of every box.

    On the CPU one weighted gather over all levels (`roi_align_reference`), several times faster than torchvision's
    single-threaded kernel; on CUDA torchvision's kernel, one level at a time, unless deterministic algorithms are
    asked for, which that kernel's backward is not.

    Args:
        maps: L maps (B, C, h, w), finest first.
        boxes: (R, 4) xyxy pixels of the padded image; R may be 0, the result then still has a graph.
        image_index: (R,) int64, 0 ... B-1.
        strides: pixels per cell of each map, L of them; powers of two if `level` is to be assigned.
        window: bins per side.
        sampling: samples per bin and side; 0 = as many as the bin is cells long, rounded up, in each direction, so that
            large boxes skip no cell (detectron2's default).
        level: (R,) int64, position in `maps`; None = `assign_levels` by the strides.
        aligned: False is torchvision's detection default, boxes of at least one cell; True shifts by half a cell
            (detectron2's "ROIAlignV2").
    Returns:
        (R, C, window, window) in the maps' type, channels last in memory on the CPU: `flatten(1)`, not `view`.
    """
    if len(maps) != len(strides) or not maps:
        raise ValueError(f"roi_align needs one stride for each map, not {len(strides)} for {len(maps)}")
    if level is None:
        level = assign_levels(boxes, int(math.log2(strides[0])), int(math.log2(strides[-1])))
    if maps[0].is_cuda and not torch.are_deterministic_algorithms_enabled() and torchvision_ops() is not None:
        return _align_by_kernel(maps, boxes, image_index, strides, window, sampling, level, aligned)
    if sampling == 0:
        return roi_align_adaptive_reference(maps, boxes, image_index, strides, window, level, aligned)
    return roi_align_reference(maps, boxes, image_index, strides, window, sampling, level, aligned)


def roi_align_reference(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image_index: Tensor,
    strides: Sequence[int],
    window: int,
    sampling: int,
    level: Tensor,
    aligned: bool = False,
) -> Tensor:
    """`roi_align` as what it is: each bin is a weighted sum of (2 * sampling)^2 cells, summed by one `embedding_bag`.

    Sums run in float32 whatever the maps are, forward and backward, in an order that does not vary.
    """
    table = _cell_table(maps)
    facts = _level_facts(maps, boxes.device)[level]  # (R, 3)
    cells = _in_cells(boxes, strides, level, aligned)  # (R, 4)
    pooled = _weighted_bins(table, facts, cells, image_index, window, (sampling, sampling), aligned)
    return pooled.to(maps[0].dtype)


def roi_align_adaptive_reference(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image_index: Tensor,
    strides: Sequence[int],
    window: int,
    level: Tensor,
    aligned: bool = False,
) -> Tensor:
    """`roi_align` with `sampling` 0: boxes of the same number of samples, down and across, are pooled together.

    A box without extent is 0 where `aligned`, as in torchvision's kernel. No bin takes more samples than it would in a
    box as large as the map, which only matters for boxes that reach far beyond it.
    """
    table = _cell_table(maps)
    facts = _level_facts(maps, boxes.device)[level]  # (R, 3)
    cells = _in_cells(boxes, strides, level, aligned)  # (R, 4)
    extents = (cells[:, 2:] - cells[:, :2]).clamp(min=0.0 if aligned else 1.0).flip(1)  # (R, 2), vertical first
    counts = torch.minimum((extents / window).ceil().long(), facts[:, :2] // window + 1)  # (R, 2)
    groups, group = torch.unique(counts, dim=0, return_inverse=True)  # (N, 2), (R,)
    order = group.argsort(stable=True)  # (R,)
    sizes = torch.bincount(group, minlength=len(groups)).tolist()
    parts = []
    for (down, across), rows in zip(groups.tolist(), order.split(sizes), strict=True):
        samples = (max(down, 1), max(across, 1))
        part = _weighted_bins(table, facts[rows], cells[rows], image_index[rows], window, samples, aligned)
        parts.append(part if down * across else part * 0)
    if not parts:
        return _weighted_bins(table, facts, cells, image_index, window, (1, 1), aligned).to(maps[0].dtype)
    return torch.cat(parts)[order.argsort()].to(maps[0].dtype)  # (R, C, window, window)


def roi_pool(image_map: Tensor, boxes: Tensor, image_index: Tensor, stride: int, window: int) -> Tensor:
    """Maximum over each of window x window bins of whole cells (Fast R-CNN's quantised pooling); 0 for an empty bin.

    Args:
        image_map: (B, C, h, w).
        boxes: (R, 4) xyxy pixels; R may be 0, the result then still has a graph.
        image_index: (R,) int64, 0 ... B-1.
        stride: pixels per cell.
        window: bins per side.
    Returns:
        (R, C, window, window) in the map's type.
    """
    ops = torchvision_ops()
    if ops is None:
        return roi_pool_reference(image_map, boxes, image_index, stride, window)
    pooled: Tensor = ops.roi_pool(_kernel_type(image_map), _rois(boxes, image_index), (window, window), 1 / stride)
    return pooled.to(image_map.dtype)


def roi_pool_reference(image_map: Tensor, boxes: Tensor, image_index: Tensor, stride: int, window: int) -> Tensor:
    """`roi_pool` in plain torch, one region and bin at a time."""
    height, width = image_map.shape[2:]
    cells = _bounded(boxes.detach()) * (1 / stride)  # (R, 4)
    corners = torch.trunc(cells.double() + torch.copysign(torch.tensor(0.5), cells)).int()  # C's round: halves outward
    extents = (corners[:, 2:] - corners[:, :2] + 1).clamp(min=1).float() / window  # (R, 2), cells per bin
    steps = torch.arange(window + 1, device=boxes.device)[:, None]  # (window + 1, 1)
    pooled = []
    for image, start, extent in zip(image_index.tolist(), corners[:, :2], extents, strict=True):
        limit = start.new_tensor([width, height])
        low = ((steps[:-1] * extent).floor().int() + start).clamp(min=0).minimum(limit).tolist()  # (window, 2)
        high = ((steps[1:] * extent).ceil().int() + start).clamp(min=0).minimum(limit).tolist()
        bins = [
            image_map[image, :, low[y][1] : high[y][1], low[x][0] : high[x][0]].flatten(1)  # (C, cells)
            for y in range(window)
            for x in range(window)
        ]
        pooled.append(torch.stack([b.amax(1) if b.shape[1] else b.sum(1) for b in bins], dim=1))  # (C, window^2)
    if not pooled:
        return image_map[:0, :, :1, :1].expand(0, -1, window, window)
    return torch.stack(pooled).view(-1, image_map.shape[1], window, window)  # (R, C, window, window)


def _bounded(boxes: Tensor) -> Tensor:
    return boxes.nan_to_num(nan=0.0).clamp(-_BOUND, _BOUND)


def _kernel_type(image_map: Tensor) -> Tensor:
    """The kernels know no bf16, and sum fp16 in fp16."""
    return image_map.float() if image_map.dtype in (torch.bfloat16, torch.float16) else image_map


def _rois(boxes: Tensor, image_index: Tensor) -> Tensor:
    return torch.cat((image_index[:, None].to(boxes.dtype), _bounded(boxes.detach())), dim=1)  # (R, 5)


def _cell_table(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h, w) -> every cell of every level in one table (all cells, C) float32."""
    return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, m.shape[1]) for m in maps]).float()


def _level_facts(maps: Sequence[Tensor], device: torch.device) -> Tensor:
    """Of each level: height, width, and where it begins in the table of cells; (L, 3) int64."""
    counts = [m.shape[0] * m.shape[2] * m.shape[3] for m in maps]
    return torch.tensor([[*m.shape[2:], sum(counts[:i])] for i, m in enumerate(maps)], device=device)


def _in_cells(boxes: Tensor, strides: Sequence[int], level: Tensor, aligned: bool) -> Tensor:
    """Boxes (R, 4) in pixels -> in cells of their level."""
    boxes = boxes.detach()
    inverse = boxes.new_tensor([1 / stride for stride in strides])[level]  # (R,)
    return _bounded(boxes) * inverse[:, None] - (0.5 if aligned else 0.0)


def _weighted_bins(
    table: Tensor,
    facts: Tensor,
    boxes: Tensor,
    image_index: Tensor,
    window: int,
    sampling: tuple[int, int],
    aligned: bool,
) -> Tensor:
    """Boxes (R, 4) in cells of levels with `facts` (R, 3) -> (R, C, window, window); bins sampled (down, across)."""
    with torch.no_grad():
        height, width, first = facts.unbind(1)  # each (R,)
        x1, y1, x2, y2 = boxes.unbind(1)
        rows, row_weights = _taps(y1, y2, height, window, sampling[0], aligned)  # (R, window, T)
        columns, column_weights = _taps(x1, x2, width, window, sampling[1], aligned)  # (R, window, U)
        rows = (first + image_index * height * width)[:, None, None] + rows * width[:, None, None]
        cells = rows[:, :, None, :, None].int() + columns[:, None, :, None, :].int()  # (R, window, window, T, U)
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    taps = 4 * sampling[0] * sampling[1]
    pooled = F.embedding_bag(cells.view(-1, taps), table, mode="sum", per_sample_weights=weights.view(-1, taps))
    return pooled.view(-1, window, window, table.shape[1]).permute(0, 3, 1, 2)  # (R, C, window, window)


def _taps(
    start: Tensor, end: Tensor, length: Tensor, window: int, sampling: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Along one axis, the cells and weights each bin reads: (R, window, T) twice, T = 2 * sampling.

    start, end (R,) in cells; length (R,) is the map's. A sample more than one cell outside the map counts 0; one
    within that margin takes the value at the border.
    """
    extent = end - start if aligned else (end - start).clamp(min=1)  # (R,)
    per_bin = (extent / window)[:, None, None]  # (R, 1, 1)
    bins = torch.arange(window, device=start.device, dtype=start.dtype)[:, None]  # (window, 1)
    within = torch.arange(sampling, device=start.device, dtype=start.dtype) + 0.5  # (sampling,)
    at = start[:, None, None] + bins * per_bin + within * per_bin / sampling  # (R, window, sampling)
    last = length[:, None, None] - 1  # (R, 1, 1)
    inside = (at >= -1) & (at <= last + 1)
    at = at.clamp(min=0).minimum(last.to(at.dtype))
    low = at.to(torch.int64)
    high = (low + 1).minimum(last)
    share = at - low  # of the higher cell
    weights = torch.stack((1 - share, share), dim=-1) * inside[..., None] / sampling  # (R, window, sampling, 2)
    return torch.stack((low, high), dim=-1).flatten(2), weights.flatten(2)


def _align_by_kernel(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image_index: Tensor,
    strides: Sequence[int],
    window: int,
    sampling: int,
    level: Tensor,
    aligned: bool,
) -> Tensor:
    """torchvision's kernel, level by level."""
    ops = torchvision_ops()
    assert ops is not None
    rois, size = _rois(boxes, image_index), (window, window)
    if len(maps) == 1:
        only: Tensor = ops.roi_align(_kernel_type(maps[0]), rois, size, 1 / strides[0], sampling, aligned)
        return only.to(maps[0].dtype)
    pooled = maps[0].new_zeros((len(boxes), maps[0].shape[1], window, window))
    for position, (image_map, stride) in enumerate(zip(maps, strides, strict=True)):
        members = (level == position).nonzero()[:, 0]  # (r,)
        part = ops.roi_align(_kernel_type(image_map), rois[members], size, 1 / stride, sampling, aligned)
        pooled = pooled.index_copy(0, members, part.to(pooled.dtype))  # part of every level's graph, even when empty
    return pooled
