"""Detection as plain regression: a fixed number of slots, each a class and a box. The lecture's failing baseline.

A picture may hold any number of objects, and a network's last layer has one length. Giving every object a slot of its
own, in reading order, is what first comes to mind. It fails since an object's slot follows from the *other* objects:
one more at the left, and every slot has to say what its neighbour said before.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionkit.heads.localize import FlattenMaps
from visionkit.ops.losses import cross_entropy, weighted_sum
from visionkit.ops.reduce import across_processes
from visionkit.structures import Detections, Targets


class FixedBoxesHead(nn.Module):
    """N slots with scores for K classes and "nothing", and a box as centre and sides in units of the picture.

    Args:
        body: tail maps to a vector.
        num_classes: K; "nothing" is K, inside this head only.
        slots: N, the most objects that can be found in a picture.
        box_weight: share of the box loss.
        score_threshold: detections score more than this.
    """

    def __init__(
        self,
        body: FlattenMaps,
        num_classes: int,
        slots: int,
        box_weight: float = 10.0,
        score_threshold: float = 0.05,
    ) -> None:
        super().__init__()
        self.body = body
        self.num_classes, self.slots = num_classes, slots
        self.box_weight, self.score_threshold = box_weight, score_threshold
        self.cls_score = nn.Linear(body.out_channels, slots * (num_classes + 1))
        self.bbox_pred = nn.Linear(body.out_channels, slots * 4)
        with torch.no_grad():
            self.bbox_pred.bias.copy_(torch.tensor([0.5, 0.5, 0.5, 0.5]).repeat(slots))  # the middle of the picture

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Tail maps (B, C, h, w) -> logits (B, N, K + 1) and boxes cx cy w h (B, N, 4) in units of the picture."""
        vectors = self.body(maps)
        logits = self.cls_score(vectors).float().unflatten(1, (self.slots, -1))
        return logits, self.bbox_pred(vectors).float().unflatten(1, (self.slots, 4))

    def losses(self, maps: Tensor, targets: Targets, sizes: Tensor) -> dict[str, Tensor]:
        """Cross entropy of all slots, and the squared error of the boxes of those that have an object.

        Args:
            maps: (B, C, h, w), of the tail.
            targets: boxes in pixels of the batch.
            sizes: (B, 2) of the images, (height, width).
        """
        logits, boxes = self(maps)
        labels, wanted, used = reading_order(targets, sizes, self.slots, self.num_classes)
        slots = across_processes(torch.tensor(float(labels.numel()), device=labels.device)).clamp(min=1)
        objects = across_processes(used.sum().float()).clamp(min=1)
        every = torch.ones_like(labels, dtype=torch.float32).flatten()  # an empty slot is to say "nothing"
        return {
            "loss_class": cross_entropy(logits.flatten(0, 1), labels.flatten(), every) / slots,
            "loss_box": self.box_weight * weighted_sum((boxes - wanted).square(), used.float()) / objects,
        }

    def detect(self, maps: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Tail maps (B, C, h, w) -> each image's detections, best first, in pixels of its original (height, width)."""
        logits, boxes = self(maps)
        scores = logits.softmax(dim=2)[..., : self.num_classes]  # (B, N, K)
        half = boxes[..., 2:].clamp(min=0) / 2
        corners = torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), dim=2).clamp(0, 1)  # (B, N, 4)
        found = []
        for own, box, (height, width) in zip(scores, corners, sizes, strict=True):
            slot, label = (own > self.score_threshold).nonzero(as_tuple=True)  # (M,), (M,)
            best = own[slot, label].sort(descending=True, stable=True)
            slot, label = slot[best.indices], label[best.indices]
            found.append(Detections(box[slot] * box.new_tensor([width, height, width, height]), best.values, label))
        return found


def reading_order(targets: Targets, sizes: Tensor, slots: int, nothing: int) -> tuple[Tensor, Tensor, Tensor]:
    """The truths of each picture from left to right, one a slot; those beyond the last slot are left out.

    Crowds and difficult objects have none.

    Returns:
        labels (B, N) int64, `nothing` where a slot is empty; boxes cx cy w h (B, N, 4) in units of the picture; and
        whether the slot has an object, (B, N) bool.
    """
    height, width = sizes.to(targets.boxes.dtype).unbind(1)
    units = torch.stack((width, height, width, height), dim=1)[:, None]  # (B, 1, 4)
    boxes = targets.boxes / units  # (B, G, 4)
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    boxes = torch.cat((centers, boxes[..., 2:] - boxes[..., :2]), dim=2)
    counted = targets.valid & ~targets.crowd  # (B, G)
    place = torch.where(counted, centers[..., 0], torch.inf).argsort(dim=1, stable=True)[:, :slots]  # (B, <= N)
    missing = slots - place.shape[1]
    used = nn.functional.pad(counted.gather(1, place), (0, missing))
    labels = nn.functional.pad(targets.labels.gather(1, place), (0, missing))
    boxes = nn.functional.pad(boxes.gather(1, place[..., None].expand(-1, -1, 4)), (0, 0, 0, missing))
    return labels.masked_fill(~used, nothing), boxes * used[..., None], used
