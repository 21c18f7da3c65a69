"""Which input pixels the cells of a map see, followed exactly, one operation after the other.

Every operation on maps says, along each axis, which cells of its input the cell i of its output reads; a network is
one such rule after the other (Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks", 2019, with
intervals in the place of sizes). Borders cut nothing off: a cell may see pixels outside the image, and the figures are
those of a cell in the middle of a large one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

Span = Callable[[int], tuple[int, int]]


class Axis(NamedTuple):
    """Along one axis, cell i sees the pixels `cells[i]`, first to last; cell i + len(cells) the same, `step` further.

    Maps made by convolutions and pools repeat after one cell, upsampled ones after as many as their factor.
    """

    cells: tuple[tuple[int, int], ...] = ((0, 0),)
    step: int = 1

    def sees(self, cell: int) -> tuple[int, int]:
        """First and last pixel of any cell."""
        turns, place = divmod(cell, len(self.cells))
        first, last = self.cells[place]
        return first + turns * self.step, last + turns * self.step

    @property
    def size(self) -> int:
        """Pixels that a cell sees; the most, where cells differ."""
        return max(last - first + 1 for first, last in self.cells)

    @property
    def stride(self) -> Fraction:
        """Pixels from one cell to the next."""
        return Fraction(self.step, len(self.cells))

    def read(self, span: Span, advance: int, period: int = 1) -> "Axis":
        """Of an output whose cell i reads the input cells `span(i)`, first to last, where span(i + period) is
        span(i) + advance."""
        turns = len(self.cells) // math.gcd(len(self.cells), advance)  # until the input's pattern begins anew
        spans = [span(cell) for cell in range(turns * period)]
        cells = tuple((self.sees(first)[0], self.sees(last)[1]) for first, last in spans)
        return Axis(cells, self.step * advance * turns // len(self.cells))

    def window(self, size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> "Axis":
        """A convolution or a pool."""
        reach = dilation * (size - 1)
        return self.read(lambda i: (i * stride - padding, i * stride - padding + reach), advance=stride)

    def transposed(self, size: int, stride: int, padding: int, dilation: int) -> "Axis":
        """A transposed convolution: input cell j reaches the outputs j * stride - padding + t * dilation."""
        reach = dilation * (size - 1)
        return self.read(lambda i: (-((reach - padding - i) // stride), (i + padding) // stride), 1, period=stride)

    def adaptive(self, length: int, out: int) -> "Axis":
        """An adaptive pool of `length` cells to `out`."""
        common = math.gcd(length, out)
        return self.read(
            lambda i: (i * length // out, -(-(i + 1) * length // out) - 1), length // common, out // common
        )

    def nearest(self, factor: int) -> "Axis":
        """Every cell `factor` times."""
        return self.read(lambda i: (i // factor, i // factor), advance=1, period=factor)

    def bilinear(self, factor: int) -> "Axis":
        """Upsampling that mixes the two nearest cells."""
        below = lambda i: (2 * i + 1 - factor) // (2 * factor)  # noqa: E731
        return self.read(lambda i: (below(i), below(i) + 1), advance=1, period=factor)

    def joined(self, other: "Axis") -> "Axis | None":
        """Cells that see what either sees; None where the two do not lie on one grid."""
        if self.stride != other.stride:
            return None
        period = math.lcm(len(self.cells), len(other.cells))
        pairs = [(self.sees(i), other.sees(i)) for i in range(period)]
        cells = tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs)
        return Axis(cells, int(self.stride * period))


@dataclass(frozen=True)
class Field:
    """What the cells of a tensor see.

    Attributes:
        y, x: along the height and the width of the image.
        dims: where the two axes lie in the tensor, counted from its end: (-2, -1) for (B, C, h, w). None when they lie
            nowhere: the map was reduced to a vector, or its cells are the rows of a matrix.
        rows: the (height, width) that was folded into the rows of a matrix, as `nn.Linear` does with (B, h, w, C).
    """

    y: Axis = Axis()
    x: Axis = Axis()
    dims: tuple[int, int] | None = (-2, -1)
    rows: tuple[int, int] | None = None

    @property
    def is_map(self) -> bool:
        return self.dims is not None or self.rows is not None

    @property
    def size(self) -> tuple[int, int]:
        """Pixels (height, width) that a cell sees."""
        return self.y.size, self.x.size

    @property
    def stride(self) -> tuple[Fraction, Fraction]:
        """Pixels (down, across) from one cell to the next."""
        return self.y.stride, self.x.stride

    def extents(self, shape: Sequence[int]) -> tuple[int, int] | None:
        """Cells (height, width) of the tensor of this shape; None for a vector."""
        return self.rows if self.dims is None else (shape[self.dims[0]], shape[self.dims[1]])

    def each(self, y: Axis, x: Axis) -> "Field":
        """The same tensor with these axes."""
        return replace(self, y=y, x=x)

    def vector(self, height: int, width: int) -> "Field":
        """All cells of a (height, width) map together. The stride stays that of the map: it is what lies between two
        vectors when the network slides over a larger image."""
        return Field(self.y.window(height), self.x.window(width), dims=None)

    def joined(self, other: "Field") -> "Field | None":
        """Cells that see what either sees; None where they do not lie on one grid."""
        y, x = self.y.joined(other.y), self.x.joined(other.x)
        return None if y is None or x is None or self.dims != other.dims else self.each(y, x)
