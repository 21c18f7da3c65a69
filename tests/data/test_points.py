"""The packed index of points, its kernels, and what flips, sizes and crops do to a count."""

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.data.adaptive_kernels import AdaptiveKernel, FixedKernel, adaptive_sigmas
from visionkit.data.augment import Augment
from visionkit.data.collate import collate
from visionkit.data.points import CountingData, PointsIndex, join_points, pack_points
from visionkit.data.points_dataset import PointsDataset
from visionkit.data.scale_crop import ScaleCrop, cut
from visionkit.data.transforms import RandomFlip, flip_horizontal, flip_vertical, resize
from visionkit.errors import ConfigError, DataError
from visionkit.ops.density import density_map
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize

SIZES = [(40, 64), (30, 50), (33, 47)]  # height, width
POINTS = [np.array([[0.0, 0.0], [64.0, 40.0], [10.5, 20.25], [11.5, 20.0]]), np.zeros((0, 2)), np.array([[20.0, 12.0]])]


def written(folder, sizes=SIZES):
    paths = []
    for i, (height, width) in enumerate(sizes):
        paths.append(str(folder / f"{i}.png"))
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture
def index(tmp_path) -> PointsIndex:
    return pack_points("person", "made here", written(tmp_path), POINTS, FixedKernel(2.0))


def total(sample) -> float:
    """The sum of the density map that a sample leads to."""
    batch, targets = collate([sample])
    shape = (batch.pixels.shape[2] // 8, batch.pixels.shape[3] // 8)
    return density_map(targets.points, targets.points_valid, batch.sizes, shape, (8, 8)).sum().item()


def test_index(index):
    assert len(index) == 3 and index.counts.tolist() == [4, 0, 1] and index.report == []
    assert [index.size(i) for i in range(3)] == SIZES and index.image_id(2) == 3 and index.proposals is None
    truth = index.truth(0)
    assert truth.points.dtype == np.float32 and truth.points[2].tolist() == [10.5, 20.25, 2.0]
    assert index.truth(1).points.shape == (0, 3) and len(truth.boxes) == 0
    chosen = index.select([2, 0])
    assert chosen.counts.tolist() == [1, 4] and chosen.path(1) == index.path(0)
    assert chosen.truth(0).points.tolist() == [[20.0, 12.0, 2.0]] and chosen.size(0) == SIZES[2]
    assert len(index.select([])) == 0


def test_class_names_are_joined(index):
    assert index.rename(["person"]) is index
    with pytest.raises(DataError, match="'person' is counted here, and the known classes are: cell"):
        index.rename(["cell"])


def test_points_outside_of_their_picture_are_dropped_with_a_sentence(tmp_path):
    points = [np.array([[64.9, 40.5], [66.0, 3.0], [-200.0, 5.0], [5.0, 5.0]]), POINTS[1], POINTS[2]]
    found = pack_points("person", "here", written(tmp_path), points, FixedKernel())
    assert found.counts.tolist() == [2, 0, 1] and found.points[0].tolist() == [64.0, 40.0]
    assert len(found.report) == 2
    assert found.report[0].startswith("here: 2 points were dropped, being outside of the picture, first in ")
    assert found.report[1].startswith("here: 1 point was moved to the border, first in ")
    assert all("0.png" in line for line in found.report)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e30])
def test_impossible_points(tmp_path, wrong):
    with pytest.raises(DataError, match="0.png: .* is not a possible point"):
        pack_points("person", "here", written(tmp_path), [np.array([[3.0, wrong]]), *POINTS[1:]], FixedKernel())


def test_adaptive_kernels_are_a_share_of_the_mean_distance_to_the_nearest():
    points = np.random.default_rng(0).uniform(0, 100, (40, 2))
    distances = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)
    found = adaptive_sigmas(points, k=3, beta=0.3, least=0.1, most=1000)
    np.testing.assert_allclose(found, 0.3 * distances[:, 1:4].mean(axis=1), rtol=1e-5)
    assert found.dtype == np.float32
    bounded = AdaptiveKernel(least=3.0, most=4.0)(points)
    np.testing.assert_allclose(bounded, np.clip(found, 3, 4), rtol=1e-6)


def test_kernels_of_few_points():
    """Fewer than k + 1: those that there are; one alone and none; two at one place."""
    assert adaptive_sigmas(np.zeros((0, 2))).shape == (0,)
    assert adaptive_sigmas(np.ones((1, 2)), most=9.0).tolist() == [9.0]
    assert adaptive_sigmas(np.array([[0.0, 0.0], [10.0, 0.0]])).tolist() == pytest.approx([3.0, 3.0])
    three = adaptive_sigmas(np.array([[0.0, 0.0], [10.0, 0.0], [30.0, 0.0]]), k=3)
    assert three.tolist() == pytest.approx([6.0, 4.5, 7.5])
    assert adaptive_sigmas(np.ones((2, 2)), least=0.5).tolist() == [0.5, 0.5]
    assert FixedKernel(7.0)(np.zeros((3, 2))).tolist() == [7.0] * 3


