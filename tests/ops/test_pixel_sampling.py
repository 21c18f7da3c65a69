"""Which pixels are learned from, beside the same written out with loops."""

import pytest
import torch

from visionkit.ops.hashing import random_keys
from visionkit.ops.pixel_sampling import sample_pixels


def maps(seed=0, shape=(3, 7, 9), classes=4):
    generator = torch.Generator().manual_seed(seed)
    semantic = torch.randint(0, classes, shape, generator=generator)
    semantic[torch.rand(shape, generator=generator) < 0.3] = 255
    return semantic, random_keys(torch.arange(shape[0]) + seed, shape[1] * shape[2])


def chosen(places, labels):
    """The positions of each picture that count."""
    return [set(row[label != 255].tolist()) for row, label in zip(places, labels, strict=True)]


@pytest.mark.parametrize("count", [1, 5, 30, 500])
def test_the_labelled_pixels_with_the_largest_keys(count):
    semantic, keys = maps()
    places, labels = sample_pixels(semantic, keys, count)
    assert places.shape == labels.shape == (3, min(count, 63))
    assert torch.equal(labels, semantic.flatten(1).gather(1, places))
    for row, picture, key in zip(chosen(places, labels), semantic.flatten(1), keys, strict=True):
        labelled = (picture != 255).nonzero()[:, 0].tolist()
        assert row == set(sorted(labelled, key=lambda i: -key[i].item())[:count])


@pytest.mark.parametrize("count", [1, 6, 30])
def test_balanced_takes_turns_among_the_classes(count):
    semantic, keys = maps()
    semantic[0, 1:] = 255  # one row is left: few of each class
    semantic[1][semantic[1] == 2] = 0
    places, labels = sample_pixels(semantic, keys, count, balanced=True)
    for row, picture, key in zip(chosen(places, labels), semantic.flatten(1), keys, strict=True):
        queues = [sorted((picture == k).nonzero()[:, 0].tolist(), key=lambda i: -key[i].item()) for k in range(4)]
        turns = [[queue[turn] for queue in queues if turn < len(queue)] for turn in range(63)]
        whole, rest = set(), count
        for turn in turns:
            if rest >= len(turn):
                whole, rest = whole | set(turn), rest - len(turn)
            else:  # the last turn is for some of the classes only
                assert whole <= row and row - whole <= set(turn)
                break
        assert len(row) == min(count, sum(map(len, queues)))
    counts = torch.bincount(labels[2][labels[2] != 255], minlength=4)
    assert counts.max() - counts.min() <= 1 or count == 30, "as many of each class as there are"


def test_a_picture_is_sampled_alike_in_any_batch():
    semantic, keys = maps()
    for balanced in (False, True):
        together = chosen(*sample_pixels(semantic, keys, 8, balanced))
        alone = [chosen(*sample_pixels(semantic[i : i + 1], keys[i : i + 1], 8, balanced))[0] for i in range(3)]
        assert together == alone
        assert together != chosen(*sample_pixels(semantic, maps(seed=1)[1], 8, balanced))


@pytest.mark.parametrize("balanced", [False, True])
def test_equal_keys_are_no_tie_and_nothing_labelled_is_nothing_chosen(balanced):
    semantic, keys = maps()
    semantic[1] = 255
    places, labels = sample_pixels(semantic, torch.zeros_like(keys), 6, balanced)
    assert [len(row) for row in chosen(places, labels)] == [6, 0, 6]
    assert all(len(set(row.tolist())) == 6 for row in places), "no pixel twice, not even those that do not count"
    first = (semantic[0].flatten() != 255).nonzero()[:6, 0].tolist()
    assert balanced or sorted(places[0].tolist()) == first, "the first of equals"


def test_no_pictures_and_no_count():
    places, labels = sample_pixels(torch.zeros(0, 4, 4, dtype=torch.int64), torch.zeros(0, 16), 3, balanced=True)
    assert places.shape == labels.shape == (0, 3)
    with pytest.raises(ValueError, match="at least 1"):
        sample_pixels(*maps(), 0)
