"""A cell's brief training: on pictures in memory, repeatable, and it learns."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.data.folders import folder
from visionkit.errors import ConfigError, DataError
from visionkit.models.classifier import Classifier
from visionkit.search.trainer import CellTrainer, accuracy, load_split

CELL = [["sep3", 1, "identity", 0]]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Red, green and blue pictures on noise."""
    root, random = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 5)):
        for channel, name in enumerate(("red", "green", "blue")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                image = random.integers(0, 120, (10, 12, 3)).astype(np.uint8)
                image[..., channel] += 100
                Image.fromarray(image).save(root / part / name / f"{i}.png")
    return folder(str(root))


@pytest.fixture(scope="module")
def split(data):
    return load_split(data, 24, 8, CPU)


def trainer(split) -> CellTrainer:
    return CellTrainer(split.train, 3, width=4, cells=1, size=8, batch_size=8, lr=0.02)


def test_validation_pictures_are_shared_out(data, split):
    assert [len(part) for part in (split.train, split.reward, split.test)] == [24, 9, 6]
    assert split.reward.batch.pixels.shape == (9, 3, 8, 8)
    for part, each in ((split.reward, 3), (split.test, 2)):
        assert torch.bincount(part.targets.image_labels).tolist() == [each] * 3
    assert not set(split.reward.batch.ids.tolist()) & set(split.test.batch.ids.tolist())
    again = load_split(data, 24, 8, CPU)
    assert torch.equal(again.train.batch.ids, split.train.batch.ids), "always the same pictures"
    assert len(load_split(data, 1000, 8, CPU).train) == 30


def test_it_learns_and_repeats(split):
    found = [trainer(split).accuracy(CELL, 40, seed, split.reward) for seed in (0, 0)]
    assert found[0] == found[1] >= 0.8
    untrained = trainer(split).model(CELL).eval()
    assert accuracy(untrained, split.reward) < 0.8


def test_a_training_that_explodes_is_worth_nothing(split, monkeypatch):
    broken = lambda self, batch, targets: {"loss_class": torch.tensor(float("nan"), requires_grad=True)}  # noqa: E731
    monkeypatch.setattr(Classifier, "forward", broken)
    assert trainer(split).accuracy(CELL, 3, 0, split.reward) == 0.0


def test_unfit_data_are_one_sentence(data):
    with pytest.raises(ConfigError, match="has boxes"):
        load_split(SimpleNamespace(), 4, 8, CPU)
    one_each = SimpleNamespace(train=data.train, val=data.val.select(np.array([0, 5, 10])), names=data.names)
    with pytest.raises(DataError, match="two validation pictures"):
        load_split(type(data)(**vars(one_each)), 4, 8, CPU)
