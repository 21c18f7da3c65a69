"""Pictures in a plane: none over another, and each on the grid once."""

from itertools import permutations

import cv2
import numpy as np
import pytest

from visionkit.viz.embedding_plot import CELL, apart, grid_sheet, on_grid, plot_embedding, unit_square

RANDOM = np.random.default_rng(0)


def test_unit_square_keeps_proportions():
    found = unit_square(np.array([[2.0, 10], [6, 10], [4, 12]]))
    np.testing.assert_allclose(found, [[0, 0.25], [1, 0.25], [0.5, 0.75]])
    np.testing.assert_allclose(unit_square(np.ones((3, 2))), np.full((3, 2), 0.5))
    assert unit_square(np.zeros((0, 2))).shape == (0, 2)


def test_what_is_kept_is_apart_and_nothing_more_fits():
    places = RANDOM.random((200, 2))
    kept = apart(places, 0.1)
    distances = np.abs(places[:, None] - places[None]).max(axis=2)
    inner = distances[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)]
    assert inner.min() > 0.1 and kept[0] == 0
    assert (distances[:, kept].min(axis=1) <= 0.1).all()
    assert apart(places[:0], 0.1) == []


def test_grid_moves_points_as_little_as_possible():
    points = RANDOM.random((4, 2))
    places = [((column + 0.5) / 2, 1 - (row + 0.5) / 2) for row in range(2) for column in range(2)]
    square = unit_square(points)

    def moved(order: tuple[int, ...]) -> float:
        return sum(float(((square[i] - places[place]) ** 2).sum()) for i, place in enumerate(order))

    best = min(permutations(range(4)), key=moved)
    assert on_grid(points, 2) == [divmod(place, 2) for place in best]


def test_up_in_the_plot_is_up_in_the_grid():
    assert on_grid(np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), 2) == [(1, 0), (0, 0), (1, 1), (0, 1)]


@pytest.mark.parametrize("count", [0, 1, 5, 9, 10])
def test_every_picture_is_on_the_grid_once(count):
    points = RANDOM.random((count, 2))
    sheet = grid_sheet(points, lambda i: np.full((CELL, CELL, 3), 100 + i, np.uint8))
    for i in range(count):
        assert (sheet == 100 + i).all(axis=2).sum() == (CELL - 4) ** 2


def test_the_plot_reads_only_what_it_shows(tmp_path):
    asked: list[int] = []

    def picture(i: int) -> np.ndarray:
        asked.append(i)
        return np.full((64, 48, 3), (250, 0, 250), np.uint8)

    points = np.concatenate([np.zeros((50, 2)), np.ones((50, 2))])  # two heaps
    path = plot_embedding(points, picture, tmp_path / "plot.png", [0] * 50 + [1] * 50, ["one", "other"], "title")
    assert asked == [0, 50]
    image = cv2.imread(str(path))[:, :, ::-1].astype(int)
    assert (np.abs(image - (250, 0, 250)).max(axis=2) < 30).sum() > 1500, "two thumbnails of 40 x 30"


def test_plots_without_classes_and_without_pictures(tmp_path):
    black = np.zeros((8, 8, 3), np.uint8)
    for count in (0, 1, 3):
        path = plot_embedding(RANDOM.random((count, 2)), lambda i: black, tmp_path / f"{count}.png")
        assert path.stat().st_size > 0
