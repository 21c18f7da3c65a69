"""Pictures to look at: an image, a folder of images, or a video file, one RGB frame after the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from visionkit.data.image import read_image
from visionkit.errors import DataError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"}
VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}


class Frame(NamedTuple):
    name: str  # unique among the frames of a source: the path below the folder, or frame_000012
    path: Path  # the file it is from
    image: np.ndarray  # (H, W, 3) uint8 RGB


def is_video(source: Path) -> bool:
    return source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES


def list_images(source: Path) -> list[Path]:
    """The image files of a folder and below it, sorted, without hidden ones; or the one file. DataError when there is
    nothing."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source} does not exist: source is an image, a folder of images or a video file.")
    found = sorted(p for p in source.rglob("*") if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{source} holds no image (looked for {', '.join(sorted(IMAGE_SUFFIXES))}).")
    seen = [path for path in found if not any(part.startswith(".") for part in path.relative_to(source).parts)]
    if not seen:
        raise DataError(f"{source} holds no image that is not hidden.")
    return seen


def video_rate(source: Path) -> float:
    """Frames a second as the file states them; 25 if it does not."""
    capture = cv2.VideoCapture(str(source))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return rate if 0 < rate < 1000 else 25.0


def video_frames(source: Path) -> Iterator[Frame]:
    """All frames of a video file. DataError when it cannot be opened or holds none."""
    capture = cv2.VideoCapture(str(source))
    count = 0
    try:
        while True:
            read, frame = capture.read()
            if not read:
                break
            yield Frame(f"frame_{count:06d}", source, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            count += 1
    finally:
        capture.release()
    if count == 0:
        raise DataError(f"{source} cannot be read as a video.")


def frames(source: Path) -> Iterator[Frame]:
    """Every picture of a source. A broken image of a folder is a DataError that names it."""
    if is_video(source):
        yield from video_frames(source)
        return
    for path in list_images(source):
        name = path.relative_to(source).as_posix() if source.is_dir() else path.name
        yield Frame(name, path, read_image(str(path)))
