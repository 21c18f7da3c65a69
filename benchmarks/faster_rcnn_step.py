"""One training step of Faster R-CNN R18-FPN beside torchvision's: four images of 320 x 448, ten objects each.

python benchmarks/faster_rcnn_step.py
"""

import torch
from timing import medians, report
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.freeze import freeze
from visionkit.backbones.resnet import resnet18
from visionkit.models.build import faster_rcnn
from visionkit.structures import Batch, Targets

IMAGES, HEIGHT, WIDTH, OBJECTS, CLASSES = 4, 320, 448, 10, 3


def main() -> None:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, HEIGHT, WIDTH, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    corner = torch.rand(IMAGES, OBJECTS, 2) * torch.tensor([WIDTH * 0.6, HEIGHT * 0.6])
    boxes = torch.cat([corner, corner + 20 + torch.rand(IMAGES, OBJECTS, 2) * 100], dim=2)
    labels = torch.randint(0, CLASSES, (IMAGES, OBJECTS))
    valid = torch.ones(IMAGES, OBJECTS, dtype=torch.bool)
    batch = Batch(pixels, torch.tensor([[HEIGHT, WIDTH]] * IMAGES), torch.arange(IMAGES), torch.arange(IMAGES))
    targets = Targets(boxes, labels, valid, ~valid)

    ours = faster_rcnn(build_fpn(resnet18, norm="frozen"), CLASSES, short=HEIGHT, long=WIDTH)
    freeze(ours.encode.backbone, "c2")
    ours.to(memory_format=torch.channels_last).train()
    body = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=3)
    theirs = FasterRCNN(body, CLASSES + 1, min_size=HEIGHT, max_size=WIDTH).train()
    images = list(pixels.float() / 255)
    truth = [{"boxes": b, "labels": c + 1} for b, c in zip(boxes, labels, strict=True)]

    def step(losses: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
        model.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()

    def ours_bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            losses = ours(batch, targets)
        step(losses, ours)

    seconds = medians(
        {
            "visionkit": lambda: step(ours(batch, targets), ours),
            "visionkit bf16": ours_bf16,
            "torchvision": lambda: step(theirs(images, truth), theirs),
        },
        repeats=5,
        warmup=1,
    )
    report(f"training step, {IMAGES} images, {torch.get_num_threads()} threads", seconds)


if __name__ == "__main__":
    main()
