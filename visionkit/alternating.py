"""Between steps 2 and 3 of Faster R-CNN's 4-step training: from here on RPN and detector look at the same maps."""

from typing import Any

import torch

from visionkit.errors import ConfigError
from visionkit.models.own_trunk import OwnTrunkRPN


def share_trunk(model: Any, data: Any) -> dict[str, float]:
    """Joins the RPN to the detector's trunk, which the phases that follow must keep frozen (`freeze: trunk`).

    Raises ConfigError for a model without a trunk of the RPN's own (`task.alternating=false`).
    """
    propose = getattr(model, "propose", None)
    if not isinstance(propose, OwnTrunkRPN):
        raise ConfigError("phases=four_step trains an RPN with a trunk of its own: set task.alternating=true.")
    propose.shared.copy_(torch.tensor(True))
    return {"shared": 1.0}
