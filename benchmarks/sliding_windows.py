"""Sliding windows densely beside one crop at a time: a picture of 500 x 375 pixels, a window every 16 pixels.

python benchmarks/sliding_windows.py [vgg16 alexnet ...]

The networks have random weights. The naive side is measured on some of the windows, and its time per window is
multiplied by their number; all windows of VGG-16 would take minutes a repeat. One thread, medians of interleaved
repeats. Beside the times stands how far the scores of plain crops are from the dense ones: the networks pad, and to a
crop its own border is something else than the picture that goes on there.
"""

import sys

import torch
from timing import medians
from torch import Tensor, nn

from visionkit.config import compose, instantiate
from visionkit.models.build import sliding_window
from visionkit.models.region_detector import RegionDetector
from visionkit.structures import Batch

HEIGHT, WIDTH, CLASSES, MEASURED = 375, 500, 20, 32
NETWORKS = ("vgg16", "alexnet")


def photograph() -> Batch:
    """Something with edges and surfaces, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 25, 33, generator=generator)
    pixels = nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1) * 255
    size, zero = torch.tensor([[HEIGHT, WIDTH]]), torch.zeros(1, dtype=torch.int64)
    return Batch(pixels.byte().contiguous(memory_format=torch.channels_last), size, zero, zero)


def model_of(name: str, encoding: str, **settings: object) -> RegionDetector:
    torch.manual_seed(0)
    backbone = instantiate(compose("train", [f"backbone={name}"]).backbone)
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):  # the published start fades from layer to layer
            nn.init.kaiming_normal_(layer.weight)
    task = {"short": HEIGHT, "long": WIDTH, "scales": [1.0], "encoding": encoding} | settings
    return sliding_window(backbone, CLASSES, **task).eval().to(memory_format=torch.channels_last)  # type: ignore[arg-type]


def scores(model: RegionDetector, batch: Batch, boxes: Tensor) -> Tensor:
    """(R, K + 1), with a head that is the same for every model of the same network."""
    index = torch.zeros(len(boxes), dtype=torch.int64)
    vectors = model.encode(batch, model.encode.maps(batch), boxes, index)
    weight = torch.randn(vectors.shape[1], CLASSES + 1, generator=torch.Generator().manual_seed(1))
    return (vectors / vectors.norm(dim=1, keepdim=True) @ weight).softmax(dim=1)


@torch.inference_mode()
def compare(name: str, batch: Batch) -> None:
    dense, naive = model_of(name, "dense"), model_of(name, "crops")
    naive.load_state_dict(dense.state_dict())
    boxes = dense.propose(batch, {})[0].boxes[0]  # (N, 4)
    inside = (boxes[:, 2] <= WIDTH) & (boxes[:, 3] <= HEIGHT)
    spread = torch.linspace(0, len(boxes) - 1, MEASURED).round().long()
    index = torch.zeros(len(boxes), dtype=torch.int64)
    seconds = medians(
        {
            "dense": lambda: dense.encode(batch, dense.encode.maps(batch), boxes, index),
            "naive": lambda: naive.encode(batch, naive.encode.maps(batch), boxes[spread], index[spread]),
        },
        repeats=3,
        warmup=1,
    )
    whole = seconds["naive"] / MEASURED * len(boxes)
    print(
        f"{name}: {len(boxes)} windows of {dense.encode.pyramid.view} px  dense {seconds['dense']:.2f} s  "
        f"naive {whole:.1f} s ({seconds['naive'] / MEASURED * 1000:.0f} ms a window, {MEASURED} measured)  "
        f"->  {whole / seconds['dense']:.1f} times faster",
        flush=True,
    )
    some = boxes[inside][:: max(1, int(inside.sum()) // MEASURED)]
    difference = (scores(dense, batch, some) - scores(naive, batch, some)).abs()
    print(f"{name}: plain crops, scores differ by {difference.mean():.4f} on average, {difference.max():.4f} at most")


def main() -> None:
    torch.set_num_threads(1)
    batch = photograph()
    for name in sys.argv[1:] or NETWORKS:
        compare(name, batch)


if __name__ == "__main__":
    main()
