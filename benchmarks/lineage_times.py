"""The lecture's table of times, with VGG-16: R-CNN with 2,000 regions, Fast R-CNN with as many, Faster R-CNN with 300.

python benchmarks/lineage_times.py [--images 2] [--side 600 800] [--threads 1]

Random weights: times do not depend on them. R-CNN's time is that of `--measured` regions times 2,000 over their number,
since every region is a picture of its own; the others are measured whole. Medians of interleaved repeats; proposals are
not counted (the lecture's 47 s and 0.32 s do not either), the time of selective search is printed beside them. The
lecture: 47 s / 0.32 s = 146 between R-CNN and Fast R-CNN.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from timing import medians

from visionkit.backbones.vgg import vgg16
from visionkit.models.build import fast_rcnn, faster_rcnn, rcnn
from visionkit.ops.selective_search import SelectiveSearch
from visionkit.structures import Batch, Proposals

CLASSES = 20


def picture(height: int, width: int) -> Batch:
    """Something with edges and surfaces."""
    coarse = torch.rand(1, 3, height // 15, width // 15, generator=torch.Generator().manual_seed(0))
    pixels = (torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1) * 255).byte()
    zero = torch.zeros(1, dtype=torch.int64)
    return Batch(pixels.contiguous(memory_format=torch.channels_last), torch.tensor([[height, width]]), zero, zero)


def regions(count: int, height: int, width: int) -> Proposals:
    """Boxes of all sizes, some of them large."""
    generator = torch.Generator().manual_seed(1)
    size, corner = torch.tensor([width, height]), torch.rand(count, 2, generator=generator)
    sides = 0.05 + 0.5 * torch.rand(count, 2, generator=generator)
    low = corner * (1 - sides)
    boxes = torch.cat([low * size, (low + sides) * size], dim=1)[None]  # (1, P, 4)
    return Proposals(boxes, torch.linspace(1, 0, count)[None], torch.ones(1, count, dtype=torch.bool))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, nargs=2, default=(600, 800), help="height and width of the picture")
    parser.add_argument("--regions", type=int, default=2000)
    parser.add_argument("--measured", type=int, default=64, help="regions of R-CNN that are measured")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    height, width = args.side
    batch, limits = picture(height, width), {"short": min(height, width), "long": max(height, width)}
    many, few = regions(args.regions, height, width), regions(args.measured, height, width)
    layout = torch.channels_last
    line = rcnn(vgg16(), CLASSES, max_proposals=args.regions, **limits).eval().to(memory_format=layout)
    fast = fast_rcnn(vgg16(), CLASSES, max_proposals=args.regions, **limits).eval().to(memory_format=layout)
    faster = faster_rcnn(
        vgg16(), CLASSES, legacy_anchors=True, pooling="pool", rpn_hidden=512, rpn_test_top=(6000, 300),
        rpn_min_side=16, nms_threshold=0.3, **limits,
    ).eval().to(memory_format=layout)  # fmt: skip
    size = [(height, width)]
    seconds = medians(
        {
            "R-CNN": lambda: line.detect(replace(batch, proposals=few), size),
            "Fast R-CNN": lambda: fast.detect(replace(batch, proposals=many), size),
            "Faster R-CNN": lambda: faster.detect(batch, size),
            "selective search": lambda: SelectiveSearch("fast")(
                np.ascontiguousarray(batch.pixels[0].permute(1, 2, 0).numpy())
            ),
        },
        repeats=args.repeats,
        warmup=1,
    )
    seconds["R-CNN"] *= args.regions / args.measured
    search = seconds.pop("selective search")
    print(f"VGG-16, {height} x {width}, {args.threads} thread(s); R-CNN extrapolated from {args.measured} regions")
    for name, count in (("R-CNN", args.regions), ("Fast R-CNN", args.regions), ("Faster R-CNN", 300)):
        found = seconds[name]
        with_search = f"{found + search:9.2f} s" if name != "Faster R-CNN" else f"{found:9.2f} s"
        print(
            f"{name:13} {count:5} regions  {found:9.2f} s an image  {seconds['R-CNN'] / found:7.1f} x   "
            f"proposals included {with_search}",
            flush=True,
        )
    print(f"selective search, fast mode: {search:.2f} s an image")


if __name__ == "__main__":
    main()
