"""Mixup and CutMix: shares, partners, and that a sample knows nothing of its batch."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from visionkit.data.classification import LabelledDataset, labelled_sample
from visionkit.data.dataset import DetectionDataset
from visionkit.data.folders import read_folders
from visionkit.data.loaders import TrainLoader
from visionkit.data.mixing import Mixed
from visionkit.data.random_crops import PadCrop
from visionkit.data.transforms import Chain, RandomFlip, Unchanged
from visionkit.errors import ConfigError
from visionkit.ops.center_crop import CenterCrop
from visionkit.structures import Sample, Truth


def plain(value: int, label: int, seed: int = 0, size: tuple[int, int] = (40, 60)) -> Sample:
    none = np.zeros(0, np.int64)
    truth = Truth(np.zeros((0, 4), np.float32), none, none.astype(bool), image_label=label)
    return Sample(np.full((*size, 3), value, np.uint8), truth, 1, size, seed=seed)


@pytest.fixture
def index(tmp_path):
    """12 pictures in 3 classes; each is of one gray value, 20 (i + 1)."""
    for i in range(12):
        (tmp_path / "abc"[i // 4]).mkdir(exist_ok=True)
        Image.new("RGB", (40, 32), (20 * (i + 1),) * 3).save(tmp_path / "abc"[i // 4] / f"{i:02}.png")
    return read_folders(tmp_path)


def dataset(index, augment, seed=0):
    return LabelledDataset(index, augment, CenterCrop(32, 32), seed)


def test_mixup_adds_up_the_pictures_by_their_shares():
    shares = []
    for seed in range(2000):
        mixed = Mixed(None, "mixup", alpha=0.4).mix(plain(0, 3, seed), plain(200, 5))
        label, share = mixed.truth.mixed
        assert (mixed.truth.image_label, label) == (3, 5) and 0 <= share <= 1
        assert mixed.image.shape == (40, 60, 3) and np.abs(mixed.image - 200 * share).max() <= 0.5001
        shares.append(share)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(0.4, 0.4)


def test_cutmix_states_the_true_share_of_pixels():
    shares, places = [], np.zeros((40, 60))
    for seed in range(2000):
        mixed = Mixed(None, "cutmix", alpha=1.0).mix(plain(10, 3, seed), plain(200, 5))
        pasted = (mixed.image == 200).all(axis=2)
        assert (mixed.image[~pasted] == 10).all()
        assert mixed.truth.mixed == (5, pasted.mean())
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        if len(rows):
            assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "one rectangle"
        shares.append(pasted.mean())
        places += pasted
    # Before it is clipped the share is uniform in 0 ... 1; around a uniform centre, a side s keeps s - s^2 / 4.
    side = np.sqrt(np.linspace(0, 1, 10001))
    assert np.mean(shares) == pytest.approx(np.mean((side - side**2 / 4) ** 2), abs=0.02)
    assert places.min() > 0 and abs(places[:20].sum() / places.sum() - 0.5) < 0.02


def test_the_inputs_are_left_alone():
    for method in ("mixup", "cutmix"):
        one, other = plain(10, 3, 4), plain(200, 5)
        Mixed(None, method, alpha=1.0).mix(one, other)
        assert (one.image == 10).all() and (other.image == 200).all() and one.truth.mixed is None


def test_partners_come_from_the_whole_set():
    mixed = Mixed(None)
    found = [mixed.partner(seed, 10) for seed in range(3000)]
    assert np.bincount([i for i, _ in found], minlength=10).min() > 230
    assert len({seed for _, seed in found}) == 3000, "each partner has an augmentation of its own"
    assert found == [mixed.partner(seed, 10) for seed in range(3000)]
    some = [Mixed(None, p=0.3).partner(seed, 10) for seed in range(3000)]
    assert 0.27 < np.mean([partner is not None for partner in some]) < 0.33
    assert all(a in (None, b) for a, b in zip(some, found, strict=True))


@pytest.mark.parametrize("method", ["mixup", "cutmix"])
def test_a_sample_shows_its_picture_and_its_partner(index, method):
    mixing = Mixed(Chain([PadCrop(0), RandomFlip()]), method, alpha=1.0)
    data, seen = dataset(index, mixing), set()
    for epoch in range(8):
        for i in range(12):
            sample = data[(epoch, i)]
            partner, _ = mixing.partner(sample.seed, 12)
            label, share = sample.truth.mixed
            assert sample.image.shape == (32, 32, 3) and (sample.id, sample.truth.image_label) == (i + 1, i // 4)
            assert label == partner // 4
            mean = 20 * (i + 1) * (1 - share) + 20 * (partner + 1) * share
            assert sample.image.mean() == pytest.approx(mean, abs=0.51)
            seen.add((i, partner))
    assert len(seen) > 60, "another partner in every epoch"


def test_both_pictures_are_augmented_each_by_its_own_seed(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "a" / f"{i}.png")
    index, augment = read_folders(tmp_path), PadCrop(8)
    mixing = Mixed(augment, "mixup", alpha=1.0)
    for epoch in range(5):
        for i in range(3):
            sample = dataset(index, mixing, seed=2)[(epoch, i)]
            partner, other_seed = mixing.partner(sample.seed, 3)
            assert other_seed != sample.seed
            one, other = (augment(labelled_sample(index, *what)) for what in ((i, sample.seed), (partner, other_seed)))
            assert np.array_equal(sample.image, mixing.mix(one, other).image)


def test_a_probability_of_zero_changes_nothing(index):
    augment = Chain([PadCrop(4), RandomFlip()])
    for i in range(12):
        without, never = dataset(index, augment)[(1, i)], dataset(index, Mixed(augment, p=0.0))[(1, i)]
        assert np.array_equal(without.image, never.image) and never.truth.mixed is None


def by_id(loader, steps: int) -> dict[int, tuple]:
    stream, found = loader.batches(), {}
    for _ in range(steps):
        batch, targets = next(stream)
        for k, number in enumerate(batch.ids.tolist()):
            found[number] = (batch.pixels[k].numpy().tobytes(), int(targets.image_labels[k]),
                             int(targets.mixed_labels[k]), float(targets.mixed_shares[k]))  # fmt: skip
    stream.close()
    return found


@pytest.mark.parametrize("method", ["mixup", "cutmix"])
def test_a_sample_does_not_depend_on_its_batch_or_its_process(index, method):
    mixing = Mixed(Chain([PadCrop(2), RandomFlip()]), method, alpha=1.0, p=0.7)

    def loader(batch_size, **settings):
        data = dataset(index, mixing, seed=5)
        return TrainLoader(data, batch_size, seed=5, canvas=(32, 32), multiple=1, **settings)

    whole = by_id(loader(12), 1)
    assert len(whole) == 12 and any(row[3] > 0 for row in whole.values())
    assert any(row[3] == 0 and row[2] == row[1] for row in whole.values()), "some are not mixed"
    assert by_id(loader(3), 4) == whole
    shares = [by_id(loader(2, rank=rank, world=2), 3) for rank in (0, 1)]
    assert shares[0] | shares[1] == whole and not shares[0].keys() & shares[1].keys()
    assert by_id(loader(4, shuffle=False), 3) == whole


def test_a_data_set_with_boxes_is_refused(many):
    with pytest.raises(ConfigError, match="cutmix mixes the classes of whole pictures: it goes with task=classify"):
        DetectionDataset(many([(40, 60)]), Mixed(Unchanged(), "cutmix"), None, 0)[(0, 0)]


def test_inside_another_augmentation_it_is_refused(index):
    with pytest.raises(ConfigError, match="mixup .* has to be the outermost augmentation"):
        dataset(index, Chain([Mixed(None), RandomFlip()]))[(0, 0)]
    with pytest.raises(ValueError, match="mixed once"):
        Mixed(Mixed(None))


def test_pictures_of_two_sizes_are_not_mixed():
    with pytest.raises(ValueError, match="two pictures of one size"):
        Mixed(None).mix(plain(1, 2), plain(3, 4, size=(20, 20)))
    unknown = plain(3, 4)
    with pytest.raises(ValueError, match="each with its class"):
        Mixed(None).mix(plain(1, 2), replace(unknown, truth=replace(unknown.truth, image_label=None)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"method": "mixcut"}, "mixup or cutmix"), ({"alpha": 0}, "alpha must be"), ({"alpha": float("nan")}, "alpha"),
     ({"p": 1.1}, "p must be"), ({"p": -0.1}, "p must be")],
)  # fmt: skip
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        Mixed(None, **settings)
