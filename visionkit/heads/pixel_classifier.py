"""Classifiers of every cell of a map by itself, with one layer or two."""

from torch import Tensor, nn

from visionkit.ops.upsample import resize_scores


class PixelClassifier(nn.Module):
    """A network with one hidden layer on every cell (Farabet et al. 2013), or a linear one without; the
    class scores resized to the picture. A decoder of `models.segmenter`.

    The paper's hidden units are tanh; these are ReLU, as those of the networks that come before are.

    Args:
        stage: the map that it looks at.
        channels: of that map.
        hidden: units; 0 = a linear classifier.
        num_classes: K.
        multiple, least: sides of pictures are multiples of this, and at least that, pixels.
    """

    covering_tail = True
    class_layers = ("scores",)

    def __init__(
        self, stage: str, channels: int, hidden: int, num_classes: int, multiple: int = 1, least: int = 1
    ) -> None:
        super().__init__()
        self.stages = (stage,)
        self.multiple, self.least = multiple, least
        self.hidden = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True)) if hidden else nn.Identity()
        self.scores = nn.Conv2d(hidden or channels, num_classes, 1)

    def forward(self, maps: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        return resize_scores(self.coarse(maps[self.stages[0]]), size)  # (B, K, *size)

    def coarse(self, maps: Tensor) -> Tensor:
        """Maps (B, C, h, w) -> class scores (B, K, h, w)."""
        scores: Tensor = self.scores(self.hidden(maps))
        return scores
