"""The crops of the published recipes, the colour noise, and the agreement of their size with the network's."""

import numpy as np
import pytest
from PIL import Image

from visionkit.config import compose, instantiate
from visionkit.data.classification import LabelledDataset, labelled_sample
from visionkit.data.color_noise import ColorNoise
from visionkit.data.crop_plan import leading_crop, sized
from visionkit.data.folders import read_folders
from visionkit.data.mixing import Mixed
from visionkit.data.random_crops import PadCrop, RandomResizedCrop, ScaleCrop
from visionkit.data.transforms import Chain, RandomFlip, Unchanged
from visionkit.errors import ConfigError
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.resize import resize_image
from visionkit.structures import Sample, Truth


def labelled(image: np.ndarray, seed: int = 0) -> Sample:
    none = np.zeros(0, np.int64)
    truth = Truth(np.zeros((0, 4), np.float32), none, none.astype(bool), image_label=1)
    return Sample(image, truth, 1, image.shape[:2], seed=seed)


@pytest.fixture
def index(tmp_path):
    """Two classes with three JPEG files each, 300 x 400 pixels of smooth colours."""
    rows, columns = np.mgrid[:300, :400]
    for k, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        for i in range(3):
            waves = [127 + 90 * np.sin(rows / (20 + 3 * k + j) + columns / (31 + 5 * i)) for j in range(3)]
            Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(tmp_path / name / f"{i}.jpg", quality=95)
    return read_folders(tmp_path)


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (32, 32), (500, 3), (1, 1), (1, 900)])
@pytest.mark.parametrize("crop", [RandomResizedCrop(24), RandomResizedCrop(9, ratio=(4, 5)), ScaleCrop(24, [30, 60])])
def test_windows_lie_inside(size, crop):
    for seed in range(100):
        window = crop.window(size, seed)
        assert 0 <= window.top < window.top + window.height <= size[0]
        assert 0 <= window.left < window.left + window.width <= size[1]
    assert crop(labelled(np.zeros((*size, 3), np.uint8))).image.shape == (crop.size, crop.size, 3)


def test_alexnets_crop_is_a_square_of_224_out_of_256():
    windows = [ScaleCrop(224, 256).window((512, 768), seed) for seed in range(300)]
    assert {(w.height, w.width) for w in windows} == {(448, 448)} and {w.shrink for w in windows} == {2}
    tops, lefts = ([getattr(w, name) for w in windows] for name in ("top", "left"))
    assert min(tops) == 0 and max(tops) == 512 - 448 and len(set(tops)) == 33, "every place of the resized picture"
    assert min(lefts) < 10 and max(lefts) > 310
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.2


def test_vggs_scale_is_drawn_from_a_range():
    shorts = [224 * 512 / ScaleCrop(224, [256, 512]).window((512, 700), seed).height for seed in range(400)]
    assert 255 < min(shorts) < 262 and 500 < max(shorts) < 514
    assert abs(np.mean(shorts) - 384) < 12


def test_scale_crop_is_resizing_and_cutting():
    rows, columns = np.mgrid[:300, :410]
    image = np.stack([127 + 90 * np.sin(rows / (60 + j) + columns / 90) for j in range(3)], -1).astype(np.uint8)
    for seed in range(5):
        found = ScaleCrop(64, 80)(labelled(image, seed)).image
        window = ScaleCrop(64, 80).window((300, 410), seed)
        whole = resize_image(image, (80, 109))
        top, left = round(window.top * 80 / 300), round(window.left * 109 / 410)
        assert np.abs(found.astype(int) - whole[top : top + 64, left : left + 64]).mean() < 3
        off = whole[top + (8 if top < 8 else -8) :][:64, left : left + 64]
        assert np.abs(found.astype(int)[: len(off)] - off).mean() > 3, "another place is told apart"


def test_the_size_of_the_network_is_filled_in(index):
    for augment in (RandomResizedCrop(), ScaleCrop(), Chain([Chain([RandomResizedCrop()]), RandomFlip()]),
                    Chain([RandomFlip(), ScaleCrop()]), Mixed(Chain([ScaleCrop()]))):  # fmt: skip
        dataset = LabelledDataset(index, augment, CenterCrop(183, 160), 0)
        assert dataset[(0, 0)].image.shape == (160, 160, 3)
    with pytest.raises(ValueError, match="needs a size"):
        RandomResizedCrop()(labelled(np.zeros((20, 20, 3), np.uint8)))


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        (RandomResizedCrop(224), "RandomResizedCrop gives pictures of 224 .*size.* takes 160 .*task.size"),
        (Chain([ScaleCrop(128), RandomFlip()]), "ScaleCrop gives pictures of 128 .* takes 160"),
        (Mixed(RandomResizedCrop(224)), "RandomResizedCrop gives pictures of 224"),
        (ScaleCrop(None, 128), r"short side to 128 pixels \(its key short\), and the network takes 160 \(task.size\)"),
    ],
)
def test_another_size_than_the_networks_is_refused(index, augment, words):
    with pytest.raises(ConfigError, match=words):
        LabelledDataset(index, augment, CenterCrop(183, 160), 0)


