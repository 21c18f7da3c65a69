"""A class for every pixel: patch by patch, with shared features, and by a fully convolutional network.

python benchmarks/patches.py [vgg11_bn_narrow vgg16 ...]

The same trunk and tail on every side, with random weights; one picture, one thread, medians of interleaved repeats. The
naive side is measured on some of its patches, and the time of one is multiplied by their number. With shared features
one pass gives a score for every 16th pixel, and every 8th or every pixel are 4 or 256 passes just like it: one is
measured, and multiplied. Multiply-adds are counted on tensors without values, also once for what is repeated. Beside
them stands how far the scores with shared features are from the naive ones, since both networks pad.
"""

import copy
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timing import medians
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from visionkit.analysis.rules import multiply_adds
from visionkit.config import compose, instantiate
from visionkit.models.build_patches import patches
from visionkit.models.build_segmenter import fcn
from visionkit.models.patch_segmenter import PatchSegmenter
from visionkit.structures import Batch

CLASSES = 21
CASES = {"vgg11_bn_narrow": ((128, 128), 64, 11), "vgg16": ((375, 500), 4, 3)}  # picture, patches measured, repeats
COARSE, PASS = 32, 16  # steps at which shared features take one pass: the tail's own stride, and the region map's
STEPS = (COARSE, 8, 1)


class Counter(TorchDispatchMode):
    """Multiply-adds of what runs inside."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.count += multiply_adds(func.overloadpacket, args, out)
        return out


def photograph(height: int, width: int) -> Batch:
    """Something with edges and surfaces, the same at every call."""
    coarse = torch.rand(1, 3, height // 15, width // 15, generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1) * 255
    zero = torch.zeros(1, dtype=torch.int64)
    return Batch(
        pixels.byte().contiguous(memory_format=torch.channels_last), torch.tensor([[height, width]]), zero, zero
    )


def built(name: str, build: Callable[..., Any], **settings: Any) -> Any:
    torch.manual_seed(0)
    backbone = instantiate(compose("train", [f"backbone={name}"]).backbone)
    model = build(backbone, CLASSES, **settings)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):  # the published start fades from layer to layer
            nn.init.kaiming_normal_(layer.weight)
    return model.eval().to(memory_format=torch.channels_last)


@torch.no_grad()  # in inference mode a convolution is not met as such
def counted(model: nn.Module, call: Callable[[Any], object]) -> int:
    with Counter() as counter:
        call(copy.deepcopy(model).to("meta"))
    return counter.count


def some_patches(model: PatchSegmenter, images: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """So many of the patches of every 32nd pixel, and their places in that grid; some twice where it has fewer."""
    rows, columns = (-(-side // COARSE) for side in images.shape[-2:])
    places = torch.linspace(0, rows * columns - 1, count).round().long()
    half = model.patch // 2
    padded = F.pad(images, (half, half + COARSE, half, half + COARSE))
    corners = [(COARSE * (p // columns) + COARSE // 2, COARSE * (p % columns) + COARSE // 2) for p in places.tolist()]
    cut = [padded[0, :, y : y + model.patch, x : x + model.patch] for y, x in corners]
    return torch.stack(cut).contiguous(memory_format=torch.channels_last), places


@torch.no_grad()
def compare(name: str) -> None:
    (height, width), measured, repeats = CASES[name]
    batch = photograph(height, width)
    networks = {"FCN-32s": built(name, fcn, stride=32), "FCN-8s": built(name, fcn, stride=8)}
    shared = {step: built(name, patches, step=step, sharing=True) for step in (COARSE, PASS)}
    naive = shared[COARSE]
    images = naive.normalize(batch)
    cut, places = some_patches(naive, images, measured)
    chunks = cut.split(naive.chunk)

    sides: dict[str, Callable[[], object]] = {"naive": lambda: [naive.class_scores(chunk) for chunk in chunks]}
    sides |= {f"shared {step}": lambda step=step: shared[step].grid_scores(images) for step in shared}
    sides |= {title: lambda model=model: model.logits(batch) for title, model in networks.items()}
    seconds = medians(sides, repeats=repeats, warmup=1)
    each = seconds["naive"] / measured

    far, none = batch.to("meta"), images.to("meta")
    work = {title: counted(model, lambda m: m.logits(far)) for title, model in networks.items()}
    of_patch = counted(naive, lambda m: m.class_scores(cut[:1].to("meta")))
    print(
        f"{name}, {width} x {height} px: patches of {naive.patch} px, {each * 1000:.1f} ms and {of_patch / 1e9:.3f} G "
        f"multiply-adds each, {measured} measured"
    )
    for title in networks:
        print(f"  {title:10s} {'':15s} {seconds[title]:10.3f} s {work[title] / 1e9:12.2f} G", flush=True)
    for step in STEPS:
        count = -(-height // step) * -(-width // step)
        rows = {"naive": (each * count, of_patch * count)}
        one = COARSE if step == COARSE else PASS
        passes, of_pass = (one // step) ** 2, counted(shared[one], lambda m: m.grid_scores(none))
        rows["shared"] = seconds[f"shared {one}"] * passes, of_pass * passes
        for title, (spent, adds) in rows.items():
            ratios = "  ".join(
                f"{spent / seconds[other]:8.1f} x {other} in time, {adds / work[other]:8.1f} x in multiply-adds"
                for other in networks
            )
            print(f"  {title:10s} step {step:2d} {count:7d} {spent:10.3f} s {adds / 1e9:12.2f} G  {ratios}", flush=True)

    alone = torch.cat([naive.class_scores(chunk) for chunk in chunks])  # (N, K)
    together = naive.grid_scores(images)[0].flatten(1)[:, places].T  # (N, K)
    difference = (together - alone).abs() / alone.std()
    print(
        f"  shared and naive scores differ by {difference.mean():.3f} on average and {difference.max():.3f} at most, "
        "as parts of the scores' deviation"
    )


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CASES:
        compare(name)


if __name__ == "__main__":
    main()
