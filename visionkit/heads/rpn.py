"""The head of a region proposal network (Faster R-CNN, sec. 3.1): a 3x3 convolution, then objectness and deltas."""

from collections.abc import Sequence

from torch import Tensor, nn


class RPNHead(nn.Module):
    """One head slid over every map; the weights are shared between levels (FPN, sec. 4.1).

    Args:
        channels: channels of every map.
        anchors_per_cell: A, anchors at each cell.
        hidden: channels between the convolutions; `channels` if None (512 in the Faster R-CNN paper for VGG16).
        convs: 3x3 convolutions before the two outputs; 1 in the paper, 2 in torchvision's second version.
    """

    def __init__(self, channels: int, anchors_per_cell: int, hidden: int | None = None, convs: int = 1):
        super().__init__()
        hidden = hidden or channels
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.more_convs = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(convs - 1))
        self.relu = nn.ReLU(inplace=True)
        self.cls_logits = nn.Conv2d(hidden, anchors_per_cell, 1)
        self.bbox_pred = nn.Conv2d(hidden, anchors_per_cell * 4, 1)
        for layer in (self.conv, *self.more_convs, self.cls_logits, self.bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of L levels (B, C, h, w) -> per level logits (B, h*w*A) and deltas (B, h*w*A, 4), float32.

        The order inside a level is (y, x, anchor), that of `ops.anchors.grid_anchors`.
        """
        logits, deltas = [], []
        for level in maps:
            hidden = self.relu(self.conv(level))  # (B, C, h, w)
            for conv in self.more_convs:
                hidden = self.relu(conv(hidden))
            logits.append(self.cls_logits(hidden).permute(0, 2, 3, 1).flatten(1).float())  # (B, h*w*A)
            delta = self.bbox_pred(hidden).permute(0, 2, 3, 1)  # (B, h, w, A*4)
            deltas.append(delta.flatten(1).unflatten(1, (-1, 4)).float())  # (B, h*w*A, 4)
        return logits, deltas
