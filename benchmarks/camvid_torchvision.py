"""torchvision's `FCNHead` on its undilated ResNet-18 on the street scenes: the other side of `fcn_r18_camvid`.

The pictures, their augmentation and their order are VisionKit's, so that both sides see the very same batches, and so
are optimizer, schedule, precision and number of steps; network, loss and the measure are torchvision's and torch's
alone. mIoU is computed here from scratch, at the size of the files, as torchvision's reference does.

    python benchmarks/camvid_torchvision.py --weights resnet18_imagenet.pth --seed 0
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.fcn import FCN, FCNHead

from visionkit.assemble import load_data, train_dataset
from visionkit.backbones.resnet import resnet18 as ours
from visionkit.config import compose, instantiate
from visionkit.data.image import read_image
from visionkit.data.loaders import TrainLoader
from visionkit.engine.optim import parameter_groups
from visionkit.models.build_segmenter import fcn

MEAN, STD = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def network(weights: Path, classes: int) -> FCN:
    body = resnet18(weights=None)
    body.load_state_dict({k: v.float() for k, v in torch.load(weights, weights_only=True).items()})
    return FCN(IntermediateLayerGetter(body, {"layer4": "out"}), FCNHead(512, classes))


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.float() / 255 - MEAN) / STD


@torch.inference_mode()
def mean_iou(model: FCN, index: object, classes: int) -> tuple[float, list[float]]:
    model.eval()
    counts = torch.zeros(classes, classes)
    for i in range(len(index)):
        pixels = torch.from_numpy(read_image(index.path(i))).permute(2, 0, 1)[None]
        found = model(normalised(pixels))["out"].argmax(dim=1)[0]
        truth = torch.from_numpy(index.semantic(i))
        known = truth < classes
        counts += torch.bincount(truth[known] * classes + found[known], minlength=classes**2).view(classes, classes)
    union = counts.sum(0) + counts.sum(1) - counts.diag()
    ious = (counts.diag() / union).tolist()
    return float(np.mean(ious)), ious


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("overrides", nargs="*", help="settings of the experiment, such as trainer.epochs=20")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    words = ["experiment=fcn_r18_camvid", "backbone.weights=null", f"seed={args.seed}", *args.overrides]
    config = compose("train", words)
    data = load_data(config)
    classes = len(data.names)
    torch.manual_seed(args.seed)
    model = network(args.weights, classes).to(memory_format=torch.channels_last)
    dataset = train_dataset(config, data, fcn(ours(), classes))  # of our network the resizing rule alone is used
    loader = TrainLoader(dataset, config.trainer.batch_size, args.seed, workers=config.trainer.workers)
    total = loader.steps_per_epoch * config.trainer.epochs
    optim = config.optim
    groups = parameter_groups(
        model, lr=optim.lr, weight_decay=optim.weight_decay, lr_multipliers=dict(optim.lr_multipliers)
    )
    optimizer = instantiate(optim.optimizer)(groups, lr=optim.lr)
    schedule = instantiate(config.schedule)()
    start = time.perf_counter()
    model.train()
    for step, (batch, targets) in zip(range(total), loader.batches(), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * schedule(step, total)
        images = normalised(batch.pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.trainer.precision == "bf16"):
            scores = model(images)["out"]
        loss = F.cross_entropy(scores.float(), targets.semantic, ignore_index=255)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}/{total} loss {loss.item():.4f} {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    value, ious = mean_iou(model, data.val, classes)
    for name, iou in zip(data.names, ious, strict=True):
        print(f"{name:12} {iou:.3f}")
    print(json.dumps({"side": "torchvision", "seed": args.seed, "mIoU": value, "train_seconds": seconds}))


if __name__ == "__main__":
    main()
