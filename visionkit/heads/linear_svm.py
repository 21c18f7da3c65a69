"""A linear support vector machine on the tail's vectors, one class against the rest.

Cortes and Vapnik, "Support-Vector Networks", 1995; on features of a trained network: Razavian et al., "CNN Features
off-the-shelf", 2014. `visionkit.fitted.fit_svm` fits it with scikit-learn, which is not needed to use it.
"""

import torch.nn.functional as F
from torch import Tensor, empty

from visionkit.heads.fitted import FittedHead


class LinearSVM(FittedHead):
    """Standardised vectors times a matrix.

    The logits are decision values: signed distances to K planes, in units of the margin. Their softmax ranks the
    classes as they do, but as probabilities it was fitted to nothing and is not calibrated.

    Attributes:
        weight (K, D), bias (K,): the planes, of standardised vectors.
        mean (D,), scale (D,): of the training vectors.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, num_classes, "svm")
        self.hold(weight=empty(0, channels), bias=empty(0), mean=empty(0), scale=empty(0))

    def set(self, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> None:
        """Takes the planes (K, D), (K,) of vectors standardised by (D,), (D,)."""
        wanted = [(self.num_classes, self.channels), (self.num_classes,), (self.channels,), (self.channels,)]
        found = [tuple(tensor.shape) for tensor in (weight, bias, mean, scale)]
        if found != wanted:
            raise ValueError(f"LinearSVM: weight, bias, mean and scale have the shapes {found}, not {wanted}")
        device = self.weight.device
        tensors = {"weight": weight, "bias": bias, "mean": mean, "scale": scale}
        self.hold(**{name: tensor.float().to(device) for name, tensor in tensors.items()})

    def forward(self, maps: Tensor) -> Tensor:
        """Tail maps (R, D, h, w) -> decision values (R, K) float32."""
        return F.linear((self.vectors(maps) - self.mean) / self.scale, self.weight, self.bias).float()
