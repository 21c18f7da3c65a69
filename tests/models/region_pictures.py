"""Two pictures of waves with boxes on them, and a search that tiles a picture: what region detectors are tried on."""

import numpy as np
import torch
from single_pictures import fixed_weights

from visionkit.ops.pad_proposals import pad_proposals
from visionkit.structures import Batch, Proposals, Targets

__all__ = ["TWO", "Tiles", "fixed_weights", "pictures", "tiled", "truth"]


def pictures(count: int = 2, height: int = 96, width: int = 128) -> Batch:
    y, x = np.mgrid[:height, :width]
    planes = np.stack([(np.sin(x / (5 + c)) + np.cos(y / (7 + c))) * 60 + 127 for c in range(3)])
    pixels = torch.from_numpy(np.stack([np.roll(planes, 9 * i, axis=2) for i in range(count)]).astype(np.uint8))
    return Batch(pixels, torch.tensor([[height, width]] * count), torch.arange(count), torch.arange(count) + 5)


def truth(boxes: list, labels: list, crowd: list | None = None) -> Targets:
    tensor = torch.tensor(boxes, dtype=torch.float32)
    flags = torch.zeros(tensor.shape[:2], dtype=torch.bool)
    return Targets(
        tensor,
        torch.tensor(labels),
        tensor.sum(dim=2) > 0,
        torch.tensor(crowd) if crowd else flags,
    )


TWO = truth([[[10, 10, 60, 60], [70, 20, 110, 80]], [[5, 30, 45, 90], [0, 0, 0, 0]]], [[0, 1], [2, 0]])


class Tiles:
    """A search of nothing: tiles of three sizes."""

    method = "tiles"

    def settings(self):
        return {}

    def __call__(self, image):
        height, width = image.shape[:2]
        boxes = [
            (x, y, min(x + side, width), min(y + side, height))
            for side in (24, 48, 64)
            for y in range(0, height - 8, side // 2)
            for x in range(0, width - 8, side // 2)
        ]
        return np.array(boxes, np.float32), np.linspace(1, 0, len(boxes), dtype=np.float32)


def images_of(batch: Batch) -> list[np.ndarray]:
    """(H, W, 3) uint8 each, without the padding."""
    planes = [image.permute(1, 2, 0).numpy() for image in batch.pixels]
    return [np.ascontiguousarray(p[:h, :w]) for p, (h, w) in zip(planes, batch.sizes.tolist(), strict=True)]


def tiled(images: list[np.ndarray]) -> Proposals:
    """The tiles of images that are not resized."""
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    return pad_proposals([Tiles()(image) for image in images], sizes, sizes)
