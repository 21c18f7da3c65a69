"""Which windows of an image can be learned from: the `sample` slot of a sliding-window detector."""

from dataclasses import dataclass

from visionkit.models.ignore import on_crowd
from visionkit.models.sample import as_regions
from visionkit.ops.boxes import iou
from visionkit.ops.hashing import random_keys
from visionkit.ops.matching import match
from visionkit.ops.sampling import sample_balanced
from visionkit.structures import Batch, Proposals, Regions, Targets

SALT = 0x51DE  # the windows' random keys are their own


@dataclass(frozen=True)
class WindowSampler:
    """Windows that fit an object, and many that do not: candidates, from which the head keeps the hardest.

    The truth does not join the proposals, since it is no window. The windows that fit an object best are positive
    however little they fit, so that every object is learned from. Between `low` and `high` a window takes no part.

    Args:
        num_classes: K, the label of background.
        positives, negatives: windows of an image at most, drawn at random where there are more.
        high, low: IoU with an object from which a window is positive, and below which it is negative.
    """

    num_classes: int
    positives: int = 64
    negatives: int = 2000
    high: float = 0.5
    low: float = 0.4

    def __call__(self, batch: Batch, proposals: Proposals, targets: Targets) -> Regions:
        """Windows (B, N) -> regions, as many of every image."""
        boxes = proposals.boxes  # (B, N, 4)
        matches = match(
            iou(targets.boxes, boxes), targets.valid & ~targets.crowd, self.low, self.high, keep_best=True
        )  # (B, N)
        kind = matches.kind.masked_fill(~proposals.valid, -1)
        crowd = on_crowd(boxes, targets)
        if crowd is not None:
            kind = kind.masked_fill(crowd & (kind == 0), -1)
        size = max(1, min(self.positives + self.negatives, boxes.shape[1]))
        keys = random_keys(batch.seeds + SALT, boxes.shape[1])
        chosen = sample_balanced(kind, keys, size, min(1.0, (self.positives + 0.5) / size))
        return as_regions(boxes, matches, chosen, targets, self.num_classes)
