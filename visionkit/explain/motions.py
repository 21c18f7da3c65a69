"""Shifts, rotations, scalings and mirrorings of images, and the same done to the maps of a network.

A motion says for every point of the moved picture from which point of the picture it comes. Points are in pixels, the
left upper corner is (0, 0), the middle of the first pixel (0.5, 0.5). A map is moved by asking for the middles of its
cells (`Grid`), wherever in the picture they lie. Where all of them come from middles of cells, the map is copied and
nothing is computed: shifts by whole cells, mirrorings and quarter turns are exact. Elsewhere it is interpolated.
What lies outside is the picture mirrored at its border.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WHOLE = 1e-6  # cells; nearer to a cell's middle than this is there


class Grid(NamedTuple):
    """Where the cells of a map lie in the picture: the middle of cell (i, j) is at (y + i * step_y, x + j * step_x)."""

    y: float = 0.5
    x: float = 0.5
    step_y: float = 1.0
    step_x: float = 1.0

    def middles(self, height: int, width: int) -> Tensor:
        """(height, width, 2) float64, y and x of every cell's middle in pixels."""
        y = self.y + self.step_y * torch.arange(height, dtype=torch.float64)
        x = self.x + self.step_x * torch.arange(width, dtype=torch.float64)
        return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)

    def cells(self, points: Tensor) -> Tensor:
        """Points (..., 2) in pixels -> the same in cells, whole numbers at their middles."""
        return (points - points.new_tensor([self.y, self.x])) / points.new_tensor([self.step_y, self.step_x])


class Motion(NamedTuple):
    """One way to move a picture.

    Attributes:
        kind: "shift", "rotate", "scale", "mirror" or "turn over".
        amount: pixels to the right; degrees counter-clockwise; times as large; 1 for both mirrorings.
        matrix: by rows, what is multiplied with a point's (y, x) from the picture's middle to know where it came from.
        right: pixels to the right, after the matrix.
    """

    kind: str
    amount: float
    matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    right: float = 0.0

    def sources(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Points (..., 2) of the moved picture, y and x in pixels -> the points of the picture they come from."""
        middle = points.new_tensor([size[0] / 2, size[1] / 2])
        matrix = points.new_tensor(self.matrix).view(2, 2)
        return (points - middle) @ matrix.T + middle - points.new_tensor([0.0, self.right])


def shift(pixels: float) -> Motion:
    """To the right; to the left where negative."""
    return Motion("shift", pixels, right=pixels)


def rotate(degrees: float) -> Motion:
    """Counter-clockwise about the middle."""
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    return Motion("rotate", degrees, (cosine, sine, -sine, cosine))  # y points down


def scale(times: float) -> Motion:
    """Larger about the middle, or smaller (below 1), without smoothing."""
    return Motion("scale", times, (1 / times, 0.0, 0.0, 1 / times))


def mirror() -> Motion:
    """Left becomes right."""
    return Motion("mirror", 1.0, (1.0, 0.0, 0.0, -1.0))


def turn_over() -> Motion:
    """Top becomes bottom."""
    return Motion("turn over", 1.0, (-1.0, 0.0, 0.0, 1.0))


def moved(maps: Tensor, motion: Motion, size: tuple[int, int], grid: Grid | None = None) -> Tensor:
    """A motion of the picture, done to maps.

    Args:
        maps: (B, C, h, w) float, of pictures of `size` (height, width) in pixels; or these pictures.
        grid: where the cells lie; by default those of the pictures themselves.
    Returns:
        (B, C, h, w): bilinear between cells, exact on them.
    """
    grid = grid or Grid()
    height, width = maps.shape[-2:]
    places = grid.cells(motion.sources(grid.middles(height, width), size))  # (h, w, 2) float64, in cells
    nearest = places.round()
    if (places - nearest).abs().max() < WHOLE:
        rows, columns = (_reflected(nearest[..., k].long(), n) for k, n in ((0, height), (1, width)))
        return maps[:, :, rows.to(maps.device), columns.to(maps.device)]
    share = (2 * places + 1) / places.new_tensor([height, width]) - 1  # -1 ... 1 from edge to edge
    points = share.flip(-1).to(maps).expand(len(maps), -1, -1, -1)  # (B, h, w, 2), x first
    return F.grid_sample(maps, points, mode="bilinear", padding_mode="reflection", align_corners=False)


def interior(motion: Motion, size: tuple[int, int], grid: Grid, cells: tuple[int, int], margin: float) -> Tensor:
    """The cells of a map (h, w) = `cells` that lie, and come from, at least `margin` of each side from the picture's
    border: (h, w) bool. What stands there does not depend on what lies outside, as far as a cell sees no further."""
    points = grid.middles(*cells)
    inside = torch.ones(cells, dtype=torch.bool)
    for places in (points, motion.sources(points, size)):
        for k in (0, 1):
            edge = margin * size[k] - WHOLE
            inside &= (places[..., k] >= edge) & (places[..., k] <= size[k] - edge)
    return inside


def _reflected(places: Tensor, length: int) -> Tensor:
    """Whole places along one axis -> 0 ... length - 1, mirrored at the edges: -1 is 0, -2 is 1."""
    places = places % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)
