import numpy as np
import pytest

from visionkit.config import compose, instantiate
from visionkit.data.scenes import scenes
from visionkit.data.scenes_semantic import scenes_semantic

FEW = {"train_images": 3, "val_images": 2, "image_size": [48, 64], "objects": [1, 3], "object_size": [12, 30]}


@pytest.mark.parametrize("format", ["coco", "voc"])
def test_maps_are_those_of_the_instances(tmp_path, format):
    data = scenes_semantic(root=str(tmp_path), format=format, **FEW)
    instances = scenes(root=str(tmp_path), format=format, **FEW)
    assert len(list(tmp_path.iterdir())) == 1  # one folder serves both
    assert data.names == ("background", *instances.names)
    for split, count in (("train", 3), ("val", 2)):
        index, objects = getattr(data, split), getattr(instances, split)
        assert len(index) == count and [index.path(i) for i in range(count)] == [objects.path(i) for i in range(count)]
        for i in range(count):
            assert index.size(i) == objects.size(i) == index.semantic(i).shape
            if format == "coco":
                expected = np.zeros(index.size(i), np.int64)
                for mask, label in zip(objects.masks(i), objects.truth(i).labels, strict=True):
                    expected[mask] = label + 1
                assert np.array_equal(index.semantic(i), expected)
            assert (index.semantic(i) > 0).any()


def test_the_configuration_has_the_keys_of_scenes(tmp_path):
    config = compose("train", ["data=scenes_semantic", f"data.root={tmp_path}", "data.train_images=2",
                               "data.val_images=1"])  # fmt: skip
    other = compose("train", ["data=scenes"])
    assert list(config.data) == list(other.data)
    data = instantiate(config.data)
    assert (len(data.train), len(data.val)) == (2, 1) and data.names[:2] == ("background", "circle")
