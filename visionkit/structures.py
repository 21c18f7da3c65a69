"""The nouns of the kit. Frozen, validated, with few methods; boxes are plain tensors and functions are the verbs.

Conventions, for every file (docs/conventions.md): boxes are `x1 y1 x2 y2` in absolute pixels, continuous, no "+1";
labels are 0 ... K-1; images are RGB; sizes are (height, width); instance masks are bool, semantic masks int64 with
255 = ignore. B images, G truths (padded), P proposals (padded), R regions, N detections.
"""

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

_T = TypeVar("_T", bound="_OnDevice")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


class _OnDevice:
    """Moves every tensor field at once."""

    def to(self: _T, device: torch.device | str, non_blocking: bool = True) -> _T:
        """To a GPU the copies are queued; to the CPU they are awaited, or the host would read them too early."""
        non_blocking = non_blocking and torch.device(device).type != "cpu"
        moved = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        moved = {k: v.to(device, non_blocking=non_blocking) for k, v in moved.items() if isinstance(v, _MOVABLE)}
        return replace(self, **moved)  # type: ignore[type-var]

    def pin_memory(self: _T) -> _T:
        pinned = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **{k: v.pin_memory() for k, v in pinned.items() if isinstance(v, _MOVABLE)})  # type: ignore[type-var]


_MOVABLE = (Tensor, _OnDevice)  # one noun may hold another


@dataclass(frozen=True)
class Truth:
    """What is known of one image, as numpy arrays, in the pixels of the image it travels with."""

    boxes: np.ndarray  # (G, 4) float32
    labels: np.ndarray  # (G,) int64
    crowd: np.ndarray  # (G,) bool: a group or a "difficult" object; neither positive nor background in training
    masks: np.ndarray | None = None  # (G, H, W) bool
    semantic: np.ndarray | None = None  # (H, W) int64, 255 = ignore
    image_label: int | None = None
    mixed: tuple[int, float] | None = None  # a second class and its share, 0 ... 1, where two pictures were mixed
    points: np.ndarray | None = None  # (P, 3) float32: x, y of each counted object, and the deviation of its kernel, px

    def __post_init__(self) -> None:
        count = len(self.boxes)
        boxes = self.boxes
        _require(boxes.shape == (count, 4) and boxes.dtype == np.float32, "Truth.boxes must be (G, 4) float32")
        _require(self.labels.shape == (count,) and self.labels.dtype == np.int64, "Truth.labels must be (G,) int64")
        _require(self.crowd.shape == (count,) and self.crowd.dtype == np.bool_, "Truth.crowd must be (G,) bool")
        _require(self.masks is None or len(self.masks) == count, "Truth.masks must be (G, H, W)")
        points = self.points
        _require(
            points is None or (points.ndim == 2 and points.shape[1] == 3 and points.dtype == np.float32),
            "Truth.points must be (P, 3) float32",
        )


@dataclass(frozen=True)
class Sample:
    """One image with its truth. `seed` is a function of (run seed, epoch, image), never of worker or rank."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    truth: Truth
    id: int
    original_size: tuple[int, int]  # (height, width) of the file, upright
    proposals: np.ndarray | None = None  # (P, 4) float32
    seed: int = 0

    def __post_init__(self) -> None:
        _require(
            self.image.ndim == 3 and self.image.shape[2] == 3 and self.image.dtype == np.uint8,
            "Sample.image must be (H, W, 3) uint8 RGB",
        )


@dataclass(frozen=True)
class Proposals(_OnDevice):
    """Class-agnostic boxes that may hold an object, best first, padded to P."""

    boxes: Tensor  # (B, P, 4) float32
    scores: Tensor  # (B, P) float32, any monotone score
    valid: Tensor  # (B, P) bool

    def __post_init__(self) -> None:
        b, p = self.scores.shape
        _require(self.boxes.shape == (b, p, 4), "Proposals.boxes must be (B, P, 4)")
        _require(self.valid.shape == (b, p) and self.valid.dtype == torch.bool, "Proposals.valid must be (B, P) bool")


@dataclass(frozen=True)
class Batch(_OnDevice):
    """Images padded at the right and bottom to one canvas. The padding's value is of no account: see `sizes`."""

    pixels: Tensor  # (B, 3, H, W) uint8 RGB
    sizes: Tensor  # (B, 2) int64, (height, width) without the padding
    ids: Tensor  # (B,) int64
    seeds: Tensor  # (B,) int64, for the random sampling inside the losses
    proposals: Proposals | None = None  # found beforehand (selective search), in pixels of the batch

    def __post_init__(self) -> None:
        count = self.pixels.shape[0]
        _require(self.pixels.ndim == 4 and self.pixels.dtype == torch.uint8, "Batch.pixels must be (B, 3, H, W) uint8")
        _require(self.sizes.shape == (count, 2), "Batch.sizes must be (B, 2)")
        _require(self.ids.shape == (count,) and self.seeds.shape == (count,), "Batch.ids and .seeds must be (B,)")


