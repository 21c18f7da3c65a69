"""Published weights on photographs: the accuracy that they are known for, equal to torchvision's own model.

Needs VISIONKIT_DATASETS (imagenet_samples/) and VISIONKIT_WEIGHTS; the full set of 250 photographs is a slow test.
"""

import csv

import numpy as np
import pytest
import torch

from visionkit.backbones import resnet, squeezenet
from visionkit.backbones.pretrained import load_weights
from visionkit.data.image import read_image
from visionkit.models.build import classifier
from visionkit.models.pixels import Normalize, batch_of

NETWORKS = {
    # builder, top-1 and top-5 of torchvision's model with the same file on all 250 photographs
    "resnet18": (resnet.resnet18, 0.768, 0.924),
    "resnet50": (resnet.resnet50, 0.808, 0.944),
    "squeezenet1_0": (squeezenet.squeezenet1_0, 0.644, 0.832),
}


def published(name, weights_root):
    """Our classifier and torchvision's, both with the weights of the file."""
    from torchvision import models

    path = weights_root / f"{name}_imagenet.pth"
    ours = classifier(NETWORKS[name][0](), 1000)
    load_weights(ours.backbone, path, ours.head)
    theirs = models.get_model(name, weights=None)
    theirs.load_state_dict({key: value.float() for key, value in torch.load(path, weights_only=True).items()})
    return ours.eval(), theirs.eval()


def photographs(datasets_root, step):
    rows = list(csv.DictReader((datasets_root / "imagenet_samples/labels.csv").open()))[::step]
    images = [read_image(str(datasets_root / "imagenet_samples/images" / row["file"])) for row in rows]
    return images, np.array([int(row["class_index"]) for row in rows])


@torch.inference_mode()
def scores(model, images):
    return torch.cat([model.logits(batch_of(image, model.resize)) for image in images])  # (N, 1000)


def accuracy(logits, labels):
    hits = (logits.topk(5).indices.numpy() == labels[:, None]).cumsum(axis=1) > 0  # (N, 5)
    return hits[:, 0].mean(), hits[:, 4].mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_torchvisions_with_the_same_file(name, weights_root, datasets_root):
    ours, theirs = published(name, weights_root)
    images, labels = photographs(datasets_root, 50)
    with torch.inference_mode():
        inputs = torch.cat([ours.normalize(batch_of(image, ours.resize)) for image in images])
        found, expected = scores(ours, images), theirs(inputs)
    assert (found - expected).abs().max() / expected.abs().max() < 1e-5
    assert accuracy(found, labels)[1] >= 0.6  # of five photographs, at least three among the five best


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.0, 0.0, 0.0), (1 / 255,) * 3),  # pixels left in 0 ... 255
        ((0.596, 0.558, 0.497), (0.052, 0.050, 0.051)),  # normalised twice
    ],
)
def test_a_wrong_mean_and_std_is_seen(mean, std, weights_root, datasets_root):
    """On 25 photographs. (SqueezeNet would not do: without batch norm it hardly minds the scale of its input.)"""
    ours, _ = published("resnet18", weights_root)
    images, labels = photographs(datasets_root, 10)
    assert accuracy(scores(ours, images), labels)[0] > 0.6
    ours.normalize = Normalize(mean, std)
    assert accuracy(scores(ours, images), labels)[0] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_accuracy_on_all_photographs(name, weights_root, datasets_root):
    ours, _ = published(name, weights_root)
    found = accuracy(scores(ours, (data := photographs(datasets_root, 1))[0]), data[1])
    print(f"{name}: top-1 {found[0]:.3f}, top-5 {found[1]:.3f}")
    assert found == pytest.approx(NETWORKS[name][1:], abs=0.02)
