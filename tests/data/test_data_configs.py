"""The files of configs/data for classification: every key is one of its target's."""

import pytest

from visionkit.config import compose, instantiate
from visionkit.errors import DataError

NAMES = ["csv", "mnist", "fashion_mnist", "cifar10", "cifar100", "imagenet", "imagenet_samples", "shards"]


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_is_a_matter_of_data_not_of_settings(name, tmp_path):
    config = compose("train", [f"data={name}", f"data.root={tmp_path}"])
    with pytest.raises(DataError, match=str(tmp_path)):
        instantiate(config.data)


def test_patterns_of_shards_on_a_command_line(tmp_path):
    given = ["data=shards", f"data.root={tmp_path}", "data.train='train-{000..002}.tar'", "data.val=val/*.tar"]
    config = compose("train", given)
    assert (config.data.train, config.data.val) == ("train-{000..002}.tar", "val/*.tar")
