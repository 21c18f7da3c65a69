"""Two pictures in one: mixup and CutMix."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from visionkit.data.crop_plan import sized
from visionkit.data.transforms import uniform
from visionkit.errors import ConfigError
from visionkit.ops.hashing import mix
from visionkit.structures import Sample

_STREAM = 8  # see visionkit.data.transforms
_PARTNER, _OTHER_SEED, _WHETHER, _HOW_MUCH = range(4)
METHODS = ("mixup", "cutmix")


@dataclass(frozen=True)
class Mixed:
    """Mixes every picture with another one, and their labels by the same shares: both whole pictures, one shining
    through the other (mixup: Zhang et al. 2018), or with a rectangle of the other pasted in (CutMix: Yun et al. 2019).

    The outermost augmentation: `LabelledDataset` prepares both pictures with `augment`, at network size, and mixes
    them. The other picture is a function of (seed, epoch, image id) and comes from the whole training set, where the
    papers take it from the same batch. So a sample is the same however batches are composed and shared among processes.
    The price is a second picture to read and augment for each mixed one, twice the time of loading, and of tar shards
    one that lies anywhere.

    Attributes:
        augment: what happens to each picture before, or None.
        method: "mixup" or "cutmix".
        alpha: the shares are drawn from Beta(alpha, alpha): below 1 mostly one picture, at 1 anything alike. The papers
            have 0.2 (mixup on ImageNet) and 1 (CutMix).
        p: share of the pictures that are mixed at all.
    """

    augment: Callable[[Sample], Sample] | None
    method: Literal["mixup", "cutmix"] = "mixup"
    alpha: float = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be {' or '.join(METHODS)}, not {self.method}")
        if not 0 < self.alpha < float("inf"):
            raise ValueError(f"alpha must be above 0, not {self.alpha}")
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be 0 ... 1, not {self.p}")
        if isinstance(self.augment, Mixed):
            raise ValueError("pictures are mixed once: augment is itself a mixture")

    def __call__(self, sample: Sample) -> Sample:
        """Always a ConfigError: it takes a data set to mix, one of pictures with a class alone."""
        raise ConfigError(
            f"augment: {self.method} mixes the classes of whole pictures: it goes with task=classify only, and has to "
            "be the outermost augmentation."
        )

    def sized(self, side: int) -> "Mixed":
        """For a network that takes squares of `side` pixels."""
        return replace(self, augment=sized(self.augment, side))

    def partner(self, seed: int, count: int) -> tuple[int, int] | None:
        """The position among `count` pictures of the one that a sample with this seed is mixed with, and the seed of
        its own augmentation; None where the sample stays as it is."""
        if uniform(mix(seed, _STREAM), _WHETHER) >= self.p:
            return None
        return mix(seed, _STREAM, _PARTNER) % count, mix(seed, _STREAM, _OTHER_SEED)

    def mix(self, sample: Sample, other: Sample) -> Sample:
        """The first picture with the other one in it, both (size, size, 3), as `sample.seed` draws it; the other's
        class and its share are `truth.mixed`."""
        if sample.image.shape != other.image.shape or other.truth.image_label is None:
            raise ValueError("Mixed.mix takes two pictures of one size, each with its class")
        draw = np.random.default_rng(mix(sample.seed, _STREAM, _HOW_MUCH))
        share = 1.0 - float(draw.beta(self.alpha, self.alpha))  # of the other
        if self.method == "mixup":
            image = cv2.addWeighted(sample.image, 1.0 - share, other.image, share, 0.0)
        else:
            image, share = _paste(sample.image, other.image, share, draw)
        return replace(sample, image=image, truth=replace(sample.truth, mixed=(other.truth.image_label, share)))


def _paste(image: np.ndarray, other: np.ndarray, share: float, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """A rectangle of the picture's shape and of `share` of its area, around a random place, becomes the other picture's
    (Yun et al. 2019, sec. 3.1); what hangs over the border is lost. Also the share that the other really has then."""
    height, width = image.shape[:2]
    half = share**0.5 / 2
    top, bottom = _span(draw.uniform(), half, height)
    left, right = _span(draw.uniform(), half, width)
    pasted = image.copy()
    pasted[top:bottom, left:right] = other[top:bottom, left:right]
    return pasted, (bottom - top) * (right - left) / (height * width)


def _span(centre: float, half: float, side: int) -> tuple[int, int]:
    """First and last + 1 pixel of what reaches `half` to both sides of `centre`, both as shares of `side`."""
    return max(0, round((centre - half) * side)), min(side, round((centre + half) * side))
