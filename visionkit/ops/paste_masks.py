"""Small masks of boxes, pasted into the picture (Mask R-CNN, sec. 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

_BOUND = 1e5  # pixels; larger than any image


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Each mask enlarged to its box by bilinear interpolation and cut at a threshold, as torchvision does it.

    A frame of zeros is put around a mask and its box grows with it, so that the interpolation knows where the object
    ends; then the box is rounded down to whole pixels, its last one included. Only the part of a box that lies in the
    picture is ever computed, one box at a time: beside the result no more than one picture of floats is held.

    Args:
        masks: (N, M, M) floating point, 0 ... 1; N may be 0.
        boxes: (N, 4) xyxy pixels, inside the picture or not.
        size: (height, width) of the picture.
        threshold: pixels above it belong to the object.
    Returns:
        (N, height, width) bool.
    """
    found = torch.zeros((len(masks), *size), dtype=torch.bool, device=masks.device)
    side = masks.shape[-1] + 2
    with torch.autocast(masks.device.type, enabled=False):  # it would round the products
        framed = F.pad(masks.float(), (1, 1, 1, 1))  # (N, side, side)
        for picture, mask, (x1, y1, x2, y2) in zip(found, framed, _whole_boxes(boxes, side), strict=True):
            top, bottom = max(y1, 0), min(max(y2, y1) + 1, size[0])
            left, right = max(x1, 0), min(max(x2, x1) + 1, size[1])
            if top < bottom and left < right:
                rows = _weights(top - y1, bottom - y1, max(y2 - y1, 0) + 1, mask)  # (h, side)
                columns = _weights(left - x1, right - x1, max(x2 - x1, 0) + 1, mask)  # (w, side)
                picture[top:bottom, left:right] = rows @ mask @ columns.T > threshold
    return found


def paste_masks_reference(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """`paste_masks` in plain words: enlarge the whole mask, cut out what lies in the picture."""
    found = torch.zeros((len(masks), *size), dtype=torch.bool)
    framed = F.pad(masks.float(), (1, 1, 1, 1))
    for picture, mask, (x1, y1, x2, y2) in zip(found, framed, _whole_boxes(boxes, framed.shape[-1]), strict=True):
        height, width = max(y2 - y1, 0) + 1, max(x2 - x1, 0) + 1
        large = F.interpolate(mask[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
        for y in range(max(y1, 0), min(y1 + height, size[0])):
            for x in range(max(x1, 0), min(x1 + width, size[1])):
                picture[y, x] = large[y - y1, x - x1] > threshold
    return found


def _whole_boxes(boxes: Tensor, side: int) -> list[list[int]]:
    """Boxes (N, 4) of masks, grown for the frame that makes these `side` cells wide, in whole pixels."""
    boxes = boxes.nan_to_num(nan=0.0).clamp(-_BOUND, _BOUND)
    middle = (boxes[:, :2] + boxes[:, 2:]) * 0.5  # (N, 2)
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * (side / (side - 2))
    whole: list[list[int]] = torch.cat((middle - half, middle + half), dim=1).to(torch.int64).tolist()
    return whole


def _weights(first: int, last: int, length: int, mask: Tensor) -> Tensor:
    """How pixels first ... last - 1 of `length` mix a mask's cells along one axis: (last - first, side)."""
    side = mask.shape[-1]
    at = (torch.arange(first, last, device=mask.device) + 0.5) * (side / length) - 0.5  # in cells, between centres
    cells = torch.arange(side, device=mask.device)
    return (1 - (at.clamp(0, side - 1)[:, None] - cells).abs()).clamp(min=0)