@dataclass(frozen=True)
class Targets(_OnDevice):
    """Truth of a batch, padded to the largest count G (at least 1), in the pixels of the batch."""

    boxes: Tensor  # (B, G, 4) float32, zeros where not valid
    labels: Tensor  # (B, G) int64, zeros where not valid
    valid: Tensor  # (B, G) bool
    crowd: Tensor  # (B, G) bool
    masks: Tensor | None = None  # (B, G, H, W) bool
    image_labels: Tensor | None = None  # (B,) int64
    semantic: Tensor | None = None  # (B, H, W) int64, 255 = ignore
    mixed_labels: Tensor | None = None  # (B,) int64, the second class of mixed pictures (mixup, CutMix)
    mixed_shares: Tensor | None = None  # (B,) float32, its share of the label, 0 ... 1
    points: Tensor | None = None  # (B, P, 3) float32 of counted objects: x, y, deviation of the kernel; P at least 1
    points_valid: Tensor | None = None  # (B, P) bool, False = padding

    def __post_init__(self) -> None:
        b, g = self.labels.shape
        _require(g >= 1, "Targets are padded to at least one truth")
        _require(self.boxes.shape == (b, g, 4), "Targets.boxes must be (B, G, 4)")
        _require(self.valid.shape == (b, g) and self.valid.dtype == torch.bool, "Targets.valid must be (B, G) bool")
        _require(self.crowd.shape == (b, g) and self.crowd.dtype == torch.bool, "Targets.crowd must be (B, G) bool")


@dataclass(frozen=True)
class Regions(_OnDevice):
    """Boxes to be encoded, of all images in one list; with labels, matches and weights when sampled for training."""

    boxes: Tensor  # (R, 4) float32
    image_index: Tensor  # (R,) int64, position in the batch
    labels: Tensor  # (R,) int64, 0 ... K-1, K = background
    matched: Tensor  # (R, 4) float32, the matched truth's box (any value for background)
    matched_index: Tensor  # (R,) int64, position of that truth in Targets
    weights: Tensor  # (R,) float32, 1 = takes part in the loss, 0 = padding

    def __post_init__(self) -> None:
        count = self.boxes.shape[0]
        _require(self.boxes.shape == (count, 4), "Regions.boxes must be (R, 4)")
        others = (self.image_index, self.labels, self.matched, self.matched_index, self.weights)
        _require(all(other.shape[0] == count for other in others), "Regions: lengths differ")

    def foreground(self, background: int) -> "Regions":
        """Those that show an object and take part in the loss; `background` is the label K. May be none."""
        rows = ((self.labels < background) & (self.weights > 0)).nonzero()[:, 0]  # (F,)
        return Regions(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Detections(_OnDevice):
    """What was found in one image, best first, in pixels of the original image."""

    boxes: Tensor  # (N, 4) float32
    scores: Tensor  # (N,) float32 in 0 ... 1
    labels: Tensor  # (N,) int64, 0 ... K-1
    masks: Tensor | None = None  # (N, H, W) bool

    def __post_init__(self) -> None:
        count = self.boxes.shape[0]
        _require(self.boxes.shape == (count, 4), "Detections.boxes must be (N, 4)")
        _require(self.scores.shape == (count,) and self.labels.shape == (count,), "Detections: lengths differ")


@dataclass(frozen=True)
class Classification(_OnDevice):
    """What one image shows: the probability of every class."""

    probabilities: Tensor  # (K,) float32, sums to 1

    def __post_init__(self) -> None:
        _require(self.probabilities.ndim == 1, "Classification.probabilities must be (K,)")


@dataclass(frozen=True)
class Localization(_OnDevice):
    """What one image shows, and where: the probability of every class, and a box for each."""

    probabilities: Tensor  # (K,) float32, sums to 1
    boxes: Tensor  # (K, 4) float32 in pixels of the original image; the same for all classes where one box serves all

    def __post_init__(self) -> None:
        _require(self.probabilities.ndim == 1, "Localization.probabilities must be (K,)")
        _require(self.boxes.shape == (len(self.probabilities), 4), "Localization.boxes must be (K, 4)")


@dataclass(frozen=True)
class Segmentation(_OnDevice):
    """The class of every pixel of one image, at the size of the original image."""

    labels: Tensor  # (H, W) int64, 0 ... K-1
    scores: Tensor  # (H, W) float32, the probability of that class, 0 ... 1

    def __post_init__(self) -> None:
        _require(self.labels.ndim == 2, "Segmentation.labels must be (H, W)")
        _require(self.scores.shape == self.labels.shape, "Segmentation: shapes differ")


@dataclass(frozen=True)
class Density(_OnDevice):
    """How many objects there are in one image, and where."""

    density: Tensor  # (h, w) float32, objects in each cell of a grid over the whole image; its sum is the count

    def __post_init__(self) -> None:
        _require(self.density.ndim == 2, "Density.density must be (h, w)")

    @property
    def count(self) -> float:
        """The estimate, not rounded."""
        return float(self.density.sum())
