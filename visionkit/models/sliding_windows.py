"""Every position of a network on an image pyramid: the `propose` slot of a sliding-window detector."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.ops.window_pyramid import WindowPyramid
from visionkit.structures import Batch, Proposals, Targets


class Windows(nn.Module):
    """Proposes all windows of a pyramid, in its order and all with the same score; learns nothing.

    A window is valid where its middle lies on the image; its box may stick out, and is cut when it has been refined.
    """

    loss_names: tuple[str, ...] = ()

    def __init__(self, pyramid: WindowPyramid) -> None:
        super().__init__()
        self.pyramid = pyramid

    def prepare(self, batch: Batch, images: Sequence[np.ndarray]) -> Batch:
        """The batch as it is: windows depend on its size alone."""
        return batch

    def forward(
        self, batch: Batch, maps: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]:
        """Windows (B, N) in pixels of the batch, and no losses. The maps are not looked at."""
        boxes = self.pyramid.boxes(batch.pixels.shape[-2:], batch.pixels.device)  # (N, 4)
        valid = self.pyramid.on_image(boxes, batch.sizes)  # (B, N)
        return Proposals(boxes.expand(len(valid), -1, -1), torch.ones(valid.shape, device=valid.device), valid), {}


def window_pyramid(
    backbone: Backbone,
    scales: Sequence[float],
    window: int | None = None,
    fine: bool = True,
    margin: int = 0,
) -> WindowPyramid:
    """The pyramid whose windows are those of a network.

    Args:
        scales: of the levels; 2 = the picture enlarged twice.
        window: side of a window's box, pixels of the level; None = all that the network sees of it.
        fine: a window at every cell of the region map, by offset max pooling; else one where the tail's own stride
            leaves one.
        margin: zeros around each level, pixels; made a multiple of the tail's stride.
    Raises:
        ConfigError: the network has several region maps, or a setting does not go with it.
    """
    if len(backbone.region_stages) > 1:
        raise ConfigError(
            f"sliding windows look at one map, and this backbone has {len(backbone.region_stages)} "
            f"({', '.join(backbone.region_stages)}): choose a backbone without a pyramid, such as vgg11_bn."
        )
    stride = backbone.stages[backbone.region_stages[0]].stride
    coarse, view = stride * backbone.dense_stride, network_view(backbone)
    if window is not None and (not 1 <= window <= view or (view - window) % 2):
        kind = "an even" if view % 2 == 0 else "an odd"
        raise ConfigError(f"window={window}: the network sees {view} pixels; {kind} number up to that is wanted.")
    try:
        return WindowPyramid(
            tuple(scales), view, window or view, stride if fine else coarse, -(-margin // coarse) * coarse
        )
    except ValueError as error:
        raise ConfigError(f"sliding windows: {error}.") from error


def network_view(backbone: Backbone) -> int:
    """Side of the pictures, in pixels, whose region map has the cells that the tail wants of a window.

    What the network was designed for where that fits (224 for VGG), else the least that does. Strides do not tell what
    unpadded layers cut off, so pictures are sent through the trunk; nothing is computed, since tensors on the meta
    device have no values.
    """
    (name,), wanted = backbone.region_stages, backbone.dense_window
    stride, channels = backbone.stages[name].stride, len(backbone.mean)
    state = {key: value.to("meta") for key, value in [*backbone.named_parameters(), *backbone.named_buffers()]}

    def cells(side: int) -> int:
        with torch.no_grad():
            images = torch.zeros(1, channels, side, side, device="meta")
            return int(functional_call(backbone, state, (images, (name,)))[name].shape[-1])

    was_training = backbone.training
    backbone.eval()  # one picture may have no batch statistics
    try:
        large = max(backbone.min_size, (2 * wanted + 32) * stride)  # larger than any window
        least = large - (cells(large) - wanted) * stride  # as many pixels less as cells are too many
        while least > backbone.min_size and cells(least - 1) == wanted:
            least -= 1
    finally:
        backbone.train(was_training)
    fitting = (side for side in (backbone.resolution, wanted * stride) if least <= side < least + stride)
    return next(fitting, least)
