"""Decodes only what an augmentation will show of a picture.

Of a JPEG that are the rows down to the end of the crop, at 1/2, 1/4 or 1/8 of their size where the crop is that much
larger than needed (libjpeg's scaled inverse DCT). cv2 reads them: it stands on the same libjpeg-turbo as PIL and gives
the same pixels, in three quarters of the time. What is no plain JPEG (upright, gray or RGB of 8 bits, complete) is read
as everywhere else, by `visionkit.data.image`, which also says what is wrong with a broken file. Damage that lies behind
the crop may go unnoticed here; it does not change the pixels.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from visionkit.data.crop_plan import Window
from visionkit.data.image import decode_image
from visionkit.data.pictures import Pictures

_ORIENTATION, _TURNED = 0x0112, range(2, 9)  # EXIF tag, and its values that ask for a turn
_START, _END, _SCAN, _RESTARTS = b"\xff\xd8", b"\xff\xd9", 0xDA, 0xDD
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_BELOW = 16  # rows below the crop that colour interpolation may look at
_BLOCKS = 16  # rows that are coded together (8 where the colours are not subsampled)
_READ = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def read_window(
    pictures: Pictures, i: int, window_of: Callable[[tuple[int, int]], Window]
) -> tuple[np.ndarray, tuple[int, int]]:
    """A part of picture i.

    Args:
        window_of: (height, width) of the whole upright picture -> the part.
    Returns:
        The part (h, w, 3) uint8 RGB, at 1 / shrink of its size where the file could be decoded so and at its full size
        otherwise; and (height, width) of the whole.
    Raises:
        DataError: names the file that cannot be read.
    """
    data = pictures.encoded(i)
    if data is None:
        image = pictures.read(i)
    else:
        size = plain_jpeg_size(data)
        if size is not None:
            part = decode_window(data, size, window_of(size))
            if part is not None:
                return part, size
        image = decode_image(data, pictures.name(i))
    size = (image.shape[0], image.shape[1])
    return window_of(size).cut(image), size


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of an upright gray or RGB JPEG of 8 bits that has its end; None for everything else."""
    if not (data.startswith(_START) and data.endswith(_END)):  # cut off, or no JPEG
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            upright = image.getexif().get(_ORIENTATION, 1) not in _TURNED
            plain = image.format == "JPEG" and image.mode in ("L", "RGB")  # MPO files hold several pictures
            return (image.height, image.width) if plain and upright else None
    except Exception:  # whatever it is, `decode_image` says it in a sentence
        return None


def decode_window(data: bytes, size: tuple[int, int], window: Window) -> np.ndarray | None:
    """The part of a plain JPEG of `size` (height, width), at 1 / window.shrink of its size, (h, w, 3) uint8 RGB.

    None where the file is broken or of a kind that is better read whole.
    """
    header = _read_header(data)
    if header is None:
        return None
    shrink, rows, stream = window.shrink, size[0], np.frombuffer(data, np.uint8)
    needed = -(-(window.top + window.height + _BELOW) // _BLOCKS) * _BLOCKS
    if header.stops_early and needed < rows:
        # A decoder stops after the rows that the header states. Without the mark of the end it does not look for it in
        # the rest of the data; and where the data are too few even for these rows, OpenCV from 5.0 on gives nothing.
        rows, stream = needed, stream[: -len(_END)].copy()
        stream[header.height_at : header.height_at + 2] = divmod(rows, 256)
    try:
        image = cv2.imdecode(stream, _READ[shrink] | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if image is None or image.shape[:2] != (-(-rows // shrink), -(-size[1] // shrink)):
        return None
    small = Window(*(edge // shrink for edge in (window.top, window.left, window.height, window.width)))
    return cv2.cvtColor(small.cut(image), cv2.COLOR_BGR2RGB)  # (h, w, 3)


class _Header(NamedTuple):
    height_at: int  # where the picture's height stands, two bytes
    stops_early: bool  # its rows come one after the other, and nothing between them but data


def _read_header(data: bytes) -> _Header | None:
    """What stands before the first scan (ITU-T T.81, annex B); None for a kind that is not read here."""
    at, height_at, kind, restarts = len(_START), 0, 0, False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _SCAN:
            known = kind in (*_SEQUENTIAL, _PROGRESSIVE)
            return _Header(height_at, kind != _PROGRESSIVE and not restarts) if known else None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame; the three are tables
            height_at, kind = at + 5, marker
        restarts |= marker == _RESTARTS and data[at + 4 : at + 6] != b"\0\0"
        at += 2 + length
    return None
