"""What heads have in common that are fitted to all vectors at once and take no gradient steps."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from visionkit.errors import ConfigError


class FittedHead(nn.Module):
    """Tail maps to logits, by numbers that a fit function sets (`visionkit.fitted`).

    The numbers are frozen parameters and buffers, so they travel in the checkpoint as plain tensors. Before the fit
    they have no rows; a checkpoint's tensors may have any number of them.

    Args:
        channels: D, length of the vectors.
        num_classes: K.
        phases: the group of configs/phases that fits this head, for the sentence of one that is not.
    """

    def __init__(self, channels: int, num_classes: int, phases: str) -> None:
        super().__init__()
        self.channels, self.num_classes, self.phases = channels, num_classes, phases

    def hold(self, **tensors: Tensor) -> None:
        """Sets its tensors: those of numbers as parameters that take no gradient, those of whole numbers as buffers."""
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                setattr(self, name, nn.Parameter(tensor, requires_grad=False))
            else:
                self.register_buffer(name, tensor)

    @property
    def is_fitted(self) -> bool:
        """Whether it has numbers."""
        return all(tensor.numel() > 0 for tensor in self.state_dict(keep_vars=True).values())

    def vectors(self, maps: Tensor) -> Tensor:
        """Tail maps (R, D, h, w) -> (R, D) float32, their means. ConfigError when the head has not been fitted."""
        if not self.is_fitted:
            raise ConfigError(
                f"the head ({type(self).__name__}) has not been fitted to any picture: phases={self.phases} does it"
            )
        return maps.float().mean(dim=(2, 3))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for name, own in self.state_dict(keep_vars=True).items():
            found = state_dict.get(prefix + name)
            if isinstance(found, Tensor) and found.shape[1:] == own.shape[1:] and found.ndim == own.ndim:
                self.hold(**{name: own.new_empty(found.shape)})
        super()._load_from_state_dict(state_dict, prefix, *rest)
