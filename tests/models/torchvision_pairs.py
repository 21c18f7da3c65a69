"""torchvision's detectors beside ours with the same random weights, brought over as a published file would be."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from visionkit.assemble import build_model
from visionkit.config import compose
from visionkit.models.import_torchvision import from_torchvision
from visionkit.models.sample import SALT
from visionkit.ops.hashing import random_keys
from visionkit.ops.sampling import sample_balanced
from visionkit.structures import Batch, Targets

HEIGHT, WIDTH, CLASSES = 128, 160, 7  # multiples of 32, so neither side pads
LOSSES = {
    "loss_objectness": "loss_objectness",
    "loss_proposal": "loss_rpn_box_reg",
    "loss_class": "loss_classifier",
    "loss_box": "loss_box_reg",
    "loss_mask": "loss_mask",
}


class Pair(NamedTuple):
    ours: Any
    theirs: Any
    regions: int


class Sizes(NamedTuple):
    """Fewer than by default where tails and masks are slow. Also, of a thousand proposals two may score the same but
    for rounding, change places, and so change which of them the losses' draws hit."""

    train_top: int
    test_top: int
    regions: int


FULL, FEW = Sizes(2000, 1000, 512), Sizes(200, 60, 48)


def torchvision_model(name: str, number: Sizes) -> nn.Module:
    """A detector in evaluation mode whose activations stay small and whose scores differ."""
    from torchvision.models import detection
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    sizes = {"min_size": HEIGHT, "max_size": WIDTH, "box_batch_size_per_image": number.regions}
    sizes |= {"rpn_post_nms_top_n_train": number.train_top, "rpn_post_nms_top_n_test": number.test_top}
    if name.endswith("_v2"):
        model = detection.__dict__[name](
            weights=None, weights_backbone=None, num_classes=CLASSES + 1, trainable_backbone_layers=5, **sizes
        )
    else:
        # What `weights=...` builds: frozen batch norm. Every layer trains here, to compare it.
        body = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
        make = detection.MaskRCNN if name.startswith("mask") else detection.FasterRCNN
        model = make(body, CLASSES + 1, **sizes)
    with torch.no_grad():
        for key, buffer in (*model.named_buffers(), *model.named_parameters()):
            if key.endswith("running_mean"):
                buffer.uniform_(-0.1, 0.1)
            elif key.endswith("running_var"):
                buffer.uniform_(0.8, 1.2)
            elif key.endswith("bn3.weight"):
                buffer.fill_(0.2)
        model.roi_heads.box_predictor.cls_score.weight.mul_(30)
        model.roi_heads.box_predictor.bbox_pred.weight.mul_(3)
        model.rpn.head.cls_logits.weight.mul_(30)
        model.rpn.head.bbox_pred.weight.mul_(10)
    return model.eval()


def pair(name: str, number: Sizes = FEW) -> Pair:
    """Ours is built as `tools/import_weights.py` builds it: what it is, is told by the weights."""
    torch.manual_seed(0)
    theirs = torchvision_model(name, number)
    found = from_torchvision(theirs.state_dict())
    settings = [f"{key}={value}" for key, value in found.settings.items()]
    sizes = [f"task.short={HEIGHT}", f"task.long={WIDTH}", f"task.regions={number.regions}"]
    sizes += [f"task.rpn_train_top=[2000,{number.train_top}]", f"task.rpn_test_top=[1000,{number.test_top}]"]
    config = compose("train", [f"task={found.task}", f"backbone={found.backbone}", *settings, *sizes])
    ours = build_model(config, found.num_classes, pretrained=False)
    result = ours.load_state_dict(found.weights, strict=False)
    assert not result.unexpected_keys
    assert set(result.missing_keys) <= {"encode.normalize.mean", "encode.normalize.std"}
    # One layout for both, the one we train in: the order of summation is then the same too.
    layout = torch.channels_last
    return Pair(ours.eval().to(memory_format=layout), theirs.to(memory_format=layout), number.regions)


def random_pixels(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 10, 14, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)
    return (pixels * 255).to(torch.uint8)


def batch_of(pixels: Tensor) -> Batch:
    count = len(pixels)
    return Batch(pixels, torch.tensor([[HEIGHT, WIDTH]] * count), torch.arange(count), torch.arange(count) + 11)


def random_targets(counts: tuple[int, int]) -> Targets:
    """Objects of two images, each with a mask: the upper left triangle of its box."""
    generator = torch.Generator().manual_seed(4)
    corner = torch.rand(2, 3, 2, generator=generator) * torch.tensor([WIDTH * 0.6, HEIGHT * 0.6])
    boxes = torch.cat([corner, corner + 20 + torch.rand(2, 3, 2, generator=generator) * 60], dim=2)
    labels = torch.randint(0, CLASSES, (2, 3), generator=generator)
    valid = torch.arange(3)[None] < torch.tensor(counts)[:, None]
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    x1, y1, x2, y2 = (side[..., None, None] for side in boxes.unbind(-1))
    masks = (x >= x1) & (y >= y1) & ((x - x1) / (x2 - x1) + (y - y1) / (y2 - y1) < 1)
    return Targets(
        boxes * valid[..., None], labels * valid, valid, torch.zeros_like(valid), masks=masks & valid[..., None, None]
    )


class _Sampler:
    """Stands in for torchvision's random sampler: draws what ours draws."""

    def __init__(self, seeds, size, fraction, truths=None):
        self.seeds, self.size, self.fraction, self.truths = seeds, size, fraction, truths

    def __call__(self, labels):
        longest = max(len(x) for x in labels)
        positives, negatives = [], []
        if self.truths:  # proposals are padded before the truth joins them
            longest = max(len(x) - g for x, g in zip(labels, self.truths, strict=True)) + max(self.truths)
        for i, label in enumerate(labels):
            keys = random_keys(self.seeds[i : i + 1], longest)
            if self.truths:
                count, pad = len(label) - self.truths[i], longest - max(self.truths)
                keys = torch.cat([keys[:, :count], keys[:, pad : pad + self.truths[i]]], dim=1)
            kind = torch.where(label >= 1, 1, torch.where(label == 0, 0, -1)).to(torch.int8)[None]
            chosen = sample_balanced(kind, keys[:, : len(label)], self.size, self.fraction)
            real = chosen.weights[0] > 0
            for masks, wanted in ((positives, chosen.positive[0]), (negatives, ~chosen.positive[0])):
                mask = torch.zeros(len(label), dtype=torch.bool)
                mask[chosen.index[0][real & wanted]] = True
                masks.append(mask)
        return positives, negatives


def torchvision_losses(models: Pair, pixels: Tensor, batch: Batch, targets: Targets) -> dict[str, Tensor]:
    """Its losses for the same draws; batch norms keep their statistics, or the two could not be compared."""
    theirs, truths = models.theirs, targets.valid.sum(dim=1).tolist()
    theirs.rpn.fg_bg_sampler = _Sampler(batch.seeds, 256, 0.5)
    theirs.roi_heads.fg_bg_sampler = _Sampler(batch.seeds + SALT, models.regions, 0.25, truths)
    theirs.train()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    truth = [
        {"boxes": boxes[valid], "labels": labels[valid] + 1, "masks": masks[valid].to(torch.uint8)}
        for boxes, labels, masks, valid in zip(targets.boxes, targets.labels, targets.masks, targets.valid, strict=True)
    ]
    losses = theirs(list(pixels.float() / 255), truth)
    theirs.eval()
    return losses
