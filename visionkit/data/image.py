"""Reads any picture as upright uint8 RGB.

PIL alone: cv2 gives a picture for a truncated JPEG, and torchvision's decoder can crash on a corrupt PNG.
"""

import io
import os
from collections.abc import Callable
from typing import IO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from visionkit.errors import DataError

T = TypeVar("T")

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned upright by its EXIF tag.

    Gray, palette, 1-bit and CMYK are converted; an alpha channel is dropped (the stored colours stay as they are, as
    in cv2, nothing is composited); 16-bit gray is divided by 257, so that 65535 becomes 255; of a film the first frame.
    DataError with the path: no such file, not an image, truncated or corrupt, or float pixels, whose range is unknown.
    """
    return decode_image(read_bytes(path), os.fspath(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole file. DataError with the path when that is not possible."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise DataError(f"image {os.fspath(path)} does not exist.") from None
    except OSError as error:
        raise DataError(f"image {os.fspath(path)} cannot be read: {error.strerror or error}.") from None


def decode_image(data: bytes, name: str) -> np.ndarray:
    """`read_image` for the bytes of a file that is called `name` in errors."""
    return with_image(io.BytesIO(data), name, _pixels)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of the upright image, from the header alone. DataError as in `read_image`."""
    try:
        with open(path, "rb") as file:
            return with_image(file, os.fspath(path), _size)
    except FileNotFoundError:
        raise DataError(f"image {os.fspath(path)} does not exist.") from None
    except OSError as error:
        raise DataError(f"image {os.fspath(path)} cannot be read: {error.strerror or error}.") from None


def with_image(file: IO[bytes], name: str, function: Callable[[Image.Image], T]) -> T:
    """What `function` makes of an opened picture; whatever PIL raises on the way becomes a DataError with `name`.
    A DataError of the function's own stays as it is."""
    try:
        with Image.open(file) as image:
            return function(image)
    except (MemoryError, DataError):
        raise
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error, zlib.error and others
        reason = "not an image in a known format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"image {name} cannot be read: {reason.rstrip('.')}.") from None


def _size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    turned = _orientation(image) in (5, 6, 7, 8) and image.format != "TIFF"  # PIL has already turned the size of a TIFF
    return (width, height) if turned else (height, width)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # an unreadable EXIF block says nothing about the pixels
        return 1


def _pixels(image: Image.Image) -> np.ndarray:
    image.load()  # PIL turns a TIFF upright here and forgets the tag
    turn = _UPRIGHT.get(_orientation(image))
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown")
    if image.mode.startswith("I"):  # "I;16" and its kin; "I" is what some formats give for 16 bits
        deep = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.mode != "RGB":
        image = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    if turn is not None:
        image = image.transpose(turn)
    return np.array(image)  # (H, W, 3), a writable copy
