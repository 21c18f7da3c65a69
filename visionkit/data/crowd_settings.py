"""The stated difficulty of the generated crowds: every number that the generator reads, checked once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from visionkit.errors import ConfigError

# Raise this by one whenever the same settings would give other pictures; old folders are then left alone.
GENERATOR_VERSION = 1
SPLITS = ("train", "val")


@dataclass(frozen=True)
class CrowdSettings:
    """Difficulty of the pictures. Pairs are (least, most), both included, image_size aside.

    ConfigError, one sentence naming the key, for a value out of its range.
    """

    train_images: int = 600
    val_images: int = 100
    seed: int = 0
    image_size: tuple[int, int] = (192, 256)  # height and width, pixels
    people: tuple[int, int] = (10, 150)  # in a picture; those that find no room are left out
    head: tuple[float, float] = (1.6, 6.0)  # radius at the upper and at the lower border, pixels
    apart: float = 1.3  # least distance of two heads, in radii of the larger: 2 = they do not touch
    clutter: tuple[int, int] = (4, 12)  # things that are no people
    noise: float = 5.0  # largest standard deviation of the camera's noise, 0 ... 255
    jpeg_quality: int = 92

    def __post_init__(self) -> None:
        for key, (low, high, whole) in _RANGES.items():
            value = getattr(self, key)
            pair = key in ("image_size", "people", "head", "clutter")
            if pair and (isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2):
                raise ConfigError(f"crowds: {key} must be a pair of numbers, got {value!r}.")
            for number in value if pair else [value]:
                kinds = (int,) if whole else (int, float)
                if isinstance(number, bool) or not isinstance(number, kinds) or not low <= number <= high:
                    kind = "a whole number" if whole else "a number"
                    raise ConfigError(f"crowds: {key} must be {kind} from {low} to {high}, got {number!r}.")
            if pair and key != "image_size" and value[0] > value[1]:
                raise ConfigError(f"crowds: {key} {list(value)} has its least above its most.")
            if not whole:  # 2 and 2.0 are one setting, one digest
                value = tuple(map(float, value)) if pair else float(value)
            object.__setattr__(self, key, tuple(value) if pair else value)

    @staticmethod
    def of(values: Mapping[str, Any]) -> "CrowdSettings":
        """From a plain mapping (a YAML node); an unknown key is a ConfigError that lists the known ones."""
        known = [field.name for field in fields(CrowdSettings)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"crowds: unknown key {unknown[0]!r}; known are {', '.join(known)}.")
        return CrowdSettings(**values)

    def images(self, split: str) -> int:
        """Number of pictures of "train" or "val"."""
        return self.train_images if split == "train" else self.val_images

    def digest(self) -> str:
        """Ten hex digits that change with any setting and with GENERATOR_VERSION."""
        text = json.dumps({"version": GENERATOR_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


_RANGES = {  # least, most, whether whole
    "train_images": (1, 1_000_000, True),
    "val_images": (1, 1_000_000, True),
    "seed": (0, 2**62, True),
    "image_size": (32, 4096, True),
    "people": (0, 5000, True),
    "head": (0.5, 200, False),
    "apart": (0.0, 10.0, False),
    "clutter": (0, 1000, True),
    "noise": (0, 50, False),
    "jpeg_quality": (1, 100, True),
}
