"""Folded batch norms: the same answers without them, and those that must not be folded are left."""

import pytest
import torch
from torch import nn

from tests.explain.traces import unchanged
from visionkit.backbones import cifar_resnet, densenet, mobilenet_v2, preact_resnet, squeezenet, vgg
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.backbones.pretrained import load_weights
from visionkit.backbones.resnet import basic_resnet, resnet18
from visionkit.explain.fold_norms import folded
from visionkit.explain.targets import class_logits
from visionkit.models.build import classifier, faster_rcnn

NORMS = nn.BatchNorm2d | FrozenBatchNorm2d


def stirred(model):
    """With norms that do something, of any kind."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, NORMS):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


def norms(model):
    return [path for path, module in model.named_modules() if isinstance(module, NORMS)]


@pytest.mark.parametrize(
    ("build", "left"),
    [
        (lambda: basic_resnet((8, 8, 16, 16), (2, 1, 1, 1)), 0),
        (lambda: basic_resnet((8, 8, 16, 16), (2, 1, 1, 1), norm="frozen"), 0),
        (cifar_resnet.resnet20, 0),
        (lambda: mobilenet_v2.mobilenet_v2(width=0.25), 0),
        (lambda: squeezenet.squeezenet1_1(norm="batch"), 0),
        (vgg.vgg11_bn_narrow, 0),  # its convolutions have a bias as well
        (lambda: preact_resnet.preact_resnet20(), 9),  # the first of 8 blocks, the last
        (lambda: densenet.DenseNet(8, (2, 2, 2, 2), 16), 8 + 4),  # the first of each layer, 3 transitions, the last
    ],
    ids=["resnet", "frozen", "cifar", "mobilenet", "squeezenet", "vgg", "preact", "densenet"],
)
def test_answers_agree(build, left):
    model = stirred(classifier(build(), 5))
    images = torch.randn(2, 3, 64, 64)
    with unchanged(model):
        found = folded(model)
    assert len(norms(model)) > len(norms(found)) == left
    expected = model.scores(images).detach()
    torch.testing.assert_close(found.scores(images).detach(), expected, rtol=1e-4, atol=1e-5 * float(expected.std()))


def test_published_weights(weights_root):
    model = classifier(resnet18(), 1000).eval()
    load_weights(model.backbone, weights_root / "resnet18_imagenet.pth", model.head)
    images = torch.randn(1, 3, 224, 224)
    found, expected = (class_logits(one)(images).softmax(dim=1) for one in (folded(model), model))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_detector_folds_its_trunk_and_the_tail_of_a_region():
    torch.manual_seed(0)
    model = stirred(faster_rcnn(basic_resnet((8, 8, 16, 16)), 3))
    found = folded(model)
    assert any("layer4" in path for path in norms(model)) and norms(found) == []
    maps, windows = torch.randn(1, 3, 64, 64), torch.randn(2, 16, 14, 14)
    for run in (lambda net: net(maps, ("c4",))["c4"], lambda net: net.tail(windows)):
        torch.testing.assert_close(run(found.backbone), run(model.backbone), rtol=1e-4, atol=1e-5)


class Odd(nn.Module):
    """A head of convolutions whose norms are no simple followers."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(16, 16, 1)
        self.norm, self.other = nn.BatchNorm2d(16), nn.BatchNorm2d(16)

    def forward(self, maps):
        made = self.conv(maps)
        if self.kind == "read twice":
            found = self.norm(made) + made
        elif self.kind == "two norms":
            found = self.norm(made) + self.other(made)
        elif self.kind == "run twice":
            found = self.norm(made) + self.conv(maps + 1)
        elif self.kind == "norm run twice":
            found = self.norm(made) + self.norm(maps)
        elif self.kind == "changed between":
            found = self.norm(made.relu_())
        elif self.kind == "written into":
            made[:, :1] = 0
            found = self.norm(made)
        else:
            found = self.norm(made) + self.norm(self.conv(maps + 1))  # twice, but always the one after the other
        return found.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("read twice", 2),
        ("two norms", 2),
        ("run twice", 2),
        ("norm run twice", 2),
        ("changed between", 2),
        ("written into", 2),
        ("both twice", 1),
    ],
)
def test_only_norms_that_alone_read_a_convolution(kind, left):
    model = classifier(basic_resnet((8, 8, 16, 16)), 5)
    model.head = Odd(kind)
    model = stirred(model)
    found = folded(model)
    assert len([path for path in norms(found) if path.startswith("head")]) == left
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(found.scores(images), model.scores(images), rtol=1e-4, atol=1e-5)


def test_half_precision_stays_and_the_copy_is_another():
    model = stirred(classifier(basic_resnet((8, 8, 16, 16)), 5)).bfloat16()
    found = folded(model)
    assert {value.dtype for value in found.parameters()} == {torch.bfloat16}
    images = torch.randn(2, 3, 64, 64, dtype=torch.bfloat16)
    torch.testing.assert_close(found.scores(images), model.scores(images), rtol=0.1, atol=0.1)
    ours, theirs = ({value.data_ptr() for value in one.parameters()} for one in (model, found))
    assert not ours & theirs
