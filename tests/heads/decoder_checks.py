"""Small pictures of two kinds of rectangles on a background, with the class of every pixel, and what the tests of
decoders have in common."""

import numpy as np
import torch

from visionkit.backbones.vgg import VGG, vgg11_bn_narrow
from visionkit.models.segmenter import Segmenter
from visionkit.structures import Batch, Targets

K = 3


def tiny_vgg() -> VGG:
    """Made for windows of 64 pixels, without dropout."""
    return vgg11_bn_narrow(dropout=0.0, widths=(16, 16, 32, 32, 32), hidden=64, window=2)


def pictures(count: int = 4, side: int = 64) -> tuple[Batch, Targets]:
    """Class 0 is gray, 1 red, 2 green; a frame of two pixels is not labelled."""
    rng = np.random.default_rng(0)
    pixels = np.full((count, side, side, 3), 90, np.uint8)
    semantic = np.zeros((count, side, side), np.int64)
    for i in range(count):
        for label in (1, 2):
            y, x = rng.integers(0, side // 2, 2)
            height, width = rng.integers(side // 4, side // 2, 2)
            pixels[i, y : y + height, x : x + width] = (210, 40, 40) if label == 1 else (40, 210, 40)
            semantic[i, y : y + height, x : x + width] = label
    pixels = np.clip(pixels + rng.integers(-12, 13, pixels.shape), 0, 255).astype(np.uint8)
    semantic[:, :2] = semantic[:, -2:] = semantic[:, :, :2] = semantic[:, :, -2:] = 255
    return batch_of(torch.from_numpy(pixels).permute(0, 3, 1, 2)), targets_of(torch.from_numpy(semantic))


def batch_of(pixels: torch.Tensor) -> Batch:
    """(B, 3, H, W) uint8."""
    ids = torch.arange(len(pixels))
    return Batch(pixels, torch.tensor([pixels.shape[-2:]]).expand(len(pixels), 2), ids, ids)


def targets_of(semantic: torch.Tensor) -> Targets:
    """(B, H, W) int64."""
    count = len(semantic)
    none = torch.zeros(count, 1, dtype=torch.bool)
    return Targets(torch.zeros(count, 1, 4), torch.zeros(count, 1, dtype=torch.int64), none, none, semantic=semantic)


def fixed_weights(model: torch.nn.Module) -> None:
    """Weights without random numbers, so that golden losses survive changes of any generator."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = (torch.arange(parameter.numel()) * 7919 + len(name)) % 1009 / 504 - 1  # -1 ... 1
            if parameter.ndim > 1:
                values = values * (6 / parameter[0].numel()) ** 0.5
            else:
                values = 0.1 * values + ("weight" in name)
            parameter.copy_(values.view_as(parameter))


def golden_loss(model: Segmenter) -> float:
    fixed_weights(model)
    return model.eval()(*pictures(2))["loss_class"].item()


def accuracy_after(model: Segmenter, steps: int) -> float:
    """Share of the labelled pixels that are right after so many steps on four pictures."""
    batch, targets = pictures(4)
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for _ in range(steps):
        loss = sum(model(batch, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = torch.stack([one.labels for one in model.segment(batch, batch.sizes.tolist())])
    labelled = targets.semantic != 255
    return float((found == targets.semantic)[labelled].float().mean())


def assert_nothing_labelled_is_no_loss(model: Segmenter) -> None:
    batch, targets = pictures(2)
    model.train()
    losses = model(batch, targets_of(torch.full_like(targets.semantic, 255)))
    assert {name: loss.item() for name, loss in losses.items()} == {"loss_class": 0}
    losses["loss_class"].backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in model.parameters())
    assert all(buffer.isfinite().all() for buffer in model.buffers())


def assert_repeats(model: Segmenter) -> None:
    """The same gradients bit for bit, with only such operations as torch calls deterministic."""
    batch, targets = pictures(2)
    found = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            torch.manual_seed(7)  # for dropout
            model.zero_grad()
            model.train()(batch, targets)["loss_class"].backward()
            found.append([p.grad.clone() for p in model.parameters()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def assert_takes_any_size(model: Segmenter) -> None:
    rng = np.random.default_rng(1)
    for size in ((1, 1), (5, 130), (33, 97), (101, 64)):
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        found = model.predict([image])[0]
        assert found.labels.shape == size and found.scores.isfinite().all()
        assert set(found.labels.unique().tolist()) <= set(range(K))
