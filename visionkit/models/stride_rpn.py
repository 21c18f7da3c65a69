"""An RPN whose anchors stand exactly one stride apart, as detectron2's do; its published weights were trained so."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from visionkit.heads.rpn import RPNHead
from visionkit.models.propose import RPN
from visionkit.ops.anchors import grid_anchors


class StrideRPN(RPN):
    """`RPN` with another grid: on p6 of a canvas 800 pixels high, anchors 64 pixels apart and not 61.

    Args:
        strides: of each stage's map, pixels.
        options: as in `RPN`.
    """

    def __init__(
        self,
        head: RPNHead,
        stages: Sequence[str],
        cell_anchors: Sequence[Tensor],
        *,
        strides: Sequence[int],
        **options: Any,
    ) -> None:
        super().__init__(head, stages, cell_anchors, **options)
        self.strides = tuple(strides)

    def anchors(self, maps: Sequence[Tensor], canvas: Sequence[int]) -> list[Tensor]:
        """Per level the anchors (h*w*A, 4) in pixels of the batch; the last ones may lie outside of the canvas."""
        return [
            grid_anchors(getattr(self, f"cell_{i}"), (level.shape[-2], level.shape[-1]), stride, level.device)
            for i, (level, stride) in enumerate(zip(maps, self.strides, strict=True))
        ]
