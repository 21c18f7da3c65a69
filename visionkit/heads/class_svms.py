"""One linear support vector machine a class on the vectors of regions (R-CNN, Girshick et al. 2014, sec. 2.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ABSENT = -1e4  # margin of a class without a single positive: its score is 0 and never above a threshold


class ClassSVMs(nn.Module):
    """K planes. They are buffers, so a checkpoint holds plain tensors, and whether they were fitted.

    Attributes:
        fitted: () bool; False until `set`.
        weight (K, C), bias (K,): the planes, of vectors as they come from the network (the scale that they were
            fitted at is in the weights).
    """

    fitted: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.channels, self.num_classes = channels, num_classes
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("weight", torch.zeros(num_classes, channels))
        self.register_buffer("bias", torch.zeros(num_classes))

    def set(self, weight: Tensor, bias: Tensor) -> None:
        """Takes the planes (K, C), (K,). ValueError for other shapes."""
        if weight.shape != self.weight.shape or bias.shape != self.bias.shape:
            raise ValueError(
                f"ClassSVMs: planes of {tuple(weight.shape)}, {tuple(bias.shape)} do not fit these classes"
            )
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        self.fitted.fill_(True)

    def margins(self, vectors: Tensor) -> Tensor:
        """Vectors (R, C) -> signed distances to the planes in units of the margin (R, K), float32."""
        return F.linear(vectors.float(), self.weight.float(), self.bias.float())

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (R, C) -> scores (R, K) in 0 ... 1: the sigmoid of the margin.

        It ranks regions as the margin does (0.5 is on the plane, 0.27 on the negatives' margin), and is no probability:
        nothing was calibrated.
        """
        return self.margins(vectors).sigmoid()
