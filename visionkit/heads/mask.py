"""The mask head of Mask R-CNN (He et al. 2017, sec. 3): for each region a small mask of each class."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.norms import Norm, no_norm
from visionkit.ops.losses import binary_cross_entropy
from visionkit.ops.mask_targets import mask_targets
from visionkit.ops.reduce import across_processes
from visionkit.structures import Regions, Targets


class MaskHead(nn.Module):
    """Convolutions on a window, twice its resolution by a transposed one, and one logit a pixel and class.

    Classes do not compete: only the mask of the true class is learned, only that of the detected one is used (sec. 3,
    "decouples mask and class prediction"). Start and names follow torchvision's: `mask_head.I.J.*` there is
    `convs.I.J.*` here, `mask_predictor.*` has no prefix.

    Args:
        channels: of the windows.
        num_classes: K; background has no mask.
        window: side of the windows that it takes, in cells.
        layers: channels of the 3x3 convolutions; four of 256 on a pyramid, none after res5 (fig. 4).
        hidden: channels of the transposed convolution.
        norm: channels -> the layer after each 3x3 convolution, which then has no bias.
        after_tail: whether it sees windows after the backbone's tail (C4), or before (a pyramid).
    """

    loss_names = ("loss_mask",)

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        window: int = 14,
        layers: Sequence[int] = (256, 256, 256, 256),
        hidden: int = 256,
        norm: Norm = no_norm,
        after_tail: bool = False,
    ):
        super().__init__()
        self.window = window
        self.after_tail = after_tail
        widths = (channels, *layers)
        self.convs = nn.Sequential(*(_block(*pair, norm) for pair in zip(widths[:-1], layers, strict=True)))
        self.conv5_mask = nn.ConvTranspose2d(widths[-1], hidden, 2, stride=2)
        self.mask_fcn_logits = nn.Conv2d(hidden, num_classes, 1)
        for layer in (self.conv5_mask, self.mask_fcn_logits):  # their biases start as torch starts them
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (R, C, w, w) -> logits (R, K, 2 w, 2 w), float32."""
        return self.mask_fcn_logits(F.relu(self.conv5_mask(self.convs(windows)))).float()

    def losses(self, windows: Tensor, regions: Regions, targets: Targets, sizes: Tensor) -> dict[str, Tensor]:
        """The mean cross entropy of a pixel of the true class's mask, over the foreground regions of the whole batch.

        Args:
            windows: (F, C, w, w) of foreground regions; F may be 0, the loss then is 0 and still has a graph.
            regions: F of them, with labels and the matched truths.
            targets: with masks.
            sizes: (B, 2) int64, (height, width) of the pictures in the batch.
        Raises:
            ValueError: targets without masks.
        """
        if targets.masks is None:
            raise ValueError("the mask loss needs Targets.masks")
        count = across_processes(torch.tensor(float(len(windows)), device=windows.device)).clamp(min=1)
        logits = _of_class(self(windows), regions.labels)  # (F, M, M)
        side = logits.shape[-1]
        goal = mask_targets(targets.masks, sizes, regions.boxes, regions.image_index, regions.matched_index, side)
        total = binary_cross_entropy(logits, goal, torch.ones_like(logits))
        return {"loss_mask": total / (count * side**2)}

    def masks(self, windows: Tensor, labels: Tensor) -> Tensor:
        """Windows (N, C, w, w) of detections of classes (N,) -> probabilities (N, M, M), M = 2 w; N may be 0."""
        return _of_class(self(windows), labels).sigmoid()


def _of_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (R, K, M, M) of the classes (R,): (R, M, M)."""
    return logits[torch.arange(len(logits), device=logits.device), labels]


def _block(channels: int, out: int, norm: Norm) -> nn.Sequential:
    """A 3x3 convolution, the norm if there is one, ReLU; at torchvision's positions and with its start."""
    conv = nn.Conv2d(channels, out, 3, padding=1, bias=norm is no_norm)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    between = () if norm is no_norm else (norm(out),)
    return nn.Sequential(conv, *between, nn.ReLU(inplace=True))
