"""Saliency against captum's."""

import pytest
import torch
from captum.attr import Saliency

from tests.explain.traces import unchanged
from tests.explain.twins import photographs, published_twins, random_twins, small_resnet
from visionkit.explain.saliency import saliency
from visionkit.explain.targets import class_score

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not")  # captum's


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", "densenet121"])
def test_against_captum(name):
    twins, images = random_twins(name), torch.randn(2, 3, 64, 64)
    with unchanged(twins.ours):
        found = saliency(class_score(twins.ours, 3), images)
    expected = Saliency(twins.theirs).attribute(images.clone(), target=3).amax(dim=1)
    assert found.shape == (2, 64, 64) and found.dtype == torch.float32 and not found.requires_grad
    assert expected.max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_published_weights(weights_root, datasets_root):
    twins = published_twins("resnet18", weights_root)
    images, labels = photographs(datasets_root, twins.ours, 2)
    for image, label in zip(
        images[:, None], labels, strict=True
    ):  # of one batch size: rounding changes which cell wins
        found = saliency(class_score(twins.ours, label), image)
        expected = Saliency(twins.theirs).attribute(image.clone(), target=label).amax(dim=1)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_signs_do_not_cancel_and_images_do_not_mix():
    weights = torch.tensor([1.0, -3.0, 2.0]).view(3, 1, 1)
    images = torch.randn(2, 3, 4, 5)
    found = saliency(lambda given: (given * weights).sum(dim=(1, 2, 3)) * torch.tensor([1.0, 10.0]), images)
    assert found[0].tolist() == [[3.0] * 5] * 4 and found[1].tolist() == [[30.0] * 5] * 4


def test_no_images_half_precision_and_frozen_weights():
    model = small_resnet()
    score = class_score(model, 1)
    assert saliency(score, torch.zeros(0, 3, 64, 64)).shape == (0, 64, 64)
    images = torch.randn(1, 3, 64, 64)
    expected = saliency(score, images)
    model.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(saliency(score, images), expected, rtol=0, atol=0)
    rounded = saliency(class_score(model.bfloat16(), 1), images.bfloat16())
    assert rounded.dtype == torch.float32
    assert torch.corrcoef(torch.stack((rounded.flatten(), expected.flatten())))[0, 1] > 0.8
