import pytest
import torch

from visionkit.ops.resize_rows import resize_rows
from visionkit.ops.upsample import resize_maps


@pytest.mark.parametrize("target", [(1, 1), (2, 3), (9, 13), (17, 11), (40, 12), (23, 60), (100, 5), (18, 24)])
@pytest.mark.parametrize("sizes", [(9,), (1,) * 9, (4, 5), (1, 7, 1), (8, 1)])
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_pieces_make_up_what_all_at_once_is(target, sizes, chunk):
    maps = torch.randn(3, 9, 12)
    pieces = list(resize_rows(maps.split(sizes, dim=1), (9, 12), target, chunk))
    assert max(piece.shape[1] for piece in pieces) <= chunk
    torch.testing.assert_close(torch.cat(pieces, dim=1), resize_maps(maps[None], target)[0], atol=1e-5, rtol=1e-5)


def test_the_same_size_is_the_same_numbers():
    maps = torch.randn(2, 31, 7)
    pieces = list(resize_rows(maps.split([10, 20, 1], dim=1), (31, 7), (31, 7), 8))
    assert torch.equal(torch.cat(pieces, dim=1), maps)


def test_little_is_held():
    """Ten thousand rows come, and each goes out before the next hundred are asked for."""
    asked = 0

    def blocks():
        nonlocal asked
        for _ in range(100):
            asked += 100
            yield torch.zeros(1, 100, 2)

    done = 0
    for piece in resize_rows(blocks(), (10_000, 2), (20_000, 2)):
        done += piece.shape[1]
        assert done >= 2 * (asked - 100) - 4
    assert done == 20_000


@pytest.mark.parametrize("height", [3, 7, 49, 1000])
def test_every_row_goes_out_once(height):
    for wanted in range(1, 120, 7):
        rows = torch.arange(height, dtype=torch.float32)[None, :, None]
        found = torch.cat(list(resize_rows(rows.split(5, dim=1), (height, 1), (wanted, 1), 10)), dim=1)
        assert found.shape == (1, wanted, 1) and (found.diff(dim=1) >= 0).all()
