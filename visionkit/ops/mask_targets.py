"""What a mask head learns: the truth's mask inside each region, at the head's resolution (Mask R-CNN, sec. 3.1)."""

import torch
from torch import Tensor

from visionkit.ops.kernels import torchvision_ops

_BOUND = 1e5  # pixels; larger than any image


def mask_targets(
    masks: Tensor, sizes: Tensor, boxes: Tensor, image_index: Tensor, matched_index: Tensor, side: int
) -> Tensor:
    """The masks of matched truths, cut out and averaged by RoIAlign with about one sample a pixel, as in torchvision.

    Shares of a cell stay shares: a border gives values between 0 and 1. On the CPU `mask_targets_reference`, which
    takes half the time of torchvision's kernel; on CUDA that kernel.

    Args:
        masks: (B, G, H, W) bool, in the pixels of the batch.
        sizes: (B, 2) int64, (height, width) of the pictures without the padding: an object that a border cuts off ends
            there and not half a pixel before it.
        boxes: (F, 4) xyxy pixels of the batch; F may be 0.
        image_index: (F,) int64, 0 ... B-1.
        matched_index: (F,) int64, 0 ... G-1.
        side: cells a side.
    Returns:
        (F, side, side) float32 in 0 ... 1, without a gradient.
    """
    ops = torchvision_ops()
    if not masks.is_cuda or ops is None:
        return mask_targets_reference(masks, sizes, boxes, image_index, matched_index, side)
    found = boxes.new_zeros((len(boxes), side, side), dtype=torch.float32)
    for image, (height, width) in enumerate(sizes.tolist()):
        rows = (image_index == image).nonzero()[:, 0]  # (f,)
        used, member = torch.unique(matched_index[rows], return_inverse=True)  # (u,), (f,)
        rois = torch.cat((member[:, None].float(), _bounded(boxes[rows])), dim=1)  # (f, 5)
        shapes = masks[image, used, None, :height, :width].float()  # (u, 1, h, w)
        found[rows] = ops.roi_align(shapes, rois, (side, side), 1.0, -1, False)[:, 0]
    return found


@torch.no_grad()
def mask_targets_reference(
    masks: Tensor, sizes: Tensor, boxes: Tensor, image_index: Tensor, matched_index: Tensor, side: int
) -> Tensor:
    """`mask_targets` as what it is: rows @ mask @ columns, where either matrix averages samples along one axis."""
    if not len(boxes):
        return boxes.new_zeros((0, side, side))
    boxes = _bounded(boxes)
    extents = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)  # (F, 2)
    shapes = sizes.tolist()
    samples = (extents / side).ceil().int().tolist()  # in each cell, along x and y
    found = []
    with torch.autocast(boxes.device.type, enabled=False):  # it would round the products
        for i, (image, truth) in enumerate(zip(image_index.tolist(), matched_index.tolist(), strict=True)):
            height, width = shapes[image]
            left, columns = _average(boxes[i, 0], extents[i, 0], width, side, samples[i][0])  # (side, w)
            top, rows = _average(boxes[i, 1], extents[i, 1], height, side, samples[i][1])  # (side, h)
            window = masks[image, truth, top : top + rows.shape[1], left : left + columns.shape[1]]  # (h, w)
            found.append(rows @ window.float() @ columns.T)
    return torch.stack(found)  # (F, side, side)


def _average(start: Tensor, extent: Tensor, length: int, side: int, samples: int) -> tuple[int, Tensor]:
    """Along one axis, the first pixel that any cell reads, and what share each pixel from there on has: (side, n).

    A cell is the mean of `samples` points, and a point lies between two pixels. A point more than one pixel outside
    the picture counts 0; one within that margin takes the value at the border.
    """
    per_cell = extent / side
    cells = torch.arange(side, device=start.device)[:, None]  # (side, 1)
    within = (torch.arange(samples, device=start.device) + 0.5) / samples  # (samples,)
    at = start + cells * per_cell + within * per_cell  # (side, samples)
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    first, last = int(at[0, 0]), min(int(at[-1, -1]) + 1, length - 1)
    pixels = torch.arange(first, last + 1, device=start.device)  # (n,)
    shares = (1 - (at[..., None] - pixels).abs()).clamp(min=0) * inside[..., None]  # (side, samples, n)
    return first, shares.mean(dim=1)


def _bounded(boxes: Tensor) -> Tensor:
    """An infinite coordinate makes torchvision's kernel read outside the mask."""
    return boxes.detach().float().nan_to_num(nan=0.0).clamp(-_BOUND, _BOUND)
