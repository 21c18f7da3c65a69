"""Torchvision's own Faster R-CNN (ResNet-18 FPN) on the blood cells: the other side of `benchmarks/bccd.py`.

Nothing of VisionKit is imported here, the reader and the schedule included, so that a mistake of ours cannot
flatter both sides. Settings: short side 320, batch 4, SGD 0.005 (momentum 0.9, weight decay 1e-4) with 50 warm-up
steps and a tenth after 80 % of the steps, horizontal flips, frozen batch norm, stem and layer1 frozen.

    python benchmarks/bccd_torchvision.py --root DATA/bccd --weights resnet18_imagenet.pth --seed 0 --epochs 6
"""

import argparse
import contextlib
import io
import json
import random
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

NAMES = ("Platelets", "RBC", "WBC")


def read(root: Path, split: str) -> list[dict]:
    items = []
    for stem in (root / "ImageSets/Main" / f"{split}.txt").read_text().split():
        boxes, labels = [], []
        for node in ElementTree.parse(root / "Annotations" / f"{stem}.xml").iter("object"):
            x1, y1, x2, y2 = (float(node.find("bndbox").find(k).text) for k in ("xmin", "ymin", "xmax", "ymax"))
            if x2 > x1 and y2 > y1:  # two boxes of zero extent in this data set
                boxes.append((x1 - 1, y1 - 1, x2, y2))
                labels.append(NAMES.index(node.find("name").text) + 1)
        items.append({"path": root / "JPEGImages" / f"{stem}.jpg", "boxes": boxes, "labels": labels})
    return items


def load(item: dict, flip: bool) -> tuple[torch.Tensor, dict]:
    image = torch.from_numpy(np.array(Image.open(item["path"]).convert("RGB"))).permute(2, 0, 1).float() / 255
    boxes = torch.tensor(item["boxes"]).reshape(-1, 4)
    if flip:
        width = image.shape[-1]
        image = image.flip(-1)
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    return image, {"boxes": boxes, "labels": torch.tensor(item["labels"], dtype=torch.int64)}


def coco_metrics(items: list[dict], results: list[dict]) -> list[float]:
    truth = {"images": [], "annotations": [], "categories": [{"id": i + 1, "name": n} for i, n in enumerate(NAMES)]}
    for i, item in enumerate(items):
        width, height = Image.open(item["path"]).size
        truth["images"].append({"id": i + 1, "width": width, "height": height})
        for (x1, y1, x2, y2), label in zip(item["boxes"], item["labels"], strict=True):
            truth["annotations"].append(
                {"id": len(truth["annotations"]) + 1, "image_id": i + 1, "category_id": label, "iscrowd": 0,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(x) for x in evaluator.stats]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    shuffle = random.Random(args.seed)

    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=3)
    state = {k: v.float() for k, v in torch.load(args.weights, weights_only=True).items() if not k.startswith("fc.")}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    backbone.body.load_state_dict(state, strict=True)
    model = FasterRCNN(backbone, num_classes=1 + len(NAMES), min_size=320, max_size=1000)

    train, val = read(args.root, "train"), read(args.root, "val")
    steps_per_epoch = len(train) // 4 + (len(train) % 4 > 0)
    total = steps_per_epoch * args.epochs
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.005, 0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 50) * (0.1 if step >= 0.8 * total else 1.0)
    )
    start, step = time.perf_counter(), 0
    for epoch in range(args.epochs):
        model.train()
        order = shuffle.sample(range(len(train)), len(train))
        for i in range(0, len(order), 4):
            pairs = [load(train[j], shuffle.random() < 0.5) for j in order[i : i + 4]]
            losses = model([p[0] for p in pairs], [p[1] for p in pairs])
            loss = sum(losses.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % 10 == 0:
                print(f"epoch {epoch} step {step}/{total} loss {loss.item():.3f}", flush=True)
    train_seconds = time.perf_counter() - start

    model.eval()
    results: list[dict] = []
    with torch.inference_mode():
        for i, item in enumerate(val):
            output = model([load(item, False)[0]])[0]
            for (x1, y1, x2, y2), label, score in zip(
                output["boxes"].tolist(), output["labels"].tolist(), output["scores"].tolist(), strict=True
            ):
                box = [x1, y1, x2 - x1, y2 - y1]
                results.append({"image_id": i + 1, "category_id": label, "bbox": box, "score": score})
    stats = coco_metrics(val, results)
    record = {"side": "torchvision", "seed": args.seed, "epochs": args.epochs, "threads": args.threads,
              "AP": stats[0], "AP50": stats[1], "train_seconds": train_seconds}  # fmt: skip
    print(json.dumps(record))
    if args.output:
        args.output.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
