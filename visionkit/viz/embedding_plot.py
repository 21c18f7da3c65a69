"""Many pictures in a plane: a plot in which some of them show themselves, and a grid in which all do."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from visionkit.viz.figure import curve_color, new_figure, save
from visionkit.viz.mosaic import mosaic
from visionkit.viz.neighbours import thumbnail
from visionkit.viz.palette import class_color

INCHES = 9.0  # side of the plot
SHOWN = 40  # pixels of a thumbnail in it
FRAME = 2  # around a thumbnail, in the colour of its class
CELL = 48  # pixels of a picture's place in the grid

Picture = Callable[[int], np.ndarray]  # picture i as (H, W, 3) uint8 RGB, read when it is wanted


def plot_embedding(
    points: np.ndarray,
    picture: Picture,
    path: str | Path,
    labels: Sequence[int] | None = None,
    names: Sequence[str] = (),
    title: str = "",
) -> Path:
    """A dot for each picture at its place, in the colour of its class, and thumbnails where they do not overlap.

    Args:
        points: (N, 2) float.
        picture: gives picture i; asked for those that are shown only.
        labels: N numbers of classes; None where there are none.
        names: of the classes.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    colors = [curve_color(label) for label in ([0] * len(points) if labels is None else labels)]
    places = unit_square(points)
    low, high = (places.min(axis=0), places.max(axis=0)) if len(places) else (np.zeros(2), np.ones(2))
    share = min(max((high - low + 0.08)[1] / (high - low + 0.08)[0], 0.5), 1.5)  # height of the plot to its width
    figure, axis = new_figure((INCHES, INCHES * share))
    axis.scatter(places[:, 0], places[:, 1], c=colors or None, s=9, linewidths=0)
    gap = (SHOWN + 2 * FRAME + 4) / (INCHES * 100)  # the plot has about 100 pixels an inch, less its margins
    for i in apart(places, gap):
        image = _framed(thumbnail(picture(i), SHOWN), None if labels is None else labels[i])
        axis.add_artist(AnnotationBbox(OffsetImage(image, zoom=72 / 110), places[i], frameon=False, pad=0))
    limits = {"xlim": (low[0] - 0.04, high[0] + 0.04), "ylim": (low[1] - 0.04, high[1] + 0.04)}
    axis.set(**limits, xticks=[], yticks=[], aspect="equal")
    axis.set_title(title, fontsize=10)
    if labels is not None:
        for label in sorted(set(labels)):
            axis.scatter([], [], color=curve_color(label), label=names[label], s=30)
        if len(set(labels)) <= 24:
            figure.legend(loc="outside right upper")
    return save(figure, path)


def grid_sheet(
    points: np.ndarray, picture: Picture, labels: Sequence[int] | None = None, cell: int = CELL
) -> np.ndarray:
    """All pictures on a square grid, near to where their points lie: (H, W, 3) uint8, framed by class."""
    side = max(1, int(np.ceil(np.sqrt(len(points)))))
    blank = np.zeros((cell, cell, 3), np.uint8)
    cells = [blank] * (side * side)
    for i, (row, column) in enumerate(on_grid(points, side)):
        small = thumbnail(picture(i), cell - 2 * FRAME)
        cells[row * side + column] = _framed(small, None if labels is None else labels[i])
    return mosaic(cells, side, (cell, cell), gap=2)


def unit_square(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) -> the same (N, 2) float64, scaled by one factor into 0 ... 1 and set in its middle."""
    points = np.asarray(points, np.float64)
    if not len(points):
        return points.reshape(0, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    span = float((high - low).max()) or 1.0
    return 0.5 + (points - (low + high) / 2) / span


def apart(places: np.ndarray, gap: float) -> list[int]:
    """Positions of points (N, 2), in order, such that any two are more than `gap` apart along one of the axes: each is
    taken unless one before it is too near."""
    kept: list[int] = []
    for i, place in enumerate(places):
        if not kept or (np.abs(places[kept] - place).max(axis=1) > gap).all():
            kept.append(i)
    return kept


def on_grid(points: np.ndarray, side: int) -> list[tuple[int, int]]:
    """(row, column) of each of N points on a grid of side x side places, N at most, so that the sum of the squared
    distances that they are moved is the smallest possible. The time grows with the cube of N: seconds for 1,000."""
    places = unit_square(points)
    steps = (np.arange(side) + 0.5) / side
    columns, rows = np.meshgrid(steps, 1 - steps)  # upwards, as in a plot
    grid = np.stack([columns.ravel(), rows.ravel()], axis=1)  # (side * side, 2)
    costs = ((places[:, None] - grid[None]) ** 2).sum(axis=2)  # (N, side * side)
    _, chosen = linear_sum_assignment(costs)
    return [divmod(int(place), side) for place in chosen]


def _framed(image: np.ndarray, label: int | None) -> np.ndarray:
    color = (70, 70, 70) if label is None else class_color(label)
    height, width = image.shape[:2]
    found = np.empty((height + 2 * FRAME, width + 2 * FRAME, 3), np.uint8)
    found[:] = color
    found[FRAME:-FRAME, FRAME:-FRAME] = image
    return found
