"""Small pictures with a class for every pixel, for the tests of segmenters."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from visionkit.backbones.vgg import VGG
from visionkit.structures import Batch, Targets

COLORS = torch.tensor([[40, 40, 60], [220, 60, 40], [60, 200, 80]])


def small_vgg(norm: str = "none", padded: bool = True, window: int = 1) -> VGG:
    """Sees 32 pixels for each cell of `window`; without padding 94 and more."""
    torch.manual_seed(0)
    net = VGG((1, 1, 1, 1, 1), norm, dropout=0.0, widths=(8, 8, 16, 16, 16), hidden=24, window=window)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and not padded:
            layer.padding = (0, 0)
        elif isinstance(layer, nn.Linear):  # the published start is so small that everything would be equal
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return net


def fixed_weights(model: nn.Module) -> None:
    """Weights without random numbers, so that the golden losses survive changes of any generator."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + len(name)).float()
            fan = max(1, parameter[0].numel() if parameter.ndim > 1 else 1)
            base = 1.0 if parameter.ndim == 1 and "weight" in name else 0.0
            parameter.copy_((base + values * (1.2 * fan**-0.5 if parameter.ndim > 1 else 0.01)).view_as(parameter))


def painted(sizes: list[tuple[int, int]], canvas: tuple[int, int]) -> tuple[Batch, Targets]:
    """Background, a square and a disc in colours of their own; a strip at the left is not labelled."""
    y, x = torch.meshgrid(torch.arange(canvas[0]), torch.arange(canvas[1]), indexing="ij")
    semantic = torch.zeros(len(sizes), *canvas, dtype=torch.int64)
    noise = torch.from_numpy(np.random.default_rng(0).integers(-20, 20, (len(sizes), 3, *canvas)))
    for i, (height, width) in enumerate(sizes):
        semantic[i][
            ((y - 0.3 * height).abs() < 0.2 * height) & ((x - (0.25 + 0.1 * i) * width).abs() < 0.2 * width)
        ] = 1
        semantic[i][(y - 0.65 * height) ** 2 + (x - 0.7 * width) ** 2 < (0.25 * height) ** 2] = 2
    pixels = (COLORS[semantic].permute(0, 3, 1, 2) + noise).clamp(0, 255).to(torch.uint8)
    semantic[:, :, :2] = 255
    for i, (height, width) in enumerate(sizes):
        semantic[i, height:], semantic[i, :, width:] = 255, 255
    seeds = torch.arange(len(sizes))
    return Batch(pixels, torch.tensor(sizes), seeds, seeds + 5), truth(semantic)


def truth(semantic: torch.Tensor) -> Targets:
    count = len(semantic)
    none = torch.zeros(count, 1, dtype=torch.int64)
    return Targets(torch.zeros(count, 1, 4), none, none > 0, none > 0, semantic=semantic)


def overfitted(model: nn.Module, batch: Batch, targets: Targets, steps: int, rate: float = 3e-3) -> float:
    """Trains on the one batch; then the share of its labelled pixels whose class is found."""
    optimizer = torch.optim.AdamW(model.train().parameters(), rate)
    for step in range(steps):
        optimizer.zero_grad()
        sum(model(replace(batch, seeds=batch.seeds + 1000 * step), targets).values()).backward()
        optimizer.step()
    sizes = [tuple(size) for size in batch.sizes.tolist()]
    right, count = 0, 0
    for found, semantic in zip(model.segment(batch, sizes), targets.semantic, strict=True):
        own = semantic[: found.labels.shape[0], : found.labels.shape[1]]
        right += int((found.labels == own)[own != 255].sum())
        count += int((own != 255).sum())
    return right / count
