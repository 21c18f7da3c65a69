"""Sheets of queries with their nearest pictures."""

import numpy as np
import pytest

from visionkit.viz.neighbours import FRAME, SIDE, neighbour_sheet, thumbnail


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 32), (128, 128)),
        ((28, 20), (140, 100)),
        ((600, 300), (144, 72)),
        ((144, 10), (144, 10)),
        ((9000, 3), (144, 1)),
    ],
)
def test_thumbnails(size, expected):
    small = thumbnail(np.full((*size, 3), 7, np.uint8))
    assert small.shape == (*expected, 3) and (small == 7).all()


def test_rows_of_different_lengths():
    red, green, blue = (np.full((40, 40, 3), color, np.uint8) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    sheet = neighbour_sheet([((red, "query"), [(green, "1"), (blue, "2")]), ((blue, "other"), [(red, "1")])])
    step = SIDE + 6

    def middle(row: int, column: int) -> tuple[int, ...]:
        height = sheet.shape[0] // 2
        return tuple(sheet[row * height + height // 2 + 9, 6 + column * step + SIDE // 2].tolist())

    assert [middle(0, c) for c in range(3)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert [middle(1, c) for c in range(3)] == [(0, 0, 255), (255, 0, 0), (32, 32, 32)]
    assert (sheet == 240).all(axis=2).sum() >= 2 * FRAME * 2 * 120, "the two queries have frames"
    assert sheet.shape[1] == 6 + 3 * step


def test_nothing_found_and_no_rows():
    one = neighbour_sheet([((np.zeros((5, 5, 3), np.uint8), "query"), [])])
    assert one.shape[1] == SIDE + 12 and neighbour_sheet([]).shape[2] == 3
