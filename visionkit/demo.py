"""What the demo writes: drawn pictures or a drawn video, and every detection as JSON."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from visionkit.data.scene_voc import write_palette
from visionkit.data.segmentation import spread_colors
from visionkit.data.source_images import Frame
from visionkit.errors import ConfigError, DataError
from visionkit.evaluation.rle import encode_mask
from visionkit.pictures import titled
from visionkit.run_folder import usable_folder
from visionkit.structures import Classification, Density, Detections, Localization, Segmentation
from visionkit.viz.density import density_picture
from visionkit.viz.draw import draw_detections, legible_scale
from visionkit.viz.semantic import legend, overlay

MOST_PROBABLE = 5  # classes of a picture that are written down

Found = Detections | Classification | Localization | Segmentation | Density


def records(found: Found, names: Sequence[str]) -> list[dict[str, Any]]:
    """What was found in an image as plain values, best first; boxes x1 y1 x2 y2 in pixels, masks COCO's run lengths.

    Of a classifier the most probable classes, without boxes; of a localizer the same classes, each with its box; of a
    segmenter the classes that occur, by their share of the pixels; of a counter the count.
    """
    if isinstance(found, Density):
        return [{"class": names[0], "count": found.count}]
    if isinstance(found, Segmentation):
        return _shares(found, names)
    if isinstance(found, Detections):
        each = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
        written = [{"class": names[label], "score": score, "box": box} for label, score, box in each]
        if found.masks is None:
            return written
        return [row | {"mask": encode_mask(mask)} for row, mask in zip(written, found.masks.numpy(), strict=True)]
    best = found.probabilities.topk(min(MOST_PROBABLE, len(names)))
    rows: list[dict[str, Any]] = []
    for label, score in zip(best.indices.tolist(), best.values.tolist(), strict=True):
        where = {"box": found.boxes[label].tolist()} if isinstance(found, Localization) else {}
        rows.append({"class": names[label], "score": score, **where})
    return rows


def _shares(found: Segmentation, names: Sequence[str]) -> list[dict[str, Any]]:
    counts = np.bincount(found.labels.numpy().ravel(), minlength=len(names))
    scores = np.bincount(found.labels.numpy().ravel(), found.scores.numpy().ravel(), minlength=len(names))
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    total = counts.sum()
    return [
        {"class": names[k], "share": float(counts[k] / total), "score": float(scores[k] / counts[k])} for k in order
    ]


def describe(name: str, found: Found, names: Sequence[str], threshold: float) -> str:
    """One line for the console: `street.jpg: 2 car, 1 person`, or `cat.jpg: tabby 0.83, lynx 0.10`, or with a box
    `cat.jpg: tabby 0.83 at 12 30 200 180`."""
    if isinstance(found, Density):
        return f"{name}: {found.count:.1f} {names[0]}"
    if isinstance(found, Segmentation):
        return f"{name}: " + ", ".join(f"{r['class']} {r['share']:.0%}" for r in records(found, names)[:4])
    if isinstance(found, Localization):
        best = records(found, names)[0]
        return f"{name}: {best['class']} {best['score']:.2f} at {' '.join(f'{side:.0f}' for side in best['box'])}"
    if isinstance(found, Classification):
        return f"{name}: " + ", ".join(f"{r['class']} {r['score']:.2f}" for r in records(found, names)[:2])
    counts = Counter(names[label] for label in found.labels[found.scores >= threshold].tolist())
    return f"{name}: {', '.join(f'{n} {c}' for c, n in counts.most_common()) or f'nothing above {threshold:g}'}"


def _drawn(frame: Frame, found: Found, names: Sequence[str], threshold: float, all_named: bool = False) -> np.ndarray:
    """The picture with its boxes, or its most probable classes above it; a small one is enlarged, or the names would
    hide it. With `all_named` a legend has every class, so that the frames of a video are of one size."""
    if isinstance(found, Classification):
        return titled(frame.image, [f"{r['class']} {r['score']:.2f}" for r in records(found, names)[:3]], side=192)
    if isinstance(found, Density):
        return density_picture(frame.image, found.density.numpy())
    if isinstance(found, Segmentation):
        classes = found.labels.numpy()  # (H, W)
        return _painted(frame.image, classes, names, range(len(names)) if all_named else np.unique(classes).tolist())
    masks = None
    if isinstance(found, Localization):  # one object, whatever its probability
        best = found.probabilities.argmax()[None]
        boxes, labels, scores = found.boxes[best], best, found.probabilities[best]
    else:
        kept = found.scores >= threshold
        boxes, labels, scores = found.boxes[kept], found.labels[kept], found.scores[kept]
        masks = None if found.masks is None else found.masks[kept].numpy()
    return draw_detections(
        frame.image,
        boxes.numpy(),
        labels.numpy(),
        scores.numpy(),
        names=names,
        masks=masks,
        scale=legible_scale((frame.image.shape[0], frame.image.shape[1])),
    )


def _painted(image: np.ndarray, labels: np.ndarray, names: Sequence[str], shown: Sequence[int]) -> np.ndarray:
    """The picture with its classes as a veil of colours, and a legend of some of them below it."""
    colors = spread_colors(len(names))
    picture = overlay(image, labels, colors)
    scale = legible_scale((picture.shape[0], picture.shape[1]))
    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    key = legend([names[k] for k in shown], colors[list(shown)], picture.shape[1])
    return np.concatenate([picture, key])


def source_and_output(source: Any, output: Any) -> tuple[Path, Path]:
    """Both as paths. ConfigError when either is none, or the output lies where it would overwrite the source's files.

    DataError when the source does not exist.
    """
    if not isinstance(source, str) or not isinstance(output, str):
        given = f"source={source}" if not isinstance(source, str) else f"output={output}"
        raise ConfigError(f"{given} is not a path: source is an image, a folder of images or a video, output a folder.")
    path, folder = Path(source), usable_folder(output)
    if not path.exists():
        raise DataError(f"{path} does not exist: source is an image, a folder of images or a video file.")
    if folder.resolve() == (path if path.is_dir() else path.parent).resolve():
        raise ConfigError(
            f"output={folder} is where the source lies, whose files would be overwritten; choose another."
        )
    return path, folder


class PictureWriter:
    """One JPEG and one JSON file for each picture, under the picture's own name; of a segmenter the label map too, as a
    PNG file with a palette."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.used: set[Path] = set()

    def __enter__(self) -> "PictureWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def write(self, frame: Frame, found: Found, names: Sequence[str], threshold: float) -> None:
        target = self._free(self.folder / frame.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_jpeg(target.with_name(target.name + ".jpg"), _drawn(frame, found, names, threshold))
        if isinstance(found, Segmentation):
            write_palette(target.with_name(target.name + ".png"), found.labels.numpy().astype(np.uint8))
        height, width = frame.image.shape[:2]
        content = {"source": str(frame.path), "height": height, "width": width, "detections": records(found, names)}
        target.with_name(target.name + ".json").write_text(json.dumps(content, indent=1) + "\n")

    def _free(self, wished: Path) -> Path:
        """`a` for a.jpg, `a_png` for an a.png beside it: a path without a suffix that no picture has had."""
        stem = wished.with_suffix("")
        names = itertools.chain(
            [stem.name, f"{stem.name}_{wished.suffix[1:]}"], map(f"{stem.name}_{{}}".format, itertools.count(2))
        )
        free = next(path for path in map(stem.with_name, names) if path not in self.used)
        self.used.add(free)
        return free


class VideoWriter:
    """One video of the drawn frames, and one JSON file with a list per frame."""

    def __init__(self, folder: Path, source: Path, rate: float):
        self.folder, self.source, self.rate = folder, source, rate
        self.frames: list[dict[str, Any]] = []
        self.video: cv2.VideoWriter | None = None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.video is not None:
            self.video.release()
        if error is None:
            content = {"source": str(self.source), "frames_per_second": self.rate, "frames": self.frames}
            (self.folder / f"{self.source.stem}.json").write_text(json.dumps(content, indent=1) + "\n")

    def write(self, frame: Frame, found: Found, names: Sequence[str], threshold: float) -> None:
        drawn = _drawn(frame, found, names, threshold, all_named=True)
        if self.video is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self.source.stem}.mp4"
            size = (drawn.shape[1], drawn.shape[0])
            self.video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, size)
            if not self.video.isOpened():
                raise DataError(f"{path} cannot be written as a video.")
        self.video.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        self.frames.append({"frame": frame.name, "detections": records(found, names)})


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise DataError(f"{path} cannot be encoded as a JPEG.")
    path.write_bytes(data.tobytes())
