"""From a batch to the tail maps of whole pictures, for the models that say one thing about each picture."""

import torch
from torch import Tensor

from visionkit.backbones.base import Backbone


def whole_image_maps(backbone: Backbone, images: Tensor) -> Tensor:
    """Normalised images (B, C, H, W) -> tail maps (B, C', h, w); of several region stages (a pyramid) their mean."""
    maps = backbone(images, backbone.region_stages)
    found = [backbone.tail_maps(backbone.pool(maps[name])) for name in backbone.region_stages]
    return found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)


@torch.no_grad()
def tail_shape(backbone: Backbone, size: int) -> tuple[int, int]:
    """(channels, side) of the tail maps of a square picture of that many pixels; side 1 where the tail is fully
    connected. Found by looking: strides do not tell what a network's unpadded layers cut off."""
    was_training = backbone.training
    backbone.eval()  # a picture of zeros would spoil running statistics
    like = next(backbone.parameters())  # its type and device
    maps = whole_image_maps(backbone, like.new_zeros(1, len(backbone.mean), size, size))
    backbone.train(was_training)
    return maps.shape[1], maps.shape[2]


@torch.no_grad()
def window_tail_shape(backbone: Backbone) -> tuple[int, int]:
    """(channels, side) of the tail maps of one window of the region map; side 1 where the tail is fully connected."""
    was_training = backbone.training
    backbone.eval()
    channels = backbone.stages[backbone.region_stages[0]].channels
    like = next(backbone.parameters())  # its type and device
    maps = backbone.tail_maps(like.new_zeros(1, channels, backbone.window, backbone.window))
    backbone.train(was_training)
    return maps.shape[1], maps.shape[2]


def dense_tail_side(backbone: Backbone) -> int:
    """Side of the dense tail's maps for one window, in cells."""
    return _dense_tail_of_window(backbone).shape[2]


def dense_tail_channels(backbone: Backbone) -> int:
    """Channels of the dense tail's maps."""
    return _dense_tail_of_window(backbone).shape[1]


@torch.no_grad()
def _dense_tail_of_window(backbone: Backbone) -> Tensor:
    was_training = backbone.training
    backbone.eval()
    channels, side = backbone.stages[backbone.region_stages[0]].channels, backbone.dense_window
    like = next(backbone.parameters())
    maps: Tensor = backbone.dense_tail(like.new_zeros(1, channels, side, side))
    backbone.train(was_training)
    return maps
