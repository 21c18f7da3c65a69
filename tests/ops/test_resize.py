import warnings

import numpy as np
import pytest
import torch

from visionkit.ops.resize import TestResize, resize_image, resized_shape


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_shape_known_values():
    assert resized_shape((480, 640), 800, 1333) == (800, 1066)
    assert resized_shape((400, 1200), 800, 1333) == (444, 1333)
    assert resized_shape((1, 1000), 10, 20) == (1, 20)
    assert resized_shape((1000, 1), 10, 20) == (20, 1)


def test_shape_equals_torchvisions_transform():
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    generator = np.random.default_rng(0)
    for height, width in generator.integers(20, 120, (60, 2)).tolist():
        short = int(generator.integers(16, 90))
        transform = GeneralizedRCNNTransform(short, short * 5 // 3, [0.0], [1.0]).eval()
        resized, _ = transform.resize(torch.zeros(1, height, width), None)
        assert resized_shape((height, width), short, short * 5 // 3) == tuple(resized.shape[1:])


def test_the_shape_never_exceeds_the_limits():
    generator = np.random.default_rng(1)
    for height, width in generator.integers(1, 3000, (500, 2)).tolist():
        shape = resized_shape((height, width), 320, 533)
        assert 1 <= min(shape) <= 320 and max(shape) <= 533


@pytest.mark.parametrize("shape", [(37, 53), (200, 300), (60, 301), (1, 1)])
def test_image_equals_the_float_resize_to_one_grey_level(shape):
    image = random_image(100, 150)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    exact = torch.nn.functional.interpolate(pixels, size=shape, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    resized = resize_image(image, shape)
    assert resized.shape == (*shape, 3) and resized.dtype == np.uint8 and resized.flags.c_contiguous
    assert np.abs(resized - exact.numpy()).max() <= 1.01  # rounded twice, after rows and after columns


def test_the_same_bits_whatever_the_memory_layout_or_thread_count():
    image = random_image(333, 517)
    expected = resize_image(image, (200, 311))
    frozen = image.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns about arrays that must not be written to
        layouts = [np.asfortranarray(image), np.flip(np.flip(image, 1).copy(), 1), frozen]
        for layout in layouts:
            assert np.array_equal(resize_image(layout, (200, 311)), expected)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert np.array_equal(resize_image(image, (200, 311)), expected)
    finally:
        torch.set_num_threads(threads)


def test_no_resize_no_change_and_constant_stays_constant():
    image = random_image(20, 30)
    assert np.array_equal(resize_image(image, (20, 30)), image)
    assert (resize_image(np.full((20, 30, 3), 77, np.uint8), (31, 17)) == 77).all()


def test_flip_commutes_with_resize():
    image = random_image(90, 121)
    flipped = resize_image(np.ascontiguousarray(image[:, ::-1]), (45, 60))[:, ::-1].astype(int)
    assert np.abs(flipped - resize_image(image, (45, 60))).max() <= 1


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_wrong_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match="uint8"):
        resize_image(wrong, (2, 2))


def test_test_resize():
    rule = TestResize(short=320, long=533, multiple=32)
    assert rule.shape((480, 640)) == (320, 426) and rule.canvas((480, 640)) == (320, 448)
    assert TestResize(320, 533, 1).canvas((480, 640)) == (320, 426)
    image = random_image(48, 64)
    assert np.array_equal(rule(image), resize_image(image, rule.shape((48, 64))))
    assert rule == TestResize(320, 533)
    for short, long, multiple in ((0, 10, 1), (20, 10, 1), (10, 20, 0)):
        with pytest.raises(ValueError, match="TestResize needs"):
            TestResize(short, long, multiple)
