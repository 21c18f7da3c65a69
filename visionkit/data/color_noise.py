"""AlexNet's colour noise."""

from dataclasses import dataclass, replace

import numpy as np

from visionkit.ops.hashing import mix
from visionkit.structures import Sample

_STREAM = 9  # see visionkit.data.transforms

# Principal components of the pixels of ImageNet's training pictures, RGB in 0 ... 1: how far the colours spread along
# each, and its direction (one a column). The figures that training scripts have shared since Torch 7.
_SPREAD = np.array([0.2175, 0.0188, 0.0045])
_DIRECTIONS = np.array(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)


@dataclass(frozen=True)
class ColorNoise:
    """Adds one colour to the whole picture, drawn along the principal components of ImageNet's colours: another
    brightness and tint of the light (Krizhevsky et al. 2012, sec. 4.1).

    albumentations' FancyPCA is no substitute: on uint8 pictures it changes nothing.

    Attributes:
        std: of the factor that each component is multiplied by; the paper's is 0.1.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise ValueError(f"std must be at least 0, not {self.std}")

    def __call__(self, sample: Sample) -> Sample:
        factors = np.random.default_rng(mix(sample.seed, _STREAM)).normal(0.0, self.std, 3)
        shift = np.rint(255 * _DIRECTIONS @ (factors * _SPREAD)).astype(np.int16)  # (3,) R G B
        image = np.clip(sample.image + shift, 0, 255).astype(np.uint8)
        return replace(sample, image=image)
