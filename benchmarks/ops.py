"""The hot operations beside torchvision's, on this machine: RoIAlign, NMS, matching.

python benchmarks/ops.py
"""

import torch
from timing import medians, report


def boxes(count: int, width: float, height: float, largest: float) -> torch.Tensor:
    corner = torch.rand(count, 2) * torch.tensor([width, height]) * 0.8
    return torch.cat([corner, corner + 8 + torch.rand(count, 2) * largest], dim=1)


def roi_align() -> None:
    from torchvision.ops import MultiScaleRoIAlign

    from visionkit.ops.roi_pool import roi_align

    maps = [torch.randn(1, 256, 800 // s, 1344 // s).to(memory_format=torch.channels_last) for s in (4, 8, 16, 32)]
    regions, index = boxes(512, 1344, 800, 400), torch.zeros(512, dtype=torch.int64)
    for m in maps:
        m.requires_grad_()
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    named = {str(i): m for i, m in enumerate(maps)}

    def ours_call() -> None:
        roi_align(maps, regions, index, [4, 8, 16, 32], 7).sum().backward()

    def theirs_call() -> None:
        theirs(named, [regions], [(800, 1344)]).sum().backward()

    report(
        "RoIAlign forward and backward, 512 regions, 4 levels",
        medians({"visionkit": ours_call, "torchvision": theirs_call}),
    )


def nms() -> None:
    from torchvision.ops import nms as theirs

    from visionkit.ops.nms import nms as ours

    for count, keep in ((12000, 2000), (6000, 300)):
        many, scores = boxes(count, 1000, 600, 200), torch.rand(count)
        seconds = medians(
            {
                "visionkit": lambda m=many, s=scores, k=keep: ours(m, s, 0.7, k),
                "torchvision": lambda m=many, s=scores, k=keep: theirs(m, s, 0.7)[:k],
            }
        )
        report(f"NMS {count} -> {keep}", seconds)


def matching() -> None:
    from torchvision.models.detection._utils import Matcher
    from torchvision.ops import box_iou

    from visionkit.ops.boxes import iou
    from visionkit.ops.matching import match

    anchors = boxes(60000, 1344, 800, 300)
    truth = torch.stack([boxes(30, 1344, 800, 300) for _ in range(4)])
    valid, matcher = torch.ones(4, 30, dtype=torch.bool), Matcher(0.7, 0.3, allow_low_quality_matches=True)
    seconds = medians(
        {
            "visionkit": lambda: match(iou(truth, anchors), valid, 0.3, 0.7, keep_best=True),
            "torchvision": lambda: [matcher(box_iou(t, anchors)) for t in truth],
        }
    )
    report("matching 4 images, 30 truths, 60,000 anchors", seconds)


if __name__ == "__main__":
    torch.manual_seed(0)
    roi_align()
    nms()
    matching()
