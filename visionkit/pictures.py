"""What a run shows to be looked at: samples as the network sees them, detections beside the truth, curves."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from visionkit.data.image import read_image
from visionkit.data.index import DetectionIndex
from visionkit.data.loaders import TrainLoader
from visionkit.data.segmentation import spread_colors
from visionkit.errors import DataError
from visionkit.structures import Batch, Detections, Targets
from visionkit.viz.draw import draw_detections, legible_scale
from visionkit.viz.mosaic import mosaic
from visionkit.viz.points import draw_points
from visionkit.viz.semantic import overlay

SHOWN = 8  # pictures on a sheet of detections
PICTURES = (".jpg", ".jpeg", ".png")


def write_image(path: Path, image: np.ndarray) -> None:
    """An RGB image (H, W, 3) uint8 as JPEG or PNG, by the suffix. DataError when it cannot be written."""
    if path.suffix.lower() not in PICTURES:
        raise DataError(f"{path} cannot be written: pictures are written as {', '.join(PICTURES)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise DataError(f"{path} cannot be encoded as a picture.")
    path.write_bytes(data.tobytes())


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """An RGB image (H, W, 3) uint8 as the content of a JPEG file. DataError when it cannot be encoded."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise DataError(f"a picture of {image.shape[1]} x {image.shape[0]} pixels cannot be encoded as a JPEG.")
    return data.tobytes()


def drawn_samples(
    batch: Batch, targets: Targets, names: Sequence[str], colors: np.ndarray | None = None
) -> list[np.ndarray]:
    """The images of a training batch without their padding, with their truth; label maps in `colors` (K, 3) uint8, or
    in VOC's."""
    pictures = []
    for i, (height, width) in enumerate(batch.sizes.tolist()):
        image = batch.pixels[i, :, :height, :width].permute(1, 2, 0).contiguous().numpy()  # (h, w, 3)
        if targets.image_labels is not None:
            pictures.append(titled(image, [names[int(targets.image_labels[i])]]))
            continue
        if targets.semantic is not None:
            labels = targets.semantic[i, :height, :width].numpy()
            pictures.append(overlay(image, labels, spread_colors(len(names)) if colors is None else colors))
            continue
        if targets.points is not None and targets.points_valid is not None:
            pictures.append(draw_points(image, targets.points[i][targets.points_valid[i]].numpy()))
            continue
        valid = targets.valid[i]
        masks = None if targets.masks is None else targets.masks[i, valid, :height, :width]
        pictures.append(
            draw_detections(
                image,
                targets.boxes[i][valid],
                targets.labels[i][valid],
                names=names,
                masks=masks,
                crowd=targets.crowd[i][valid],
                scale=legible_scale((height, width), 320),
            )
        )
    return pictures


def titled(image: np.ndarray, lines: Sequence[str], side: int = 128) -> np.ndarray:
    """A picture (H, W, 3) uint8, enlarged by whole numbers to about `side` pixels, with lines of text above it."""
    factor = max(1, side // max(1, min(image.shape[:2])))
    picture = np.ascontiguousarray(image.repeat(factor, axis=0).repeat(factor, axis=1))
    for line in reversed(lines):
        picture = mosaic([picture], titles=[line], gap=0)
    return picture


def training_samples(loader: TrainLoader, names: Sequence[str], colors: np.ndarray | None = None) -> np.ndarray:
    """A mosaic (H, W, 3) uint8 of the first training batch. DataError when an image of it cannot be read."""
    batches = loader.batches(0)
    batch, targets = next(batches)
    batches.close()  # type: ignore[attr-defined]
    return mosaic(drawn_samples(batch, targets, names, colors)[:16])


def detections_beside_truth(
    index: DetectionIndex, positions: Sequence[int], found: Sequence[Detections], path: Path, threshold: float = 0.5
) -> None:
    """A sheet with two pictures an image: the truth, and what was found above the threshold; with masks if found."""
    pictures, titles = [], []
    for i, detections in zip(positions, found, strict=True):
        image, truth = read_image(index.path(i)), index.truth(i)
        scale, kept = legible_scale(index.size(i), 360), detections.scores >= threshold
        crowd = truth.crowd | truth.difficult
        masks = index.masks(i) if detections.masks is not None and index.has_masks else None
        pictures.append(
            draw_detections(image, truth.boxes, truth.labels, names=index.names, masks=masks, crowd=crowd, scale=scale)
        )
        pictures.append(
            draw_detections(
                image,
                detections.boxes[kept],
                detections.labels[kept],
                detections.scores[kept],
                names=index.names,
                masks=None if detections.masks is None else detections.masks[kept],
                scale=scale,
            )
        )
        name = Path(index.path(i)).name
        titles += [f"{name}: truth", f"{name}: found"]
    write_image(path, mosaic(pictures, columns=4, titles=titles))


def training_curves(folder: Path) -> Path:
    """`plots/` of a finished run with the curves of its metrics.jsonl; the folder."""
    from visionkit.viz.plots import plot_training  # matplotlib: half a second

    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    plot_training(folder / "metrics.jsonl", plots)
    return plots