@pytest.mark.parametrize("steps", [[], [RandomFlip()], [ColorNoise(), RandomFlip()]])
def test_a_leading_crop_is_found(index, steps):
    crop = RandomResizedCrop(48)
    for augment in (Chain([crop, *steps]), Chain([Chain([crop, *steps[:1]]), *steps[1:]])):
        found, rest = leading_crop(augment)
        assert found is crop
        sample = labelled_sample(index, 0, seed=7)
        after = crop(sample) if rest is None else rest(crop(sample))
        assert np.array_equal(after.image, augment(sample).image)
    for augment in (None, Unchanged(), Chain([]), Chain([RandomFlip(), crop]), PadCrop()):
        assert leading_crop(augment) == (None, augment)


@pytest.mark.parametrize(
    ("crop", "size"),
    [(RandomResizedCrop(), 140), (RandomResizedCrop(), 24), (ScaleCrop(None, 200), 140), (ScaleCrop(None, 30), 24)],
)
def test_the_fast_road_shows_the_same_part(index, crop, size):
    """What the data set gives is what the augmentation makes of the whole picture."""
    augment, close = Chain([crop, RandomFlip()]), 0
    dataset = LabelledDataset(index, augment, CenterCrop(size, size), seed=3)
    for i in range(len(index)):
        sample = dataset[(2, i)]
        slow = sized(augment, size)(labelled_sample(index, i, sample.seed))
        assert sample.original_size == (300, 400) and sample.truth.image_label == slow.truth.image_label
        off = np.abs(sample.image.astype(int) - slow.image).mean()
        assert off < 2
        close += off == 0
        assert np.array_equal(sample.image, dataset[(2, i)].image)
    assert close < len(index) if size == 24 else close > 0


def test_cut_out_parts_are_cropped_too(tmp_path):
    from visionkit.data.labelled import LabelledIndex
    from visionkit.data.pictures import Files
    from visionkit.data.ragged import Blobs

    image = np.zeros((100, 120, 3), np.uint8)
    image[20:60, 30:90] = 200
    Image.fromarray(image).save(tmp_path / "a.png")
    files = Files(Blobs.pack([str(tmp_path / "a.png").encode()]))
    one = np.zeros(1, np.int32)
    crops, sizes = np.array([[30, 20, 90, 60]], np.float32), np.array([[100, 120]], np.int32)
    index = LabelledIndex(("x",), "made", [], files, one, crops, sizes)
    dataset = LabelledDataset(index, RandomResizedCrop(), CenterCrop(16, 16), 0)
    for epoch in range(20):
        sample = dataset[(epoch, 0)]
        assert (sample.image == 200).all() and sample.original_size == (40, 60)


def test_color_noise_adds_one_colour():
    gray = np.full((6, 5, 3), 128, np.uint8)
    shifts = []
    for seed in range(3000):
        moved = ColorNoise(0.1)(labelled(gray, seed)).image.astype(int) - 128
        assert (moved == moved[0, 0]).all()
        shifts.append(moved[0, 0])
    spread = np.cov(np.array(shifts).T)
    values, directions = np.linalg.eigh(spread)
    assert np.sqrt(values[::-1]) == pytest.approx([0.1 * 255 * 0.2175, 0.1 * 255 * 0.0188, 0.3], abs=0.35)
    assert abs(directions[:, -1]) == pytest.approx([0.5675, 0.5808, 0.5836], abs=0.02)
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.3
    assert np.array_equal(ColorNoise(0.0)(labelled(gray)).image, gray)


def test_color_noise_stays_in_range():
    ends = np.zeros((2, 2, 3), np.uint8)
    ends[0] = 255
    for seed in range(50):
        moved = ColorNoise(1.0)(labelled(ends, seed)).image
        assert moved.dtype == np.uint8 and (moved[0] >= 100).all() and (moved[1] <= 155).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ScaleCrop(0), "size must be"),
        (lambda: ScaleCrop(224, 200), "short must not be below size"),
        (lambda: ScaleCrop(None, [300, 200]), "the smaller first"),
        (lambda: ScaleCrop(None, [300]), "or two of them"),
        (lambda: ScaleCrop(None, 0), "at least 1"),
        (lambda: ColorNoise(-1), "std must be"),
        (lambda: ColorNoise(float("nan")), "std must be"),
    ],
)
def test_settings_are_checked(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("name", ["alexnet", "vgg", "googlenet", "resized_crop", "mixup", "cutmix"])
def test_the_recipes_follow_the_size_of_the_network(index, name):
    augment = instantiate(compose("train", ["task=classify", f"augment={name}"]).augment)
    dataset = LabelledDataset(index, augment, CenterCrop(183, 160), 0)
    first, again, later = dataset[(0, 1)], dataset[(0, 1)], dataset[(1, 1)]
    assert first.image.shape == (160, 160, 3)
    assert np.array_equal(first.image, again.image) and not np.array_equal(first.image, later.image)
    assert (first.truth.mixed is not None) == (name in ("mixup", "cutmix"))


def test_a_mixture_is_put_around_any_augmentation(index):
    augment = instantiate(
        compose("train", ["task=classify", "augment=cutmix", "augment@augment.augment=cifar", "augment.p=0.5"]).augment
    )
    assert isinstance(augment, Mixed) and isinstance(augment.augment.steps[0], PadCrop) and augment.p == 0.5
    assert LabelledDataset(index, augment, CenterCrop(32, 32), 0)[(0, 0)].image.shape == (32, 32, 3)
