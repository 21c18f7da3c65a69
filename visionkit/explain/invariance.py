"""How far a network's maps follow a motion of the picture (equivariance), and how far they ignore it (invariance).

A map follows when moving the picture moves the map: f(m(x)) = m(f(x)). It ignores the motion when nothing changes:
f(m(x)) = f(x) (Lenc and Vedaldi 2015, "Understanding image representations by measuring their equivariance and
equivalence", sec. 2). Both are told as one number that compares across layers:

    sqrt( mean over pictures i of |f(m(x_i)) - g(x_i)|^2  /  mean over pairs i != j of |f(m(x_i)) - g(x_j)|^2 )

with g = m o f for following and g = f for ignoring. 0 is equal; 1 is as far as two different pictures are. The vector
and the probabilities have no places, they can only ignore. A curve of the second against the amount of motion is what
Zeiler and Fergus (2013, fig. 5) draw, there without the division.

Only the interior of a map is compared: cells that lie, and come from, further from the border than `margin` of the
side. In deep networks every cell sees the border nevertheless; so do padded convolutions of a picture's zeros.
Between cells, m(f(x)) is interpolated: a map of stride 32 cannot follow a shift of 16 pixels better than that, which is
meant, since a map that is sampled too coarsely for its own detail has lost the motion (Azulay and Weiss 2019).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from visionkit.errors import DataError
from visionkit.explain.motions import Motion, interior, moved
from visionkit.explain.representations import PROBABILITIES, map_grids, representations


class Row(NamedTuple):
    """One layer under one motion. None where it cannot be told: a vector follows nothing, a map without interior.

    Attributes:
        kind, amount: the motion's.
        layer: a stage, "tail", "vector" or "probabilities".
        follows: 0 = the map moved with the picture, 1 = as far from that as different pictures are.
        ignores: 0 = nothing changed, 1 = as far as different pictures are.
        cosine: of the angle between moved and unmoved, mean over pictures.
        others: the same between different pictures, to compare it with.
    """

    kind: str
    amount: float
    layer: str
    follows: float | None
    ignores: float | None
    cosine: float | None
    others: float | None


class Answer(NamedTuple):
    """What a motion does to a classifier's answers.

    Attributes:
        kind, amount: the motion's.
        kept: share of the pictures whose best class stays.
        probability: of the class that was best before, mean over pictures.
    """

    kind: str
    amount: float
    kept: float
    probability: float


class Gap:
    """Adds up how far vectors are from their own partners, and from those of others. Sums are float64."""

    def __init__(self) -> None:
        self.count = 0
        self.own = self.cosines = 0.0
        self.squares = 0.0
        self.sums: list[Tensor] = []  # of found, expected, and both at length 1; (D,) each

    def add(self, found: Tensor, expected: Tensor) -> None:
        """Row i of (B, D) belongs to row i of (B, D)."""
        a, b = found.double(), expected.double()
        u, v = (x / x.norm(dim=1, keepdim=True).clamp(min=1e-300) for x in (a, b))
        self.count += len(a)
        self.own += float((a - b).square().sum())
        self.cosines += float((u * v).sum())
        self.squares += float(a.square().sum() + b.square().sum())
        new = [x.sum(dim=0) for x in (a, b, u, v)]
        self.sums = [x + y for x, y in zip(self.sums, new, strict=True)] if self.sums else new

    def distance(self) -> float | None:
        """0 = equal to their partners, 1 = as far as from others; None where all are the same and yet differ."""
        if not self.count or not self.sums[0].numel():
            return None
        if self.own == 0:
            return 0.0
        every = self.count * self.squares - 2 * float(self.sums[0] @ self.sums[1])  # all pairs, i = j too
        others = (every - self.own) / (self.count * (self.count - 1))
        return float((self.own / self.count / others) ** 0.5) if others > 0 else None

    def cosine(self) -> tuple[float | None, float | None]:
        """Of the angle to their partners and to others, means."""
        if not self.count or not self.sums[0].numel():
            return None, None
        every = float(self.sums[2] @ self.sums[3])
        return self.cosines / self.count, (every - self.cosines) / (self.count * (self.count - 1))


@torch.no_grad()
def measure(
    model: nn.Module,
    batches: Iterable[Tensor],
    motions: Sequence[Motion],
    stages: Sequence[str] | None = None,
    margin: float = 0.25,
) -> tuple[list[Row], list[Answer]]:
    """Every layer under every motion, in that order for each motion; and the answers where the model has classes.

    Args:
        model: a classifier, a localizer or a backbone, in eval mode.
        batches: normalised images (B, C, H, W), all of one size; two pictures at least in all.
        stages: of the trunk; all by default.
        margin: share of the side, at each border, that is not compared; from 0 to below 0.5.
    Raises:
        DataError: fewer than two pictures.
        ConfigError: no such stage.
    """
    if not 0 <= margin < 0.5:
        raise ValueError(f"a margin is a share of the side from 0 to below 0.5, not {margin}")
    follows: dict[tuple[int, str], Gap] = {}
    ignores: dict[tuple[int, str], Gap] = {}
    kept, probability = [0.0] * len(motions), [0.0] * len(motions)
    layers: list[str] = []
    grids, count = None, 0
    for images in batches:
        size = (images.shape[2], images.shape[3])
        grids = grids or map_grids(model, size, stages)
        before = representations(model, images, stages)
        layers, count = list(before), count + len(images)
        for k, motion in enumerate(motions):
            after = representations(model, moved(images, motion, size), stages)
            for name, found in after.items():
                expected, same = None, before[name]
                if found.ndim == 4:
                    inside = interior(motion, size, grids[name], (found.shape[2], found.shape[3]), margin)
                    expected = moved(same, motion, size, grids[name])[:, :, inside].flatten(1)  # (B, D)
                    found, same = found[:, :, inside].flatten(1), same[:, :, inside].flatten(1)
                    follows.setdefault((k, name), Gap()).add(found, expected)
                ignores.setdefault((k, name), Gap()).add(found, same)
            if PROBABILITIES in after:
                best = before[PROBABILITIES].argmax(dim=1)  # (B,)
                kept[k] += float((after[PROBABILITIES].argmax(dim=1) == best).sum())
                probability[k] += float(after[PROBABILITIES].gather(1, best[:, None]).sum())
    if count < 2:
        raise DataError(f"how far a motion goes is told beside how far different pictures are: {count} will not do.")
    rows = [
        Row(
            motion.kind,
            motion.amount,
            name,
            follows[k, name].distance() if (k, name) in follows else None,
            ignores[k, name].distance(),
            *ignores[k, name].cosine(),
        )
        for k, motion in enumerate(motions)
        for name in layers
    ]
    classes = PROBABILITIES in layers
    answers = [Answer(m.kind, m.amount, kept[k] / count, probability[k] / count) for k, m in enumerate(motions)]
    return rows, answers if classes else []
