"""Run lengths of masks as COCO writes them: down the columns, background first, differences packed in 5-bit characters.

Own code because predictions are written, and other people's are checked, where pycocotools is not imported; its
decoder trusts the string and reads past the picture when the string lies.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

_MAX_CHARACTERS = 7  # of one run: 35 bits


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Mask (H, W) bool -> `{"size": [H, W], "counts": str}`, the string pycocotools would give."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")  # (H * W,)
    if flat.size == 0:
        return {"size": list(mask.shape), "counts": ""}
    bounds = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    counts = np.diff(bounds)
    if flat[0]:
        counts = np.concatenate([[0], counts])
    return {"size": list(mask.shape), "counts": compress(counts)}


def compress(counts: np.ndarray | Sequence[int]) -> str:
    """Run lengths (M,) -> COCO's string: from the fourth on, the difference to the run before the last."""
    rest = np.array(counts, dtype=np.int64)
    rest[3:] -= np.asarray(counts, dtype=np.int64)[1:-2]
    characters = np.zeros((len(rest), _MAX_CHARACTERS), dtype=np.uint8)  # (M, 7), zero = not used
    open_ = np.ones(len(rest), dtype=bool)
    for column in range(_MAX_CHARACTERS):
        low = rest & 0x1F
        rest >>= 5  # arithmetic: a negative number ends as -1
        more = np.where(low & 0x10, rest != -1, rest != 0)
        characters[open_, column] = (low | np.where(more, 0x20, 0))[open_] + 48
        open_ &= more
        if not open_.any():
            break
    return characters[characters > 0].tobytes().decode("ascii")


def decompress(text: str | bytes) -> np.ndarray:
    """COCO's string -> run lengths (M,) int64. ValueError when the string cannot be one."""
    raw = text.encode("ascii") if isinstance(text, str) else text  # UnicodeEncodeError is a ValueError
    codes = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48  # (C,)
    if codes.size == 0:
        return codes
    if codes.min() < 0 or codes.max() > 63:
        raise ValueError("a character outside the alphabet")
    last = (codes & 0x20) == 0
    if not last[-1]:
        raise ValueError("it ends inside a number")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])  # (M,)
    lengths = np.diff(np.concatenate([starts, [codes.size]]))
    if lengths.max() > _MAX_CHARACTERS:
        raise ValueError("a number too large")
    place = np.arange(codes.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    values -= np.where(codes[last] & 0x10, np.int64(1) << (5 * lengths), 0)  # sign
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def runs(rle: dict[str, Any]) -> np.ndarray:
    """Run lengths (M,) int64 of a COCO mask, packed or plain. ValueError or TypeError when they are neither."""
    counts = rle["counts"]
    return decompress(counts) if isinstance(counts, str | bytes) else np.asarray(counts, dtype=np.int64)


def fault(segmentation: Any, size: tuple[int, int], limit: float) -> str | None:
    """What is wrong with a COCO segmentation (run lengths or polygons) in an image of `size` (h, w), or None."""
    if isinstance(segmentation, dict):
        return _rle_fault(segmentation, size)
    if not isinstance(segmentation, list | tuple) or not segmentation:
        return "its segmentation is neither run lengths nor a list of polygons"
    for polygon in segmentation:
        try:
            points = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError):
            return "its polygon is not a list of numbers"
        if points.ndim != 1 or points.size < 6 or points.size % 2:
            return "its polygon has not three or more points of two numbers"
        if not (np.abs(points) <= limit).all():  # also False for NaN
            return f"its polygon has a coordinate that is NaN, infinite or beyond {limit:g}"
    return None


def _rle_fault(rle: dict[str, Any], size: tuple[int, int]) -> str | None:
    if "counts" not in rle or "size" not in rle:
        return "its run lengths have no 'counts' or no 'size'"
    if rle["size"] != list(size) and tuple(rle["size"]) != tuple(size):
        return f"its mask is {rle['size']} but the image is {list(size)} (height, width)"
    try:
        lengths = runs(rle)
    except (TypeError, ValueError, OverflowError) as error:
        return f"its run lengths cannot be decoded ({error})"
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        return f"its run lengths do not add up to the image's {size[0] * size[1]} pixels"
    return None
