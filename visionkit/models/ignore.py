"""Which candidate boxes lie on a crowd: they are neither positive nor negative."""

from torch import Tensor

from visionkit.ops.boxes import intersection_over_area
from visionkit.structures import Targets


def on_crowd(candidates: Tensor, targets: Targets, share: float = 0.5) -> Tensor | None:
    """Candidates (N, 4) or (B, N, 4) -> (B, N) bool: over `share` of the area lies in one crowd or difficult object.

    None when it is known at no cost that no image has a crowd (asking a GPU would make the host wait).
    """
    if targets.crowd.device.type == "cpu" and not targets.crowd.any():
        return None
    covered = intersection_over_area(candidates, targets.boxes)  # (B, N, G)
    return (covered.gt(share) & (targets.crowd & targets.valid)[:, None, :]).any(dim=2)
