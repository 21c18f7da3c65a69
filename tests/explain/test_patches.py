"""The strongest places of a stream of maps, beside sorting all of them."""

import pytest
import torch

from visionkit.errors import NonFiniteLossError
from visionkit.explain.patches import Top, liveliest_channels, strongest_places


def by_hand(maps: list[torch.Tensor], k: int) -> list[list[tuple[float, int, tuple[int, int]]]]:
    """Of each channel (value, picture, place), one a picture, from all pictures at once."""
    pictures = [one for batch in maps for one in batch]
    found = []
    for channel in range(pictures[0].shape[0]):
        rows = []
        for number, one in enumerate(pictures):
            cells = one[channel]
            value = float(cells.max())
            place = tuple((cells == value).nonzero()[0].tolist())
            rows.append((value, number, place))
        found.append(sorted(rows, key=lambda row: (-row[0], row[1]))[:k])
    return found


def rows_of(top: Top) -> list[list[tuple[float, int, tuple[int, int]]]]:
    return [
        [(v, p, tuple(c)) for v, p, c in zip(values, pictures, places, strict=True)]
        for values, pictures, places in zip(*(part.tolist() for part in top), strict=True)
    ]


@pytest.mark.parametrize("k", [1, 3, 11])
def test_beside_sorting_everything(k):
    """With many ties: whole numbers 0 ... 4."""
    maps = [torch.randint(0, 5, (count, 4, *size)).float() for count, size in ((3, (5, 6)), (1, (7, 2)), (7, (5, 6)))]
    assert rows_of(strongest_places(iter(maps), k)) == by_hand(maps, k)


def test_no_more_than_the_best_is_kept():
    """Batches are gone when the next one comes."""
    alive: list[int] = []

    class Counted(torch.Tensor):
        pass

    def stream():
        import gc
        import weakref

        for _ in range(6):
            maps = torch.rand(4, 3, 8, 8).as_subclass(Counted)
            alive.append(1)
            weakref.finalize(maps, alive.pop)
            yield maps
            del maps
            gc.collect()
            assert len(alive) <= 1

    top = strongest_places(stream(), 2)
    assert top.values.shape == (3, 2) and top.places.shape == (3, 2, 2)
    assert top.values.untyped_storage().nbytes() < 4 * 4 * 3 * 8


def test_fewer_pictures_than_wanted():
    top = strongest_places([torch.rand(2, 3, 4, 4)], 5)
    assert top.values.shape == (3, 5)
    assert (top.pictures[:, 2:] == -1).all() and top.values[:, 2:].isneginf().all()


def test_liveliest_channels_leave_out_the_dead():
    maps = torch.zeros(3, 4, 2, 2)
    maps[0, 2], maps[:, 1], maps[0, 3] = 3, 2, -1
    top = strongest_places([maps], 2)
    assert liveliest_channels(top, 9) == [1, 2]  # means of the two best: 2 and 1.5
    assert liveliest_channels(strongest_places([maps], 1), 1) == [2]
    assert liveliest_channels(strongest_places([maps], 5), 9) == [1, 2], "places that are missing do not count"


def test_refused():
    with pytest.raises(ValueError):
        strongest_places([], 1)
    with pytest.raises(ValueError):
        strongest_places([torch.rand(1, 1, 1, 1)], 0)
    with pytest.raises(NonFiniteLossError):
        strongest_places([torch.full((1, 1, 2, 2), torch.nan)], 1)
