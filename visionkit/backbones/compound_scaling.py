"""Compound scaling (Tan and Le, "EfficientNet", 2019, sec. 3.3): depth, width and resolution grow together.

A network twice as deep costs twice as much, one twice as wide or seeing twice the resolution four times. With one
number phi, depth grows by alpha^phi, width by beta^phi and resolution by gamma^phi, where alpha * beta^2 * gamma^2 is
about 2: every step of phi doubles the cost. A search on the smallest network found the three bases.
"""

import math
from typing import NamedTuple

from visionkit.backbones.mobilenet_v2 import make_divisible

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15  # depth, width, resolution


class Scale(NamedTuple):
    """What a network has, times that of the smallest."""

    depth: float
    width: float
    resolution: float

    @property
    def cost(self) -> float:
        """Multiply-adds, times those of the smallest network."""
        return self.depth * self.width**2 * self.resolution**2


def compound_scale(phi: float) -> Scale:
    """The rule (eq. 3): about 2^phi times the cost of the smallest network, for which phi is 0."""
    return Scale(ALPHA**phi, BETA**phi, GAMMA**phi)


class Size(NamedTuple):
    """What the authors publish for one EfficientNet: chosen by hand near the rule, the larger ones beyond it."""

    width: float
    depth: float
    resolution: int  # side of the images it was made for
    dropout: float  # larger networks need more of it


EFFICIENTNET = {
    "b0": Size(1.0, 1.0, 224, 0.2),
    "b1": Size(1.0, 1.1, 240, 0.2),
    "b2": Size(1.1, 1.2, 260, 0.3),
    "b3": Size(1.2, 1.4, 300, 0.3),
    "b4": Size(1.4, 1.8, 380, 0.4),
    "b5": Size(1.6, 2.2, 456, 0.4),
    "b6": Size(1.8, 2.6, 528, 0.5),
    "b7": Size(2.0, 3.1, 600, 0.5),
}


def scaled_width(channels: int, width: float) -> int:
    """A multiple of 8, at most a tenth below."""
    return make_divisible(channels * width)


def scaled_depth(blocks: int, depth: float) -> int:
    """Rounded up."""
    return math.ceil(blocks * depth)
