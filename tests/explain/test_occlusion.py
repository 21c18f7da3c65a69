"""Occlusion against captum's, a loop, and what is known by construction."""

import pytest
import torch
from captum.attr import Occlusion

from tests.explain.traces import unchanged
from tests.explain.twins import photographs, published_twins, random_twins, small_resnet
from visionkit.errors import ConfigError
from visionkit.explain.fillers import noise_filler
from visionkit.explain.fold_norms import folded
from visionkit.explain.occlusion import class_probability_map, heat, most_probable_map, occlusion
from visionkit.explain.targets import class_logits, class_score


def brightness(images):
    return images.sum(dim=(1, 2, 3))


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_against_captum(batch_size):
    twins, image = random_twins("squeezenet1_0"), torch.randn(1, 3, 40, 48)
    with unchanged(twins.ours):
        found = occlusion(class_score(twins.ours, 3), image, window=16, stride=8, batch_size=batch_size)
    assert found.answers.shape == (4, 5) and found.answers.dtype == torch.float32
    oracle = Occlusion(twins.theirs)
    expected = oracle.attribute(image, sliding_window_shapes=(3, 16, 16), strides=(3, 8, 8), baselines=0.0, target=3)
    torch.testing.assert_close(heat(found), expected[0, 0].float(), rtol=1e-3, atol=1e-5)
    assert expected.abs().max() > 1e-3


def test_published_weights_folded(weights_root, datasets_root):
    twins = published_twins("resnet18", weights_root)
    images, labels = photographs(datasets_root, twins.ours, 1)
    oracle = Occlusion(torch.nn.Sequential(twins.theirs, torch.nn.Softmax(dim=1)))
    grid = {"sliding_window_shapes": (3, 96, 96), "strides": (3, 64, 64)}
    expected = oracle.attribute(images, **grid, baselines=0.0, target=labels[0])[0, 0].float()
    fast = class_logits(folded(twins.ours).to(memory_format=torch.channels_last))
    found = occlusion(fast, images, window=96, stride=64, batch_size=5)
    assert found.answers.shape == (3, 3, 1000)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(heat(class_probability_map(found, labels[0])), expected, rtol=0, atol=1e-5)


def test_half_precision():
    """Autocast of a model in fp32, and a model in bf16: near, and not the same."""
    model, image = small_resnet(), torch.randn(1, 3, 48, 48).requires_grad_()
    expected = occlusion(class_logits(model), image, window=24, stride=24)
    assert not expected.answers.requires_grad and image.grad is None
    cast = occlusion(class_logits(model), image, window=24, stride=24, precision="bf16")
    own = occlusion(class_logits(model.bfloat16()), image.bfloat16(), window=24, stride=24)
    for found in (cast, own):
        assert found.answers.dtype == torch.float32 and not torch.equal(found.answers, expected.answers)
        atol = 0.05 * float(expected.answers.abs().max())
        torch.testing.assert_close(found.answers, expected.answers, rtol=0.05, atol=atol)


def test_places_cover_every_pixel_and_never_leave_the_image():
    """The sum of a window's pixels is what a score of brightness loses there."""
    image = torch.rand(1, 3, 23, 31)
    found = occlusion(brightness, image, window=10, stride=7, batch_size=4)
    assert found.tops == (0, 7, 13) and found.lefts == (0, 7, 14, 21)
    assert found.window == (10, 10) and found.size == (23, 31)
    torch.testing.assert_close(found.whole, image.sum())
    for i, top in enumerate(found.tops):
        for j, left in enumerate(found.lefts):
            covered = image[..., top : top + 10, left : left + 10]
            assert covered.shape[-2:] == (10, 10)
            torch.testing.assert_close(found.whole - found.answers[i, j], covered.sum(), rtol=1e-3, atol=1e-3)
    whole = heat(found)
    assert whole.shape == (23, 31) and bool((whole > 0).all())


