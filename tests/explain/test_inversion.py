"""Images made to order: searches that find what they look for, the same one each time."""

from dataclasses import replace

import pytest
import torch

from visionkit.backbones.cifar_resnet import resnet20
from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.explain.inversion import class_image, invert
from visionkit.explain.layer_maps import layer_maps
from visionkit.explain.priors import FOR_LAYERS, Priors
from visionkit.explain.targets import class_score
from visionkit.models.build import classifier


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return classifier(resnet20(), 7).eval()


def test_a_score_rises_above_that_of_any_noise(model):
    made = class_image(class_score(model, 3), (2, 3, 32, 32), Priors(steps=25))
    assert made.images.shape == (2, 3, 32, 32) and not made.images.requires_grad and len(made.losses) == 25
    with torch.no_grad():
        score = class_score(model, 3)
        noise = score(made.images.std() * torch.randn(64, 3, 32, 32))
        assert (score(made.images) > noise.max() + 4 * noise.std()).all()
    assert not torch.equal(made.images[0], made.images[1]), "each starts from noise of its own"
    assert made.losses[-1] < made.losses[0] and made.errors == ()


@pytest.mark.parametrize("layer", ["c0", "c1", "layer1.0.conv2"])
def test_a_layer_is_answered_alike(model, layer):
    images = torch.randn(2, 3, 16, 16)
    made = invert(model, layer, images, replace(FOR_LAYERS, steps=60))
    wanted, found = layer_maps(model, layer, images), layer_maps(model, layer, made.images)
    errors = (found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    torch.testing.assert_close(torch.tensor(made.errors), errors.detach())
    assert max(made.errors) < 0.25, made.errors


def test_shallow_layers_give_back_the_pixels_and_deep_ones_do_not(model):
    image, few = torch.randn(1, 3, 16, 16), replace(FOR_LAYERS, steps=60)
    far = [float((invert(model, layer, image, few).images - image).norm() / image.norm()) for layer in ("c0", "tail")]
    assert far[0] < 0.6 < far[1]


def test_the_seed_decides(model):
    def made(seed: int) -> torch.Tensor:
        return class_image(class_score(model, 1), (1, 3, 32, 32), Priors(steps=5, jitter=3, seed=seed)).images

    torch.manual_seed(1)
    first = made(0)
    torch.manual_seed(2)
    assert torch.equal(first, made(0)) and not torch.equal(first, made(1))


def test_limits_hold(model):
    low, high = torch.full((3, 1, 1), -0.3), torch.full((3, 1, 1), 0.2)
    made = class_image(class_score(model, 1), (1, 3, 32, 32), Priors(steps=10, rate=0.5), (low, high))
    assert made.images.min() == low.max() and made.images.max() == high.max()


def test_nothing_is_left_in_the_model(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    class_image(class_score(model, 1), (1, 3, 32, 32), Priors(steps=3))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_refused(model):
    with pytest.raises(ConfigError, match="there is no layer 'c9'"):
        invert(model, "c9", torch.zeros(1, 3, 32, 32))
    with pytest.raises(ConfigError, match="layer=c0 answers 0 everywhere"):
        invert(_silent(), "c0", torch.zeros(1, 3, 32, 32))
    with pytest.raises(NonFiniteLossError, match="at step"):
        class_image(lambda images: images.sum(dim=(1, 2, 3)) / 0, (1, 3, 8, 8))


def _silent() -> torch.nn.Module:
    model = classifier(resnet20(), 7).eval()
    torch.nn.init.constant_(model.backbone.bn1.bias, -100)
    return model
