"""Checks of COCO segmentations before they reach pycocotools.

Its C code trusts them: an RLE that stops early leaves uninitialised memory in the mask, a NaN or huge polygon
coordinate never returns, and a "polygon" of two points is taken for a box.
"""

from typing import Any

from visionkit.data.checks import BoxChecks


def checked_segmentation(segmentation: Any, size: tuple[int, int], culprit: str, checks: BoxChecks) -> Any:
    """The segmentation in a form that is safe to decode, or None where there is none.

    Polygons of fewer than three points are dropped and noted. DataError naming `culprit`: anything malformed, or an
    RLE that is not of the image's `size` (height, width).
    """
    if isinstance(segmentation, dict):
        return _checked_rle(segmentation, size, culprit, checks)
    if segmentation is None or segmentation == []:
        return None
    if not isinstance(segmentation, list) or not all(isinstance(polygon, list) for polygon in segmentation):
        raise checks.error(culprit, "the segmentation is neither a list of polygons nor an RLE")
    whole = [polygon for polygon in segmentation if len(polygon) >= 6]
    for polygon in whole:
        if len(polygon) % 2:
            raise checks.error(culprit, f"a polygon has {len(polygon)} coordinates, an odd number")
        checks.finite(polygon, culprit, "a polygon")
    for _ in range(len(segmentation) - len(whole)):
        checks.note("with a polygon of fewer than three points (polygon dropped)", culprit)
    return whole or None


def _checked_rle(rle: dict[str, Any], size: tuple[int, int], culprit: str, checks: BoxChecks) -> dict[str, Any]:
    counts, stated = rle.get("counts"), rle.get("size")
    if stated != list(size):
        raise checks.error(culprit, f"the RLE is of size {stated}, the image of {list(size)}")
    if isinstance(counts, str):
        runs = decode_runs(counts)
    else:
        runs = counts if isinstance(counts, list) and all(isinstance(run, int) for run in counts) else None
    if runs is None:
        raise checks.error(culprit, "the RLE's counts are missing or malformed")
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise checks.error(culprit, f"the RLE covers {sum(runs)} pixels, the image has {size[0] * size[1]}")
    return {"size": stated, "counts": counts}


def decode_runs(text: str) -> list[int] | None:
    """Run lengths of COCO's compressed RLE, or None if it is malformed.

    5 bits a character, lowest first, the sixth says that more follow; from the fourth run on, a run is stored as its
    difference to the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            return None
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift  # the sign
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return None if shift else runs
