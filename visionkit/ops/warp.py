"""Regions as pictures of their own: cut out with some context and warped to a square (R-CNN, Girshick et al. 2014,
app. A: "anisotropic scaling with context")."""

import torch
import torch.nn.functional as F
from torch import Tensor

_BOUND = 1e6  # pixels; NaN and infinity would sample undefined memory in some kernels


def warp(images: Tensor, boxes: Tensor, image_index: Tensor, sizes: Tensor, side: int, context: float = 0.0) -> Tensor:
    """Bilinear samples of each region, as wide as high; what lies beyond its image is 0, the mean of the pixels.

    The box fills the middle `side - 2 * context` pixels of the square, so that the context is `context` pixels wide in
    the warped frame, whatever the box's shape. Not antialiased, as the paper's code; a box of less than a pixel counts
    as one pixel.

    Args:
        images: (B, C, H, W) float, normalised, padded at the right and bottom.
        boxes: (R, 4) xyxy pixels; R may be 0.
        image_index: (R,) int64, 0 ... B-1.
        sizes: (B, 2) int64, (height, width) without the padding.
        side: pixels of the square.
        context: pixels of the square, less than side / 2.
    Returns:
        (R, C, side, side), no gradient with respect to the boxes. A region depends on its own image and box alone.
    """
    if not 0 <= context < side / 2:
        raise ValueError(f"warp: {context} pixels of context leave nothing of a side of {side}")
    crops = images.new_zeros(len(boxes), images.shape[1], side, side)
    for i in range(len(images)):
        rows = (image_index == i).nonzero()[:, 0]  # (r,)
        if len(rows) == 0:
            continue
        height, width = int(sizes[i, 0]), int(sizes[i, 1])
        y, inside_y = _positions(boxes[rows, 1], boxes[rows, 3], height, side, context)  # (r, side)
        x, inside_x = _positions(boxes[rows, 0], boxes[rows, 2], width, side, context)  # (r, side)
        grid = torch.stack(  # from -1 to 1 over the canvas, corners at the pixels' outer edges
            (
                (x * (2 / images.shape[3]) - 1)[:, None, :].expand(-1, side, -1),
                (y * (2 / images.shape[2]) - 1)[:, :, None].expand(-1, -1, side),
            ),
            dim=-1,
        )  # (r, side, side, 2)
        grid = grid.reshape(1, -1, side, 2).to(images.dtype)  # the regions below one another: one call, one image
        found = F.grid_sample(images[i : i + 1], grid, mode="bilinear", padding_mode="border", align_corners=False)
        found = found.view(images.shape[1], len(rows), side, side).transpose(0, 1)  # (r, C, side, side)
        inside = inside_y[:, None, :, None] & inside_x[:, None, None, :]  # (r, 1, side, side)
        crops[rows] = found * inside
    return crops


def _positions(start: Tensor, end: Tensor, length: int, side: int, context: float) -> tuple[Tensor, Tensor]:
    """Where along one axis the pixels of the square lie in the image, (R, side), and whether inside of it."""
    start, end = (edge.nan_to_num(nan=0.0).clamp(-_BOUND, _BOUND) for edge in (start, end))
    extent = (end - start).clamp(min=1) * (side / (side - 2 * context))  # (R,), with the context
    share = (torch.arange(side, device=start.device, dtype=start.dtype) + 0.5) / side - 0.5  # (side,), -0.5 ... 0.5
    at = (0.5 * (start + end))[:, None] + share * extent[:, None]  # (R, side)
    inside = (at >= 0) & (at < length)
    return at.clamp(0.5, length - 0.5), inside  # the border pixel's colour up to the border


def warp_reference(
    images: Tensor, boxes: Tensor, image_index: Tensor, sizes: Tensor, side: int, context: float = 0.0
) -> Tensor:
    """`warp` one pixel at a time."""
    crops = images.new_zeros(len(boxes), images.shape[1], side, side)
    for r, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        i = int(image_index[r])
        height, width = sizes[i].tolist()
        stretch = side / (side - 2 * context)
        for row in range(side):
            y = (y1 + y2) / 2 + ((row + 0.5) / side - 0.5) * max(y2 - y1, 1) * stretch
            for column in range(side):
                x = (x1 + x2) / 2 + ((column + 0.5) / side - 0.5) * max(x2 - x1, 1) * stretch
                if 0 <= y < height and 0 <= x < width:
                    crops[r, :, row, column] = _bilinear(images[i, :, :height, :width], y, x)
    return crops


def _bilinear(image: Tensor, y: float, x: float) -> Tensor:
    """(C, h, w) at a point in pixels, whose centres are at 0.5, 1.5 ... -> (C,)."""
    height, width = image.shape[1:]
    y, x = min(max(y - 0.5, 0), height - 1), min(max(x - 0.5, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = image[:, top, left] * (1 - (x - left)) + image[:, top, right] * (x - left)
    below = image[:, bottom, left] * (1 - (x - left)) + image[:, bottom, right] * (x - left)
    return above * (1 - (y - top)) + below * (y - top)
