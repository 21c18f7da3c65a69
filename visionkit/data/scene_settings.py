"""The stated difficulty of the generated pictures: every number that the generator reads, checked once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from visionkit.data.scene_shapes import SHAPES
from visionkit.errors import ConfigError

# Raise this by one whenever the same settings would give other pictures; old folders are then left alone.
GENERATOR_VERSION = 1
SPLITS = ("train", "val")
MOST_IMAGES = 1_000_000  # of one split: image ids of val start above it
_WHOLE = {  # the range of every whole number
    "train_images": (1, MOST_IMAGES),
    "val_images": (1, MOST_IMAGES),
    "seed": (0, 2**62),
    "image_size": (32, 4096),
    "objects": (1, 50),
    "object_size": (8, 4096),
    "clutter": (0, 1000),
    "distractors": (0, 100),
    "textures": (1, MOST_IMAGES),
    "jpeg_quality": (1, 100),
}
_REAL = {
    "rotation": (0, 180),
    "occlusion": (0, 0.9),
    "overlap": (0, 1),
    "contrast": (0, 150),
    "fill_texture": (0, 1),
    "background_texture": (0, 100),
    "noise": (0, 50),
}
_PAIRS = ("image_size", "objects", "object_size", "clutter", "distractors")


@dataclass(frozen=True)
class SceneSettings:
    """Difficulty of the pictures. Pairs are (least, most), both included; sizes are pixels.

    Raises ConfigError, one sentence naming the key, when a value is out of range or two values contradict each other.
    """

    train_images: int = 3000
    val_images: int = 200
    seed: int = 0
    classes: tuple[str, ...] = tuple(SHAPES)
    image_size: tuple[int, int] = (112, 160)  # of either side, drawn apart
    objects: tuple[int, int] = (2, 6)  # per picture
    object_size: tuple[int, int] = (12, 100)  # longer side of the box around the visible pixels
    rotation: float = 180.0  # degrees to either side
    occlusion: float = 0.3  # largest fraction of an object that later ones may hide
    overlap: float = 0.4  # fraction of the objects that may hide part of earlier ones
    contrast: float = 90.0  # least RGB distance (0 ... 441) of a fill's colours from four fifths of what it covers
    fill_texture: float = 0.4  # a fill's second colour is at most this part of the way to another random colour
    background_texture: float = 25.0  # standard deviation of the background's colours, 0 ... 255
    noise: float = 4.0  # largest standard deviation of the camera's noise, 0 ... 255
    clutter: tuple[int, int] = (5, 12)  # faint scraps in the background
    distractors: tuple[int, int] = (1, 3)  # shapes of no class, coloured like objects
    textures: int = 400  # texture seeds per split; the two splits share none
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        for key in _PAIRS:
            low, high = _pair(key, getattr(self, key))
            object.__setattr__(self, key, (low, high))
        object.__setattr__(self, "classes", _class_names(self.classes))
        for key, (low, high) in _WHOLE.items():
            if key not in _PAIRS:  # _pair has seen to those
                _check(getattr(self, key), key, low, high, whole=True)
        for key, (low, high) in _REAL.items():
            _check(getattr(self, key), key, low, high)
            object.__setattr__(self, key, float(getattr(self, key)))  # 180 and 180.0 are one setting, one digest
        if self.object_size[1] > self.image_size[1]:
            raise ConfigError(
                f"scenes: object_size {list(self.object_size)} goes beyond image_size {list(self.image_size)}."
            )
        if self.object_size[0] * 2 > self.image_size[0]:
            raise ConfigError(
                f"scenes: the smallest object ({self.object_size[0]} px) leaves no room for another "
                f"in the smallest picture ({self.image_size[0]} px)."
            )

    def images(self, split: str) -> int:
        """Number of pictures of "train" or "val"."""
        return self.train_images if split == "train" else self.val_images

    def digest(self) -> str:
        """Ten hex digits that change with any setting and with GENERATOR_VERSION."""
        text = json.dumps({"version": GENERATOR_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def settings_from(values: Mapping[str, Any]) -> SceneSettings:
    """SceneSettings from a plain mapping (a YAML node); an unknown key is a ConfigError that lists the known ones."""
    known = [field.name for field in fields(SceneSettings)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"scenes: unknown key {unknown[0]!r}; known are {', '.join(known)}.")
    return SceneSettings(**values)


def _pair(key: str, value: Any) -> tuple[Any, Any]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ConfigError(f"scenes: {key} must be a pair [least, most], got {value!r}.")
    low, high = value
    for number in (low, high):
        _check(number, key, *_WHOLE[key], whole=True)
    if low > high:
        raise ConfigError(f"scenes: {key} [{low}, {high}] has its least above its most.")
    return low, high


def _check(value: Any, key: str, low: float, high: float, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"scenes: {key} must be {kind} from {low} to {high}, got {value!r}.")


def _class_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ConfigError(f"scenes: classes must be a list of shape names, got {names!r}.")
    for name in names:
        if name not in SHAPES:
            raise ConfigError(f"scenes: unknown class {name!r}; known are {', '.join(SHAPES)}.")
    if len(set(names)) != len(names):
        raise ConfigError(f"scenes: classes name a shape twice: {', '.join(names)}.")
    return tuple(names)
