"""SmoothGrad: the paper's mean written out, the same for any batch, and a plain gradient where nothing is curved."""

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency

from tests.explain.traces import unchanged
from tests.explain.twins import random_twins
from visionkit.errors import ConfigError
from visionkit.explain.score import gradient
from visionkit.explain.smooth_grad import smooth_gradient
from visionkit.explain.targets import class_score

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not")  # captum's


def cubes(images):
    return images.pow(3).sum(dim=(1, 2, 3))  # its gradient is 3 x^2


def test_the_mean_written_out():
    images = torch.randn(2, 3, 5, 6) * torch.tensor([1.0, 4.0]).view(2, 1, 1, 1)
    expected = []
    for image in images:
        generator = torch.Generator().manual_seed(11)
        deviation = 0.3 * (image.max() - image.min())
        noisy = [image + deviation * torch.randn(3, 5, 6, generator=generator) for _ in range(7)]
        expected.append(torch.stack([3 * copy.square() for copy in noisy]).mean(dim=0))
    found = smooth_gradient(cubes, images, samples=7, noise=0.3, seed=11, batch_size=3)
    torch.testing.assert_close(found, torch.stack(expected))


def test_the_noise_has_its_deviation():
    """The mean of 3 (x + e)^2 is 3 x^2 + 3 var(e); captum's noise of the same deviation gives the same mean."""
    image = torch.linspace(-1, 3, 3 * 16 * 16).view(1, 3, 16, 16)
    found = smooth_gradient(cubes, image, samples=100, noise=0.2)
    variance = (found - 3 * image.square()).mean() / 3
    torch.testing.assert_close(variance, torch.tensor((0.2 * 4) ** 2), rtol=0.02, atol=0)
    tunnel = NoiseTunnel(Saliency(cubes))
    theirs = tunnel.attribute(image.clone(), nt_samples=100, stdevs=0.8, abs=False, nt_type="smoothgrad")
    torch.testing.assert_close(found.mean(), theirs.mean(), rtol=0.02, atol=0)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_any_batch_size(batch_size):
    model = random_twins("squeezenet1_0").ours
    score, images = class_score(model, 2), torch.randn(2, 3, 32, 40)
    seen = []

    def watched(given):
        seen.append(len(given))
        return score(given)

    expected = smooth_gradient(score, images, samples=6, seed=3, batch_size=2)
    with unchanged(model):
        found = smooth_gradient(watched, images, samples=6, seed=3, batch_size=batch_size)
    assert max(seen) == min(batch_size, 6) and sum(seen) == 12
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    alone = smooth_gradient(score, images[1:], samples=6, seed=3, batch_size=batch_size)
    torch.testing.assert_close(alone[0], found[1], rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_random_numbers_follow_from_the_seed_alone():
    images = torch.randn(1, 3, 8, 8)
    first = smooth_gradient(cubes, images, samples=3, seed=1)
    state = torch.random.get_rng_state()
    torch.rand(5)
    assert torch.equal(smooth_gradient(cubes, images, samples=3, seed=1), first)
    assert not torch.equal(smooth_gradient(cubes, images, samples=3, seed=2), first)
    torch.random.set_rng_state(state)
    smooth_gradient(cubes, images, samples=3, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_edges():
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(smooth_gradient(cubes, images, samples=2, noise=0), gradient(cubes, images))
    flat = torch.ones(1, 3, 8, 8)  # a range of 0 is noise of 0
    assert torch.equal(smooth_gradient(cubes, flat, samples=2), 3 * flat)
    assert smooth_gradient(cubes, images[:0]).shape == (0, 3, 8, 8)
    rounded = smooth_gradient(cubes, images.bfloat16(), samples=4)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, smooth_gradient(cubes, images, samples=4), rtol=0.1, atol=0.1)
    for wrong in ({"samples": 0}, {"batch_size": 0}, {"noise": -0.1}, {"noise": float("nan")}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            smooth_gradient(cubes, images, **wrong)