def test_heat_is_the_mean_over_the_windows_that_cover():
    found = occlusion(brightness, torch.rand(1, 1, 9, 12), window=4, stride=3)
    drops = found.whole - found.answers
    expected = torch.zeros(9, 12)
    for y in range(9):
        for x in range(12):
            own = [
                drops[i, j]
                for i, top in enumerate(found.tops)
                for j, left in enumerate(found.lefts)
                if top <= y < top + 4 and left <= x < left + 4
            ]
            expected[y, x] = torch.stack(own).mean()
    torch.testing.assert_close(heat(found), expected)


def test_classes_of_figure_7():
    """A network of two classes: the left half's brightness against the right half's."""
    image = torch.ones(1, 1, 4, 8)
    image[..., 4:] = 0.9

    def logits(images):
        return torch.stack((images[..., :4].sum(dim=(1, 2, 3)), images[..., 4:].sum(dim=(1, 2, 3))), dim=1)

    found = occlusion(logits, image, window=4, stride=4)
    assert found.answers.shape == (1, 2, 2)
    assert most_probable_map(found).tolist() == [[1, 0]]
    left = class_probability_map(found, 0)
    expected = torch.sigmoid(torch.tensor([[-14.4, 16.0]]))
    torch.testing.assert_close(left.answers, expected)
    torch.testing.assert_close(left.whole, torch.sigmoid(torch.tensor(16 - 14.4)))
    torch.testing.assert_close(left.answers + class_probability_map(found, 1).answers, torch.ones(1, 2))
    assert heat(left)[0, 0] > 0 > heat(left)[0, -1]


def test_the_filler_stands_in_the_window_only():
    image, filler, seen = torch.rand(1, 3, 8, 8), noise_filler(2), []

    def kept(images):
        seen.append(images.clone())
        return brightness(images)

    occlusion(kept, image, window=4, stride=4, filler=filler, batch_size=3)
    assert [len(batch) for batch in seen] == [1, 3, 1]
    images = torch.cat(seen)
    assert torch.equal(images[0], image[0])
    hidden = filler(image)[0]
    for one, (top, left) in zip(images[1:], [(0, 0), (0, 4), (4, 0), (4, 4)], strict=True):
        expected = image[0].clone()
        expected[:, top : top + 4, left : left + 4] = hidden[:, top : top + 4, left : left + 4]
        assert torch.equal(one, expected)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"window": 33, "stride": 8}, "window=33 has to be at least 1 and at most the image's side, 32 pixels"),
        ({"window": 0, "stride": 1}, "window=0"),
        ({"window": 8, "stride": 9}, "stride=9 has to be at least 1 and at most window=8"),
        ({"window": 8, "stride": 0}, "stride=0"),
        ({"window": 8, "stride": 8, "batch_size": 0}, "batch_size=0"),
        ({"window": 8, "stride": 8, "precision": "fp16"}, "precision=fp16: fp32 or bf16"),
    ],
)
def test_sentences(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        occlusion(brightness, torch.rand(1, 3, 32, 48), **settings)


@pytest.mark.parametrize("count", [0, 2])
def test_one_image_at_a_time(count):
    with pytest.raises(ConfigError, match=f"one image at a time, not at {count}"):
        occlusion(brightness, torch.rand(count, 3, 32, 32), window=8, stride=8)


def test_a_window_as_large_as_the_image():
    found = occlusion(brightness, torch.rand(1, 3, 8, 8), window=8, stride=8)
    assert found.answers.tolist() == [[0.0]] and heat(found).std() == 0


def test_nothing_is_left_after_an_exception():
    model = random_twins("squeezenet1_0").ours

    def score(images):
        model.scores(images)
        raise RuntimeError("on the way")

    with unchanged(model), pytest.raises(RuntimeError, match="on the way"):
        occlusion(score, torch.rand(1, 3, 32, 32), window=8, stride=8, precision="bf16")
    assert not torch.is_autocast_enabled("cpu")
