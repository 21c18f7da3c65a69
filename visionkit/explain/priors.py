"""What pictures look like, as penalties on pixels, and how an image is searched for (see `explain.inversion`)."""

from dataclasses import dataclass

from torch import Tensor

from visionkit.errors import ConfigError


@dataclass(frozen=True)
class Priors:
    """How an image is searched for, and what it has to look like.

    Attributes:
        steps: of Adam; rate: its learning rate, in units of the normalised pixels; it falls to 0 as half a cosine.
        start: deviation of the normal noise that the search starts from, around middle gray (0).
        variation: weight of the total variation, the mean over pixels of (dx^2 + dy^2)^(power / 2).
        power: beta of Mahendran and Vedaldi, eq. 4; 2 blurs edges, 1 leaves them.
        alpha_norm: weight of the mean over pixels of |x / extreme|^alpha (eq. 3), which is small up to `extreme`.
        alpha, extreme: its exponent, and the size of pixels that should not be passed.
        jitter: the image is shifted by up to so many pixels before each step, what leaves on one side coming back on
            the other.
        blur_every: steps from one blur to the next, 0 = never; none falls into the last tenth.
        blur: deviation of the Gaussian, pixels.
        seed: of the noise and the shifts.
    """

    steps: int = 160
    rate: float = 0.05
    start: float = 0.1
    variation: float = 0.0
    power: float = 2.0
    alpha_norm: float = 0.0
    alpha: float = 6.0
    extreme: float = 2.2
    jitter: int = 0
    blur_every: int = 0
    blur: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "start": 0, "variation": 0, "alpha_norm": 0, "jitter": 0, "blur_every": 0, "blur": 0}
        for name, low in least.items():
            if not getattr(self, name) >= low:
                raise ConfigError(f"{name}={getattr(self, name)} has to be at least {low}.")
        for name in ("rate", "power", "alpha", "extreme"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)} has to be above 0.")


FOR_CLASSES = Priors(steps=130, rate=0.08, variation=5.0, alpha_norm=0.1, jitter=16, blur_every=8)
FOR_LAYERS = Priors(steps=120, rate=0.1, variation=0.004, alpha_norm=0.001)


def penalties(images: Tensor, priors: Priors) -> Tensor:
    """(B, C, H, W) -> (B,), what the priors have against the images."""
    found = images.new_zeros(len(images))
    if priors.variation:
        found = found + priors.variation * total_variation(images, priors.power)
    if priors.alpha_norm:
        found = found + priors.alpha_norm * (images / priors.extreme).abs().pow(priors.alpha).mean(dim=(1, 2, 3))
    return found


def total_variation(images: Tensor, power: float = 2.0) -> Tensor:
    """Mean over pixels and channels of (dx^2 + dy^2)^(power / 2), dx and dy being the differences to the neighbours at
    the right and below (Mahendran and Vedaldi 2015, eq. 4): (B, C, H, W) -> (B,)."""
    dx = images[:, :, :-1, 1:] - images[:, :, :-1, :-1]  # (B, C, H - 1, W - 1)
    dy = images[:, :, 1:, :-1] - images[:, :, :-1, :-1]
    squares = dx.square() + dy.square()
    if power != 2:
        squares = (squares + 1e-8).pow(power / 2)  # the root has no slope at 0
    return squares.mean(dim=(1, 2, 3))
