"""Our classifier beside torchvision's with the same weights, for oracles that want plain modules."""

import csv
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from visionkit.backbones import densenet, resnet, squeezenet
from visionkit.backbones.pretrained import load_weights
from visionkit.data.image import read_image
from visionkit.models.build import classifier
from visionkit.models.classifier import Classifier
from visionkit.models.pixels import Normalize, batch_of

BUILDERS = {
    "resnet18": resnet.resnet18,
    "resnet50": resnet.resnet50,
    "squeezenet1_0": squeezenet.squeezenet1_0,
    "densenet121": densenet.densenet121,
}
LAST_MAPS = {"resnet18": "layer4", "resnet50": "layer4", "squeezenet1_0": "features", "densenet121": "features"}
CLASSES = 7


class Twins(NamedTuple):
    """The same function twice. `theirs` has no ReLU in place, and `last` is where its last maps come from."""

    ours: Classifier
    theirs: nn.Module
    last: nn.Module


def random_twins(name: str, seed: int = 0) -> Twins:
    """With random weights, and norms that do something."""
    torch.manual_seed(seed)
    ours = classifier(BUILDERS[name](), CLASSES).eval()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    for module in ours.head.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 0.1)
            nn.init.normal_(module.bias, 0.3, 0.1)
    theirs = plain_module(name, CLASSES)
    state = {key.removeprefix("backbone."): value for key, value in ours.state_dict().items()}
    for keys, own in ours.backbone.classifier_keys.items():
        state = {key.replace(f"head.{own}", keys, 1): value for key, value in state.items()}
    theirs.load_state_dict({key: state[key] for key in theirs.state_dict()})
    return Twins(ours, theirs, theirs.get_submodule(LAST_MAPS[name]))


def small_resnet() -> Classifier:
    """Narrow, without a twin: half precision takes long where the processor does not compute in it."""
    torch.manual_seed(0)
    return classifier(resnet.basic_resnet((8, 8, 16, 16)), CLASSES).eval()


def published_twins(name: str, weights_root: Path) -> Twins:
    """With ImageNet's weights."""
    path = weights_root / f"{name}_imagenet.pth"
    ours = classifier(BUILDERS[name](), 1000).eval()
    load_weights(ours.backbone, path, ours.head)
    theirs = plain_module(name, 1000)
    theirs.load_state_dict({key: value.float() for key, value in torch.load(path, weights_only=True).items()})
    return Twins(ours, theirs, theirs.get_submodule(LAST_MAPS[name]))


def plain_module(name: str, num_classes: int) -> nn.Module:
    """torchvision's, in eval mode, without ReLUs in place: hooks of the oracles do not bear them."""
    from torchvision import models

    found = models.get_model(name, weights=None, num_classes=num_classes).eval()
    for module in found.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return found


def photographs(datasets_root: Path, model: Classifier, count: int) -> tuple[Tensor, list[int]]:
    """Pictures of ImageNet, spread over the classes, as the model sees them, (N, 3, 224, 224), and their labels."""
    rows = list(csv.DictReader((datasets_root / "imagenet_samples/labels.csv").open()))
    rows = rows[7 :: len(rows) // count][:count]
    batches = [
        batch_of(read_image(str(datasets_root / "imagenet_samples/images" / row["file"])), model.resize) for row in rows
    ]
    normalize: Normalize = model.normalize
    return torch.cat([normalize(batch) for batch in batches]), [int(row["class_index"]) for row in rows]
