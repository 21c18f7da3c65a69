"""The drawings show computed numbers, and the numbers are right."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from visionkit.analysis.pictures import FILTER, INPUT, KERNELS, draw_all, filtered, scene, shared_gradient


def test_all_drawings_are_small_files_with_something_on_them(tmp_path):
    paths = draw_all(tmp_path / "new")
    assert [path.name for path in paths] == ["kernels.png", "sliding.png", "shared_weight.png", "accuracy.png"]
    for path in paths:
        assert path.stat().st_size < 150_000
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert min(pixels.shape[:2]) > 300 and pixels.std() > 15
        assert (pixels[0] == 255).mean() > 0.9  # nothing is cut off at the border
        assert (pixels[:, -1] == 255).mean() > 0.9


def test_the_picture_is_the_same_each_time():
    assert torch.equal(scene(), scene())


@pytest.mark.parametrize("name", ["blur", "sharpen", "emboss"])
def test_kernels_that_keep_brightness(name):
    """Their numbers sum to one: an even area stays as it is."""
    assert float(KERNELS[name].sum()) == pytest.approx(1)
    even = torch.full((3, 12, 12), 0.4)
    torch.testing.assert_close(filtered(even, KERNELS[name]), even)


@pytest.mark.parametrize("name", ["edges", "vertical edges"])
def test_kernels_that_see_changes_only(name):
    assert float(KERNELS[name].sum()) == 0
    step = torch.zeros(1, 9, 9)
    step[:, :, 5:] = 1
    answer = filtered(step, KERNELS[name])[0]
    assert answer[4, 4:6].abs().min() > 0.5 and answer[:, :3].abs().max() == 0 and answer[:, 7:].abs().max() == 0
    turned = filtered(step.transpose(1, 2), KERNELS[name])[0]
    assert (turned.abs().max() == 0) == (name == "vertical edges")


def test_blur_is_the_mean_of_its_window():
    image = torch.rand(1, 15, 15)
    torch.testing.assert_close(filtered(image, KERNELS["blur"])[0, 7, 7], image[0, 4:11, 4:11].mean())


def test_sliding_by_hand():
    by_hand = [[sum(float(INPUT[y + i, x + j] * FILTER[i, j]) for i in range(3) for j in range(3)) for x in range(2)]
               for y in range(2)]  # fmt: skip
    assert F.conv2d(INPUT[None, None], FILTER[None, None])[0, 0].tolist() == by_hand


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_of_a_shared_weight_is_the_sum_over_positions(seed):
    shared = shared_gradient(seed)
    assert shared.shares.shape == (2, 2, 3, 3)
    assert torch.equal(shared.shares.sum(dim=(2, 3)), shared.autograd)
    assert shared.shares.abs().sum() > 0
    y, x, i, j = 1, 2, 0, 1
    assert shared.shares[i, j, y, x] == shared.image[y + i, x + j] * shared.upstream[y, x]
