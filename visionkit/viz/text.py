"""Text in pictures: a real font (class names are not always ASCII) and the place where a label hides least."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Rectangle = tuple[float, float, float, float]  # x1 y1 x2 y2


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans Bold, which comes with matplotlib; `size` is the height in pixels."""
    import matplotlib  # here: finding the font is all that is needed of it

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans-Bold.ttf"), size)


def fit(text: str, size: int, width: float) -> str:
    """The text, shortened with an ellipsis until it is at most `width` pixels wide."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def place(
    box: Rectangle, width: float, height: float, picture: tuple[float, float], taken: list[Rectangle]
) -> Rectangle:
    """Where a label of this size goes: at a corner of the box, inside the picture (w, h), least over other labels.

    Tried in turn: above the box, inside its top, below it, inside its bottom, each at the left and at the right.
    """
    x1, y1, x2, y2 = box
    best, least = (0.0, 0.0, width, height), float("inf")
    for y in (y1 - height, y1, y2, y2 - height):
        for x in (x1, x2 - width):
            left = min(max(x, 0.0), max(picture[0] - width, 0.0))
            top = min(max(y, 0.0), max(picture[1] - height, 0.0))
            spot = (left, top, left + width, top + height)
            hidden = sum(_overlap(spot, other) for other in taken)
            if hidden < least:
                best, least = spot, hidden
        if least == 0:
            break
    return best


def _overlap(a: Rectangle, b: Rectangle) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
