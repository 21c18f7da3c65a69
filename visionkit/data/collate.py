"""From samples to one padded batch."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from visionkit.data.index import DetectionIndex
from visionkit.data.transforms import resize_truth
from visionkit.ops.pad_proposals import pad_proposals
from visionkit.structures import Batch, Sample, Targets, Truth


def collate(
    samples: Sequence[Sample], canvas: tuple[int, int] | None = None, multiple: int = 32
) -> tuple[Batch, Targets]:
    """Pads images at the right and bottom, and truths to the largest count G (at least 1).

    Args:
        samples: B of them, at network size.
        canvas: (height, width) to pad to; None = the largest sides of this batch, rounded up to `multiple`.
    Returns:
        The batch, its pixels channels-last in memory, and its targets; proposals, masks and semantic masks only if all
        have them.
    Raises:
        ValueError: no samples, or one does not fit the canvas.
    """
    truths = [sample.truth for sample in samples]
    batch = pad_images(
        [sample.image for sample in samples], [s.id for s in samples], [s.seed for s in samples], canvas, multiple
    )
    given = [sample.proposals for sample in samples if sample.proposals is not None]
    if len(given) == len(samples):
        # Augmentation moves boxes and forgets scores: what is left is their order, best first.
        found = [(rows, np.linspace(1, 0, len(rows), endpoint=False, dtype=np.float32)) for rows in given]
        sizes = [(sample.image.shape[0], sample.image.shape[1]) for sample in samples]
        batch = replace(batch, proposals=pad_proposals(found, sizes, sizes))
    return batch, pad_truths(truths, (batch.pixels.shape[2], batch.pixels.shape[3]))


def pad_images(
    images: Sequence[np.ndarray],
    ids: Sequence[int],
    seeds: Sequence[int],
    canvas: tuple[int, int] | None = None,
    multiple: int = 32,
) -> Batch:
    """(H, W, 3) uint8 images of any sizes -> a batch of (B, 3, height, width), see `collate`."""
    if not images:
        raise ValueError("a batch needs at least one image")
    sizes = [image.shape[:2] for image in images]
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    if canvas is None:
        canvas = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    if height > canvas[0] or width > canvas[1]:
        raise ValueError(f"an image of {height} x {width} does not fit the canvas of {canvas[0]} x {canvas[1]}")
    pixels = torch.zeros((len(images), *canvas, 3), dtype=torch.uint8)
    for row, image in zip(pixels.numpy(), images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    return Batch(
        pixels=pixels.permute(0, 3, 1, 2),  # (B, 3, H, W), channels last in memory without a copy
        sizes=torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2),
        ids=torch.tensor(ids, dtype=torch.int64),
        seeds=torch.tensor(seeds, dtype=torch.int64),
    )


def pad_truths(truths: Sequence[Truth], canvas: tuple[int, int]) -> Targets:
    """B truths -> padded targets on a canvas of (height, width)."""
    count = max(1, *(len(truth.labels) for truth in truths)) if truths else 1
    shape = (len(truths), count)
    boxes, labels = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.int64)
    valid, crowd = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for b, truth in enumerate(truths):
        g = len(truth.labels)
        boxes[b, :g], labels[b, :g], valid[b, :g], crowd[b, :g] = truth.boxes, truth.labels, True, truth.crowd
    image_labels = [truth.image_label for truth in truths if truth.image_label is not None]
    return Targets(
        boxes=torch.from_numpy(boxes),  # (B, G, 4)
        labels=torch.from_numpy(labels),
        valid=torch.from_numpy(valid),
        crowd=torch.from_numpy(crowd),
        masks=_pad_masks(truths, count, canvas),
        image_labels=torch.tensor(image_labels) if truths and len(image_labels) == len(truths) else None,
        semantic=_pad_semantic(truths, canvas),
        **_mixed(truths),
        **_pad_points(truths),
    )


def _pad_points(truths: Sequence[Truth]) -> dict[str, Tensor]:
    """Points of counted objects, padded to the largest count (at least 1); nothing unless all truths have them."""
    found = [truth.points for truth in truths if truth.points is not None]
    if not truths or len(found) < len(truths):
        return {}
    most = max(1, *(len(points) for points in found))
    points, valid = np.zeros((len(found), most, 3), np.float32), np.zeros((len(found), most), np.bool_)
    points[:, :, 2] = 1.0  # a kernel of no width would divide by zero
    for b, own in enumerate(found):
        points[b, : len(own)], valid[b, : len(own)] = own, True
    return {"points": torch.from_numpy(points), "points_valid": torch.from_numpy(valid)}  # (B, P, 3), (B, P)


def _mixed(truths: Sequence[Truth]) -> dict[str, Tensor]:
    """Second classes and their shares; a picture that is not mixed has its own class with a share of 0."""
    if all(truth.mixed is None for truth in truths):
        return {}
    pairs = [truth.mixed or (truth.image_label or 0, 0.0) for truth in truths]
    return {
        "mixed_labels": torch.tensor([label for label, _ in pairs]),  # (B,)
        "mixed_shares": torch.tensor([share for _, share in pairs], dtype=torch.float32),  # (B,)
    }


def targets_for(index: DetectionIndex, positions: Sequence[int], batch: Batch, with_masks: bool = False) -> Targets:
    """The targets of a batch of `test_batches`, for the validation loss: the index's truth in the batch's pixels."""
    truths = []
    for i, (height, width) in zip(positions, batch.sizes.tolist(), strict=True):
        known, size = index.truth(i), index.size(i)
        masks = index.masks(i) if with_masks else None
        truth = Truth(known.boxes, known.labels, known.crowd | known.difficult, masks)
        truths.append(resize_truth(truth, size, (height, width)))
    return pad_truths(truths, (batch.pixels.shape[2], batch.pixels.shape[3]))


def _pad_masks(truths: Sequence[Truth], count: int, canvas: tuple[int, int]) -> Tensor | None:
    if not truths or any(truth.masks is None for truth in truths):
        return None
    masks = np.zeros((len(truths), count, *canvas), np.bool_)
    for row, truth in zip(masks, truths, strict=True):
        if truth.masks is not None:
            g, h, w = truth.masks.shape
            row[:g, :h, :w] = truth.masks
    return torch.from_numpy(masks)  # (B, G, H, W)


def _pad_semantic(truths: Sequence[Truth], canvas: tuple[int, int]) -> Tensor | None:
    if not truths or any(truth.semantic is None for truth in truths):
        return None
    maps = np.full((len(truths), *canvas), 255, np.int64)  # the padding is ignored
    for row, truth in zip(maps, truths, strict=True):
        if truth.semantic is not None:
            h, w = truth.semantic.shape
            row[:h, :w] = truth.semantic
    return torch.from_numpy(maps)  # (B, H, W)
