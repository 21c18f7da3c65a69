"""Small pictures with bright rectangles, and weights made by a formula."""

import numpy as np
import torch

from visionkit.structures import Batch, Targets

SIDE = 64


def fixed_weights(model: torch.nn.Module) -> None:
    """Weights without random numbers, so that golden losses survive changes of any generator."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + len(name)).float()
            fan = max(1, parameter[0].numel() if parameter.ndim > 1 else 1)
            base = 1.0 if parameter.ndim == 1 and "weight" in name else 0.0
            parameter.copy_((base + values * (fan**-0.5 if parameter.ndim > 1 else 0.01)).view_as(parameter))


def pictures(objects: list[list[tuple[int, int, int, int, int]]]) -> tuple[Batch, Targets]:
    """One picture for each list of (x1, y1, x2, y2, label); the label is the colour."""
    count, most = len(objects), max(1, *(len(own) for own in objects))
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = np.stack([np.stack([60 + 20 * np.sin(x / 5 + y / 9 + i)] * 3) for i in range(count)]).astype(np.uint8)
    boxes, labels = torch.zeros(count, most, 4), torch.zeros(count, most, dtype=torch.int64)
    for i, own in enumerate(objects):
        for g, (x1, y1, x2, y2, label) in enumerate(own):
            pixels[i, label % 3, y1:y2, x1:x2] = 230
            boxes[i, g], labels[i, g] = torch.tensor([x1, y1, x2, y2]), label
    ids = torch.arange(count)
    crowd = torch.zeros(count, most, dtype=torch.bool)
    targets = Targets(boxes, labels, boxes.sum(dim=2) > 0, crowd)
    return Batch(torch.from_numpy(pixels), torch.full((count, 2), SIDE), ids, ids), targets
