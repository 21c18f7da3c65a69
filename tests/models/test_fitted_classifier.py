"""`build.classifier` with the heads that are fitted: any backbone takes them."""

import pytest
import torch

from visionkit.backbones.alexnet import alexnet
from visionkit.backbones.googlenet import googlenet
from visionkit.backbones.lenet import lenet
from visionkit.backbones.mlp import mlp
from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.squeezenet import squeezenet1_1
from visionkit.errors import ConfigError
from visionkit.heads.linear_svm import LinearSVM
from visionkit.models.build import classifier
from visionkit.structures import Batch

NETWORKS = {
    "lenet": (lenet, 32),
    "mlp": (lambda: mlp(hidden=[8]), 32),
    "resnet": (lambda: basic_resnet((8, 8, 16, 16)), 64),
    "squeezenet": (squeezenet1_1, 64),
    "alexnet": (alexnet, 64),
}


def batch(side, count=2):
    numbers = torch.arange(count)
    pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    return Batch(pixels, torch.full((count, 2), side), numbers, numbers)


def plane(model):
    """A fitted SVM whose decision values are the first numbers of the vector."""
    channels = model.backbone.out_channels
    model.head.set(torch.eye(3, channels), torch.zeros(3), torch.zeros(channels), torch.ones(channels))


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_sees_the_vector_of_any_network(name):
    make, side = NETWORKS[name]
    model = classifier(make(), 3, size=side, head="svm").eval()
    assert isinstance(model.head, LinearSVM)
    plane(model)
    images = batch(side)
    torch.testing.assert_close(model.logits(images), model.features(images)[:, :3])


def test_auxiliary_heads_are_left_out():
    with torch.device("meta"):
        assert len(classifier(googlenet(), 3).aux) > 0
        assert len(classifier(googlenet(), 3, head="nearest").aux) == 0


def test_a_run_that_would_train_it_is_told():
    model = classifier(lenet(), 3, head="svm")
    with pytest.raises(ConfigError, match="has not been fitted to any picture: phases=svm does it"):
        model.classify(batch(32))


def test_another_head_is_refused():
    with pytest.raises(ConfigError, match="task.head=tree: the heads are own, svm and nearest"):
        classifier(lenet(), 3, head="tree")
