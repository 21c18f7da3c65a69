"""Heads of fully convolutional networks: skips from finer maps (FCN-32s, 16s, 8s), and torchvision's plain head."""

from collections.abc import Mapping

from torch import Tensor, nn

from visionkit.ops.upsample import BilinearUpsampling, resize_maps, resize_scores

TAIL = "tail"


class FCNHead(nn.Module):
    """Class scores from the tail, doubled in size and summed with those of finer maps, then resized to the picture
    (Long et al., "Fully Convolutional Networks for Semantic Segmentation", 2015, sec. 4.2 and fig. 3).

    Every layer of scores begins at zero, so that a finer network begins as the coarser one that it grew from; doubling
    begins as bilinear interpolation and is learnt, the last resizing stays bilinear.

    Args:
        channels: of the tail's maps.
        skips: channels of the finer maps by stage name, from the coarsest to the finest, each twice as fine as the one
            before, the first twice as fine as the tail; none for FCN-32s.
        num_classes: K.
        stride: of the tail, pixels.
        scale: what the first skip's maps are multiplied by; the second's by its square, and so on. Below 1 the finer
            maps learn more slowly and the deepest, which knows most, comes first: for training "at once" (the networks
            that were released so have 0.01 and 0.0001). 1 for training in turn.
        least: pixels that a side needs at least.
        deepest: what the first maps are called; "tail" is the backbone's dense tail.
    """

    covering_tail = True
    class_layers = ("scores", "doubling")

    def __init__(
        self,
        channels: int,
        skips: Mapping[str, int],
        num_classes: int,
        stride: int = 32,
        scale: float = 1.0,
        least: int = 1,
        deepest: str = TAIL,
    ) -> None:
        super().__init__()
        self.stages = (deepest, *skips)
        self.multiple, self.least, self.scale = stride, least, scale
        widths = (channels, *skips.values())
        # By position, so that the scores of a coarser network have the same keys in a finer one.
        self.scores = nn.ModuleList([nn.Conv2d(width, num_classes, 1) for width in widths])
        self.doubling = nn.ModuleList([BilinearUpsampling(num_classes, 2) for _ in skips])
        for layer in self.scores:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        first, *finer = self.stages
        found = self.scores[0](maps[first])  # (B, K, H / stride, W / stride)
        for k, (name, score, double) in enumerate(zip(finer, self.scores[1:], self.doubling, strict=True), start=1):
            own = score(maps[name] * self.scale**k)
            # Networks with unpadded layers (AlexNet) have maps that are not exactly twice as large: stretch by a cell.
            found = resize_maps(double(found), (own.shape[2], own.shape[3])) + own
        return resize_scores(found, size)


class PlainFCNHead(nn.Sequential):
    """A 3x3 convolution, batch norm, ReLU, dropout, a 1x1 convolution: maps (B, C, h, w) -> scores (B, K, h, w).

    The layers and keys of torchvision's `FCNHead`, which its FCN has on the last map of a dilated ResNet.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.1) -> None:
        inner = channels // 4
        super().__init__(
            nn.Conv2d(channels, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(inner, num_classes, 1),
        )


class DilatedFCNHead(nn.Module):
    """`PlainFCNHead` on one map, resized to the picture, of any size.

    Args:
        stage: the map that it looks at, "tail" for the last map of a ResNet.
        channels: of that map.
        num_classes: K.
        least: pixels that a side needs at least.
    """

    covering_tail = True
    multiple = 1
    class_layers = ("head.4",)

    def __init__(self, stage: str, channels: int, num_classes: int, dropout: float = 0.1, least: int = 1) -> None:
        super().__init__()
        self.stages: tuple[str, ...] = (stage,)
        self.least = least
        self.head = PlainFCNHead(channels, num_classes, dropout)

    def forward(self, maps: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        scores: Tensor = self.head(maps[self.stages[0]])
        return resize_scores(scores, size)
