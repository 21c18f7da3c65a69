"""Penalties and the blur, beside loops and scipy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from visionkit.errors import ConfigError
from visionkit.explain.blur import gaussian_blur
from visionkit.explain.priors import Priors, penalties, total_variation


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_total_variation_beside_a_loop(power):
    images = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    expected = []
    for image in images:
        sums = [
            ((c[i, j + 1] - c[i, j]) ** 2 + (c[i + 1, j] - c[i, j]) ** 2) ** (power / 2)
            for c in image
            for i in range(4)
            for j in range(6)
        ]
        expected.append(sum(sums) / len(sums))
    torch.testing.assert_close(total_variation(images, power), torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_total_variation_of_a_flat_image_has_a_finite_slope():
    images = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    total_variation(images, 1.0).sum().backward()
    assert images.grad is not None and images.grad.isfinite().all()


def test_blur_beside_scipy():
    images = torch.rand(2, 3, 20, 17, dtype=torch.float64)
    for deviation in (0.5, 1.3):
        reach = int(np.ceil(3 * deviation))
        expected = gaussian_filter(images.numpy(), (0, 0, deviation, deviation), mode="nearest", radius=reach)
        np.testing.assert_allclose(gaussian_blur(images, deviation).numpy(), expected, atol=1e-12)
    assert torch.equal(gaussian_blur(images, 0.0), images)


def test_each_weight_does_its_own():
    images = torch.stack([torch.full((3, 4, 4), 4.0), torch.rand(3, 4, 4)])
    none = Priors(variation=0, alpha_norm=0)
    assert penalties(images, none).tolist() == [0, 0]
    found = penalties(images, Priors(variation=0, alpha_norm=1, alpha=6, extreme=2))
    assert float(found[0]) == pytest.approx(64) and float(found[1]) < 0.1
    smooth = penalties(images, Priors(variation=2, alpha_norm=0))
    assert float(smooth[0]) == 0 and float(smooth[1]) == pytest.approx(2 * float(total_variation(images)[1]))


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("rate", 0.0), ("blur", -1.0), ("alpha", 0.0), ("jitter", -1)]
)
def test_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        Priors(**{name: value})
