"""Published classifiers and ImageNet's sample pictures, for benchmarks of explanations."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from visionkit.backbones.base import Backbone
from visionkit.backbones.pretrained import load_weights
from visionkit.backbones.resnet import resnet18
from visionkit.backbones.squeezenet import squeezenet1_0
from visionkit.data.image import read_image
from visionkit.models.build import classifier
from visionkit.models.classifier import Classifier
from visionkit.models.pixels import batch_of

NETWORKS: dict[str, Callable[[], Backbone]] = {"resnet18": resnet18, "squeezenet1_0": squeezenet1_0}


def published(name: str) -> Classifier:
    """With the file NAME_imagenet.pth of the folder VISIONKIT_WEIGHTS."""
    model = classifier(NETWORKS[name](), 1000)
    load_weights(model.backbone, f"{name}_imagenet.pth", model.head)
    return model.eval()


@torch.no_grad()
def pictures(model: Classifier, count: int) -> list[tuple[str, Tensor, int]]:
    """File, normalised image (1, 3, 224, 224) and label of `count` pictures, spread evenly over the classes."""
    root = Path(os.environ["VISIONKIT_DATASETS"]) / "imagenet_samples"
    rows = list(csv.DictReader((root / "labels.csv").open()))
    chosen = [rows[i * len(rows) // count] for i in range(count)]
    return [
        (
            row["file"],
            model.normalize(batch_of(read_image(str(root / "images" / row["file"])), model.resize)),
            int(row["class_index"]),
        )
        for row in chosen
    ]
