"""One linear box regressor a class, on the maps of regions (R-CNN, Girshick et al. 2014, app. C)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RidgeBoxes(nn.Module):
    """Deltas of K classes. They are buffers, so a checkpoint holds plain tensors, and whether they were fitted.

    Attributes:
        fitted: () bool; False until `set`.
        weight (K, 4, D), bias (K, 4): of windows as they come from the network; the whitening of the targets and the
            scale of the features are in them.
    """

    fitted: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.channels, self.num_classes = channels, num_classes
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("weight", torch.zeros(num_classes, 4, channels))
        self.register_buffer("bias", torch.zeros(num_classes, 4))

    def set(self, weight: Tensor, bias: Tensor) -> None:
        """Takes the regressors (K, 4, D), (K, 4); zeros leave a class's boxes as they are. ValueError for others."""
        if weight.shape != self.weight.shape or bias.shape != self.bias.shape:
            raise ValueError(f"RidgeBoxes: {tuple(weight.shape)}, {tuple(bias.shape)} do not fit these classes")
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        self.fitted.fill_(True)

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (R, D) -> deltas (R, K, 4) float32; (R, 1, 4) of zeros before the fit: boxes stay where they are."""
        if not bool(self.fitted):
            return windows.new_zeros(len(windows), 1, 4, dtype=torch.float32)
        deltas = F.linear(windows.float(), self.weight.float().flatten(0, 1), self.bias.float().flatten())
        return deltas.unflatten(1, (self.num_classes, 4))
