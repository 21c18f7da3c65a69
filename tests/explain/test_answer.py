"""Every kind of model is run far enough that its layers are seen."""

import pytest
import torch

from tests.explain.traces import unchanged
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.explain.answer import answer
from visionkit.explain.fold_norms import BatchNorm, folded, followed
from visionkit.explain.rectified import project
from visionkit.models import build, build_counter, build_segmenter

WIDTHS = (8, 8, 16, 16)
MODELS = {
    "classifier": lambda: build.classifier(basic_resnet(WIDTHS), 4),
    "localizer": lambda: build.localizer(basic_resnet(WIDTHS), 4, size=64),
    "fixed boxes": lambda: build.fixed_boxes(basic_resnet(WIDTHS), 4, size=64),
    "segmenter": lambda: build_segmenter.fcn(basic_resnet(WIDTHS), 4),
    "counter": lambda: build_counter.counter(basic_resnet(WIDTHS), 1, hidden=8),
    "faster rcnn": lambda: build.faster_rcnn(basic_resnet(WIDTHS), 4),
    "pyramid": lambda: build.faster_rcnn(build_fpn(lambda **given: basic_resnet(WIDTHS, **given), channels=8), 4),
    "backbone": lambda: basic_resnet(WIDTHS),
}


def model_of(kind):
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    for value in model.parameters():
        if not value.any():
            torch.nn.init.normal_(value, 0, 0.1)  # some decoders start from 0
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_one_row_an_image_that_follows_from_the_image(kind):
    model, images = model_of(kind), torch.randn(2, 3, 64, 64)
    with unchanged(model):
        found = answer(model, images)
        projected = project(model, "c2", images, 1)
    assert found.ndim == 2 and len(found) == 2 and found.requires_grad
    assert not torch.equal(found[0], found[1])
    assert projected.shape == images.shape and projected.abs().max() > 0


@pytest.mark.parametrize("kind", MODELS)
def test_all_norms_of_the_trunk_fold(kind):
    model, images = model_of(kind), torch.randn(2, 3, 64, 64)
    count = sum(isinstance(module, BatchNorm) for module in model.modules())
    assert count and len(followed(model)) == count
    torch.testing.assert_close(answer(folded(model), images), answer(model, images), rtol=1e-3, atol=1e-4)
