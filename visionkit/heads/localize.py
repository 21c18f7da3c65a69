"""The box head of a localizer: one box for the whole picture, or one for each class (OverFeat, sec. 4; VGG, app. A)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.ops.deltas import decode, encode
from visionkit.ops.losses import smooth_l1

UNFITTED = (0.15, 0.15, 0.85, 0.85)  # about half of the picture, in its middle


class FlattenMaps(nn.Module):
    """Tail maps (B, C, h, w) of any size -> one vector (B, out_channels) that still knows what lay where.

    A 1x1 convolution and ReLU, then the cells side by side: a mean over them would forget their places.

    Args:
        channels: C.
        side: cells of the maps that a whole picture has; others are averaged to that many.
        hidden: channels of the convolution.
    """

    def __init__(self, channels: int, side: int, hidden: int) -> None:
        super().__init__()
        self.side = side
        self.out_channels = hidden * side * side
        self.conv = nn.Conv2d(channels, hidden, 1)
        self.relu = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.relu(self.conv(maps))  # (B, hidden, h, w)
        if hidden.shape[-2:] != (self.side, self.side):
            hidden = F.adaptive_avg_pool2d(hidden, self.side)
        return hidden.flatten(1)


class LocalizeHead(nn.Module):
    """One linear layer that moves and stretches the mean box of the training set.

    It predicts the deltas of R-CNN's box regression (Girshick et al. 2014, app. C) with the mean box in place of a
    region: centre shifts over its sides, and logarithms of the ratios of sides. They are of one size in all four
    numbers and for large and small objects, and their truth is centred, so that a layer that starts at zero starts
    at the best constant answer, the mean box, and can only get better.

    Args:
        body: to a vector of `channels` numbers: `FlattenMaps`; None where it is given the tail's own vector.
        channels: length of that vector.
        boxes: boxes a picture: 1 for all classes together, or K.
        loss: "l2", half the squared error of the deltas; "smooth_l1", which is that up to `beta` and linear beyond.
        beta: where smooth L1 turns from quadratic to linear, in deltas.
    """

    mean_box: Tensor  # (4,) float32, x1 y1 x2 y2 in units of the picture
    fitted: Tensor  # () bool: whether `mean_box` is that of a training set

    def __init__(
        self,
        body: FlattenMaps | None,
        channels: int,
        boxes: int,
        loss: Literal["l2", "smooth_l1"] = "smooth_l1",
        beta: float = 0.1,
    ) -> None:
        super().__init__()
        self.body = body
        self.boxes, self.loss, self.beta = boxes, loss, beta
        self.linear = nn.Linear(channels, boxes * 4)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean_box", torch.tensor(UNFITTED))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, mean_box: Tensor) -> None:
        """Sets the box (4,), in units of the picture, that deltas are relative to."""
        self.mean_box.copy_(mean_box)
        self.fitted.fill_(True)

    def forward(self, seen: Tensor) -> Tensor:
        """Tail maps (B, C', h, w), or without a `body` vectors (B, C) -> deltas (B, boxes, 4) float32."""
        vectors = seen if self.body is None else self.body(seen)
        return self.linear(vectors).float().unflatten(1, (self.boxes, 4))

    def decode(self, deltas: Tensor) -> Tensor:
        """Deltas (B, boxes, 4) -> boxes (B, boxes, 4) in units of the picture, cut to it."""
        return decode(self.mean_box, deltas).clamp(0, 1)

    def errors(self, deltas: Tensor, labels: Tensor, truth: Tensor) -> Tensor:
        """The loss of each picture, (B,): deltas (B, boxes, 4), classes (B,), true boxes (B, 4) in units of the
        picture. Finite for the zeros that stand for no box."""
        rows = torch.arange(len(deltas), device=deltas.device)
        own = deltas[rows, labels] if self.boxes > 1 else deltas[:, 0]  # (B, 4)
        wanted = encode(self.mean_box, truth)  # (B, 4)
        each = 0.5 * (own - wanted).square() if self.loss == "l2" else smooth_l1(own, wanted, self.beta)
        return each.sum(dim=1)
