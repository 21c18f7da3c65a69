"""What the two sides of `benchmarks/bccd.py` have in common, before any training: data, pixels, rates, starts, samples.

    VISIONKIT_DATASETS=... VISIONKIT_WEIGHTS=... python benchmarks/bccd_sides.py [--batches 2]

Both networks get the same weights for the losses; each side reads, resizes and draws by its own means.
"""

import argparse
import os
from pathlib import Path
from unittest import mock

import bccd_torchvision as sides
import numpy as np
import torch
from torchvision.models.detection import FasterRCNN, _utils
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from visionkit.assemble import build_model, freeze_model, load_data, train_loader
from visionkit.config import compose
from visionkit.data.image import read_image
from visionkit.engine.precision import seed_everything
from visionkit.engine.schedule import multistep
from visionkit.models import propose, sample
from visionkit.models.import_torchvision import weights_from_torchvision
from visionkit.models.pixels import batch_of

WEIGHTS = "resnet18_imagenet.pth"


def torchvision_model() -> FasterRCNN:
    """As `bccd_torchvision.py` builds it."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=3)
    file = torch.load(Path(os.environ["VISIONKIT_WEIGHTS"]) / WEIGHTS, weights_only=True)
    kept = {k: v.float() for k, v in file.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}
    backbone.body.load_state_dict(kept)
    return FasterRCNN(backbone, num_classes=1 + len(sides.NAMES), min_size=320, max_size=1000)


def compare_truths(index, items) -> None:
    other = 0
    for i, item in enumerate(items):
        truth = index.truth(i)
        boxes = np.array(item["boxes"]).reshape(-1, 4)
        same = truth.boxes.shape == boxes.shape and np.allclose(truth.boxes, boxes)
        other += not (same and list(truth.labels + 1) == item["labels"] and not truth.difficult.any())
    print(f"{len(items)} pictures, the truth of {other} differs")


def compare_rates(total: int) -> None:
    factor = multistep(milestones=[0.8], warmup=50)
    ours = [0.005 * factor(step, total) for step in range(total)]
    theirs = [0.005 * min(1.0, (step + 1) / 50) * (0.1 if step >= 0.8 * total else 1.0) for step in range(total)]
    most = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    print(f"learning rates of {total} steps: at most {most:.5f} apart, sums {sum(ours):.4f} and {sum(theirs):.4f}")


def compare_starts(ours, theirs) -> None:
    state, worst = ours.state_dict(), 0.0
    for key, value in weights_from_torchvision(theirs.state_dict()).items():
        if value.numel() > 1000 and not torch.equal(state[key], value):  # a few numbers have no spread to compare
            worst = max(worst, float(abs(state[key].std() / value.std() - 1)))
    counts = [sum(p.requires_grad for p in model.parameters()) for model in (ours, theirs)]
    print(f"standard deviation of new layers: at most {worst:.1%} apart; trained tensors {counts[0]} and {counts[1]}")


def compare_pixels(ours, theirs, items) -> None:
    means, steps, shifts = [], [], []
    for item in items[::20]:
        batch = batch_of(read_image(item["path"]), ours.resize)
        height, width = batch.sizes[0].tolist()
        mine = ours.encode.normalize(batch)[0][:, :height, :width]
        other = theirs.transform([sides.load(item, False)[0]])[0].tensors[0][:, :height, :width]
        means.append(float((mine - other).abs().mean()))
        steps.append([float(x.diff(dim=1).abs().mean()) for x in (mine, other)])
        for axis in (1, 2):  # least squares: how far along this axis the pictures are apart
            slope = torch.gradient(other, dim=axis)[0]
            shifts.append(abs(float((slope * (mine - other)).sum() / (slope * slope).sum())))
    sharp = np.mean(steps, axis=0)
    print(f"pixels, normalised: {np.mean(means):.4f} apart on average, shifted by at most {max(shifts):.4f} pixels, "
          f"contrast of neighbours {sharp[0]:.4f} and {sharp[1]:.4f}")  # fmt: skip


def compare_losses(ours, theirs, loader, items, count: int) -> None:
    ours.load_state_dict(weights_from_torchvision(theirs.state_dict()), strict=False)
    theirs.train()
    drawn: list[list[int]] = []
    draw, their_draw = propose.sample_balanced, _utils.BalancedPositiveNegativeSampler.__call__

    def ours_drawn(*options):
        chosen = draw(*options)
        drawn.append(chosen.positive.sum(dim=1).tolist())
        return chosen

    def theirs_drawn(self, labels):
        positive, negative = their_draw(self, labels)
        drawn.append([int(mask.sum()) for mask in positive])
        return positive, negative

    batches = loader.batches(0)
    with (
        torch.no_grad(),
        mock.patch.object(propose, "sample_balanced", ours_drawn),
        mock.patch.object(sample, "sample_balanced", ours_drawn),
        mock.patch.object(_utils.BalancedPositiveNegativeSampler, "__call__", theirs_drawn),
    ):
        for _ in range(count):
            batch, targets = next(batches)
            pairs = []
            for boxes, valid, number in zip(targets.boxes, targets.valid, batch.ids.tolist(), strict=True):
                plain, turned = (sides.load(items[number - 1], flip) for flip in (False, True))
                left = torch.sort(boxes[valid][:, 0]).values * 1.5
                same = torch.allclose(left, torch.sort(plain[1]["boxes"][:, 0]).values, atol=2)
                pairs.append(plain if same else turned)
            results = (ours(batch, targets), theirs([p[0] for p in pairs], [p[1] for p in pairs]))
            for name, losses in zip(("visionkit", "torchvision"), results, strict=True):
                shown = ", ".join(f"{key} {float(value):.4f}" for key, value in losses.items())
                anchors, regions = drawn.pop(0), drawn.pop(0)
                print(f"{name}: {shown}; positive anchors {anchors}, regions {regions}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=2)
    count = parser.parse_args().batches
    torch.set_num_threads(1)
    settings = [f"backbone.weights={WEIGHTS}", "trainer.workers=0", "trainer.precision=fp32"]
    config = compose("train", ["experiment=faster_rcnn_bccd", *settings])
    data = load_data(config)
    seed_everything(0)
    ours, theirs = build_model(config, len(data.names)), torchvision_model()
    freeze_model(ours, config.trainer.freeze)
    root = Path(os.environ["VISIONKIT_DATASETS"]) / "bccd"
    train = sides.read(root, "train")
    compare_truths(data.train, train)
    compare_truths(data.val, sides.read(root, "val"))
    loader = train_loader(config, data, ours, torch.device("cpu"))
    compare_rates(loader.steps_per_epoch * config.trainer.epochs)
    compare_starts(ours, theirs)
    compare_pixels(ours, theirs.eval(), train)
    compare_losses(ours, theirs, loader, train, count)


if __name__ == "__main__":
    main()
