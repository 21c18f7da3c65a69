"""How widely each counted object is spread over a density map."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visionkit.errors import ConfigError


class Kernel(Protocol):
    """Points (P, 2) of one picture -> the deviation of each one's Gaussian, (P,) float32, pixels, above 0."""

    def __call__(self, points: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class FixedKernel:
    """The same for all objects: for pictures without perspective, or where objects are far apart.

    Attributes:
        sigma: pixels of the file.
    """

    sigma: float = 4.0

    def __post_init__(self) -> None:
        _require(sigma=self.sigma)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return np.full(len(points), self.sigma, np.float32)


@dataclass(frozen=True)
class AdaptiveKernel:
    """Geometry-adaptive: in a crowd the distance to the neighbours tells how large a head is; see `adaptive_sigmas`.

    Attributes:
        beta, neighbours, least, most: as there.
    """

    beta: float = 0.3
    neighbours: int = 3
    least: float = 1.0
    most: float = 15.0

    def __post_init__(self) -> None:
        _require(beta=self.beta, least=self.least, most=self.most)
        if isinstance(self.neighbours, bool) or not isinstance(self.neighbours, int) or self.neighbours < 1:
            raise ConfigError(f"data.kernel.neighbours={self.neighbours}: a whole number of at least 1 is wanted.")
        if self.least > self.most:
            raise ConfigError(f"data.kernel.least={self.least} is more than data.kernel.most={self.most}.")

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return adaptive_sigmas(points, self.neighbours, self.beta, self.least, self.most)


def adaptive_sigmas(
    points: np.ndarray, k: int = 3, beta: float = 0.3, least: float = 1.0, most: float = 15.0
) -> np.ndarray:
    """sigma_i = beta times the mean distance to the k nearest other points (MCNN: Zhang et al., "Single-Image Crowd
    Counting via Multi-Column Convolutional Neural Network", 2016, sec. 2.2, where beta is 0.3).

    Where there are fewer than k + 1 points, the mean is over those that there are; a point alone, of whose size nothing
    is known, gets `most`.

    Args:
        points: (P, 2), x and y.
        least, most: bounds of the result: two points at one place would have a kernel without width, and one far from
            all others would cover half of the picture.
    Returns:
        (P,) float32, in the unit of the points.
    """
    if len(points) < 2:
        return np.full(len(points), most, np.float32)
    from scipy.spatial import cKDTree  # a fifth of a second, and most runs read no points

    neighbours = min(k, len(points) - 1)
    distances, _ = cKDTree(points).query(points, k=neighbours + 1)  # (P, neighbours + 1), the first is the point itself
    sigmas = beta * distances[:, 1:].mean(axis=1)
    return np.clip(sigmas, least, most).astype(np.float32)


def _require(**settings: float) -> None:
    for name, value in settings.items():
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or value <= 0:
            raise ConfigError(f"data.kernel.{name}={value}: a number above 0 is wanted.")


ADAPTIVE = AdaptiveKernel()  # the readers' default
