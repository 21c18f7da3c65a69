"""An RPN with a trunk of its own, until it is joined to the detector's: the 4-step training of Faster R-CNN."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.models.pixels import Normalize
from visionkit.models.propose import RPN
from visionkit.structures import Batch, Proposals, Targets


class OwnTrunkRPN(nn.Module):
    """The `propose` slot of steps 1 and 2 (Faster R-CNN, sec. 3.2): no convolution is shared with the detector yet.

    Once `shared` is set (step 3) the head looks at the detector's maps, and the own trunk is dead weight.

    Args:
        rpn: head and anchors.
        backbone: the detector's; its trunk is copied, weights included.
        normalize: pixels to network input.
    """

    shared: Tensor

    def __init__(self, rpn: RPN, backbone: Backbone, normalize: Normalize) -> None:
        super().__init__()
        if backbone.innermost() is not backbone:
            raise ConfigError(
                "alternating training splits a network into trunk and tail (VGG, ZF, AlexNet, ResNet-C4), which a "
                f"{type(backbone).__name__} around one does not allow: choose task.alternating=false."
            )
        self.rpn = rpn
        self.trunk = copy.deepcopy(backbone)
        self.trunk.drop_tail(rpn.stages)
        self.normalize = copy.deepcopy(normalize)
        self.register_buffer("shared", torch.tensor(False))

    @property
    def loss_names(self) -> tuple[str, ...]:
        return self.rpn.loss_names

    def prepare(self, batch: Batch, images: Sequence[np.ndarray]) -> Batch:
        """The batch as it is."""
        return batch

    def forward(
        self, batch: Batch, maps: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]:
        """As `RPN`, from the own trunk's maps or, when joined, from the detector's."""
        if not self.shared:
            maps = self.trunk(self.normalize(batch), self.rpn.stages)
        return self.rpn(batch, maps, targets)
