"""Regions that were found beforehand, or by a search of the picture: the `propose` slot of R-CNN and Fast R-CNN."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from visionkit.errors import ConfigError
from visionkit.ops.pad_proposals import pad_proposals
from visionkit.structures import Batch, Proposals, Targets


class Search(Protocol):
    """Finds regions of a picture without a network, such as `ops.selective_search.SelectiveSearch`."""

    method: str

    def settings(self) -> dict[str, Any]:
        """What the boxes depend on, as plain values; stored proposals must have been found with the same."""
        ...

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 RGB -> boxes (P, 4) float32 in its pixels and scores (P,) float32, best first."""
        ...


class Given(nn.Module):
    """Takes the proposals that come with a batch; learns nothing.

    Args:
        search: what `predict` runs on a picture; None where proposals always come with the pictures.
        top: most proposals taken of an image, the best ones.
    """

    loss_names: tuple[str, ...] = ()

    def __init__(self, search: Search | None = None, top: int = 2000) -> None:
        super().__init__()
        self.search = search
        self.top = top

    def forward(
        self, batch: Batch, maps: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]:
        """The batch's proposals, and no losses. Raises ConfigError when the batch has none with it."""
        given = batch.proposals
        if given is None:
            raise ConfigError("this model looks at given proposals, and the pictures came without any.")
        kept = slice(0, self.top)
        return Proposals(given.boxes[:, kept], given.scores[:, kept], given.valid[:, kept]), {}

    def prepare(self, batch: Batch, images: Sequence[np.ndarray]) -> Batch:
        """The batch with what the search finds in the images (H, W, 3) uint8 RGB that it was made of."""
        if self.search is None:
            raise ConfigError("this model looks at given proposals and has no search of its own to find some.")
        found = [self.search(image) for image in images]
        best = [(boxes[: self.top], scores[: self.top]) for boxes, scores in found]
        sizes = [(height, width) for height, width in batch.sizes.tolist()]
        proposals = pad_proposals(best, [(image.shape[0], image.shape[1]) for image in images], sizes)
        return replace(batch, proposals=proposals.to(batch.pixels.device))