@pytest.mark.parametrize(
    ("kernel", "named"),
    [
        (lambda: FixedKernel(0), "sigma=0"),
        (lambda: AdaptiveKernel(beta=float("nan")), "beta=nan"),
        (lambda: AdaptiveKernel(neighbours=0), "neighbours=0"),
        (lambda: AdaptiveKernel(least=5, most=2), "least=5 is more"),
    ],
)
def test_impossible_kernels(kernel, named):
    with pytest.raises(ConfigError, match=named):
        kernel()


def test_counts_survive_flips_and_sizes(index):
    dataset = PointsDataset(index, None, KeepSize(), 0)
    sample = dataset[0, 0]
    assert total(sample) == pytest.approx(4, abs=1e-5)
    flipped = flip_horizontal(sample)
    np.testing.assert_allclose(flipped.truth.points[2], [64 - 10.5, 20.25, 2.0])
    for changed in (flipped, flip_vertical(flipped), resize(sample, (57, 23)), resize(sample, (8, 8))):
        assert total(changed) == pytest.approx(4, abs=1e-5)
    np.testing.assert_array_equal(flip_horizontal(flipped).truth.points, sample.truth.points)
    np.testing.assert_allclose(resize(sample, (80, 128)).truth.points[2], [21, 40.5, 4.0])


def test_a_crop_counts_what_is_inside(index):
    sample = PointsDataset(index, None, KeepSize(), 0)[0, 0]
    assert total(cut(sample, 10, 11, 40, 64)) == pytest.approx(2, abs=1e-5)  # 11.5, 20 and the border's
    assert total(cut(sample, 10, 5, 40, 50)) == pytest.approx(2, abs=1e-5)
    assert total(cut(sample, 30, 20, 34, 30)) == 0


def test_samples_are_a_function_of_the_key(index):
    dataset = PointsDataset(index, RandomFlip(p=0.5), TestResize(24, 80, multiple=1), seed=3)
    assert len(dataset) == 3 and dataset.size((0, 1)) == (24, 40) == dataset[5, 1].image.shape[:2]
    first, again = dataset[4, 0], dataset[4, 0]
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.truth.points, again.truth.points)
    assert {dataset[epoch, 2].truth.points[0, 0].round(2) for epoch in range(12)} == {
        np.float32(14.47),
        np.float32(19.53),
    }
    cropped = PointsDataset(index, ScaleCrop((16, 24), (0.5, 1.5)), KeepSize(), seed=3)
    assert cropped.size((0, 0)) == (16, 24) and cropped[0, 0].image.shape == (16, 24, 3)


def test_an_augmentation_that_knows_no_points_is_refused(index):
    dataset = PointsDataset(index, Augment([{"name": "HorizontalFlip", "p": 1.0}]), KeepSize(), 0)
    with pytest.raises(ConfigError, match="Augment loses the points"):
        dataset[0, 0]


def test_splits_are_joined(index):
    data = join_points(index.select([0, 1]), index.select([2]))
    assert data.names == ("person",) and data.val.report == []
    shared = join_points(index.select([0, 1]), index.select([1, 2]))
    assert "1 of 2 pictures are trained on too" in shared.val.report[0] and shared.train.report == []
    with pytest.raises(DataError, match="the validation set is empty"):
        join_points(index, index.select([]))
    with pytest.raises(DataError, match="no object in any training picture"):
        join_points(index.select([1]), index)
    with pytest.raises(ValueError, match="agree on one class"):
        CountingData(index, index, ("cell",))


def test_batches_of_points_are_padded(index):
    dataset = PointsDataset(index, None, KeepSize(), 0)
    batch, targets = collate([dataset[0, i] for i in range(3)])
    assert targets.points.shape == (3, 4, 3) and targets.points_valid.sum(dim=1).tolist() == [4, 0, 1]
    assert bool((targets.points[..., 2] > 0).all()) and batch.sizes.tolist() == [list(size) for size in SIZES]
    empty = collate([dataset[0, 1]])[1]
    assert empty.points.shape == (1, 1, 3) and not empty.points_valid.any()
    assert torch.equal(targets.points[2, 0], torch.tensor([20.0, 12.0, 2.0]))
