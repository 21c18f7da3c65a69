"""Training batches from tar shards are those from the folder, wherever the stream is started."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.data.classification import LabelledDataset
from visionkit.data.folders import folder, read_folders
from visionkit.data.loaders import TrainLoader
from visionkit.data.random_crops import PadCrop
from visionkit.data.tar_shards import shards
from visionkit.data.transforms import Chain, RandomFlip
from visionkit.data.write_shards import write_shards
from visionkit.ops.center_crop import CenterCrop

SIDE = 24


def write_trees(root: Path, classes: int, each: int, shard_size: int) -> tuple[str, str]:
    """The same generated JPEGs as class folders and as shards."""
    for split, count in (("train", each), ("val", 1)):
        for k in range(classes):
            place = root / "folder" / split / f"class{k}"
            place.mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng(1000 * k + i).integers(0, 256, (8, 10, 3), dtype=np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).resize((32, 28)).save(buffer, "JPEG")
                (place / f"{i:05d}.jpg").write_bytes(buffer.getvalue())
        write_shards(read_folders(root / "folder" / split), root / "shards" / split, shard_size, shuffle=False)
    return str(root / "folder"), str(root / "shards")


def loader(index, batch_size, workers=0):
    dataset = LabelledDataset(index, Chain([PadCrop(2), RandomFlip(0.5)]), CenterCrop(SIDE, SIDE), seed=3)
    return TrainLoader(dataset, batch_size, seed=3, workers=workers, canvas=(SIDE, SIDE), multiple=1)


def taken(index, batch_size, start, count, workers=0):
    stream = loader(index, batch_size, workers).batches(start)
    found = list(itertools.islice(stream, count))
    stream.close()
    return found


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for (batch, targets), (other, truth) in zip(ours, theirs, strict=True):
        assert torch.equal(batch.pixels, other.pixels) and torch.equal(batch.ids, other.ids)
        assert torch.equal(batch.seeds, other.seeds) and torch.equal(targets.image_labels, truth.image_labels)


def compare(root, classes, each, shard_size, batch_size, workers):
    tree, tars = write_trees(root, classes, each, shard_size)
    theirs = folder(tree).train
    whole, blockwise = (shards(tars, order=order).train for order in ("all", "blocks"))
    steps = loader(theirs, batch_size).steps_per_epoch
    epochs = 2 * steps + 1
    assert_equal(taken(whole, batch_size, 0, epochs, workers), taken(theirs, batch_size, 0, epochs))
    for index in (whole, blockwise):
        uninterrupted = taken(index, batch_size, 0, epochs)
        for start in {1, steps // 2, steps - 1, steps + 1}:
            assert start % steps * batch_size % shard_size, "the start lies inside a shard"
            assert_equal(taken(index, batch_size, start, epochs - start, workers), uninterrupted[start:])
    # In the order of blocks an epoch has every picture too, and few shards at a time.
    first = [i for batch, _ in taken(blockwise, batch_size, 0, steps) for i in (batch.ids - 1).tolist()]
    assert set(first) == set(range(len(theirs)))
    places = blockwise.pictures.shard[np.array(first[: 3 * shard_size])]  # the last shard is a short one
    assert 3 <= len(np.unique(places)) <= 4, "what comes first lies in four shards of all"


def test_shards_stream_like_the_folder(tmp_path):
    compare(tmp_path, classes=3, each=25, shard_size=8, batch_size=5, workers=0)


@pytest.mark.slow
def test_two_thousand_pictures_stream_like_the_folder(tmp_path):
    compare(tmp_path, classes=10, each=200, shard_size=100, batch_size=32, workers=2)


@pytest.mark.parametrize("order", ["all", "blocks"])
def test_two_processes_see_the_steps_of_one(tmp_path, order):
    index = shards(write_trees(tmp_path, 3, 11, 4)[1], order=order).train
    together = taken(index, 6, 0, 12)
    for rank in (0, 1):
        dataset = LabelledDataset(index, None, CenterCrop(SIDE, SIDE), seed=3)
        stream = TrainLoader(dataset, 3, seed=3, rank=rank, world=2, canvas=(SIDE, SIDE), multiple=1).batches(0)
        for (whole, _), (part, _) in zip(together, itertools.islice(stream, 12), strict=True):
            assert torch.equal(whole.ids[3 * rank : 3 * rank + 3], part.ids)
        stream.close()
