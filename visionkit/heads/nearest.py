"""The k nearest training vectors vote (Cover and Hart, "Nearest Neighbor Pattern Classification", 1967)."""

import torch
from torch import Tensor

from visionkit.heads.fitted import FittedHead


class NearestNeighbours(FittedHead):
    """All training vectors, and a vote of the nearest ones by Euclidean distance.

    Attributes:
        known (N, D): the training vectors.
        labels (N,) int64: their classes.
        k () int64: how many vote.
    """

    known: Tensor
    labels: Tensor
    k: Tensor

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, num_classes, "nearest")
        self.hold(known=torch.empty(0, channels), labels=torch.empty(0, dtype=torch.int64), k=torch.tensor(1))

    def set(self, known: Tensor, labels: Tensor, k: int) -> None:
        """Takes the vectors (N, D) and their classes (N,), and how many vote, 1 ... N."""
        if known.shape != (len(labels), self.channels) or not 1 <= k <= len(labels):
            raise ValueError(f"NearestNeighbours: {tuple(known.shape)} vectors, {len(labels)} labels and k={k}")
        device = self.known.device
        self.hold(known=known.float().to(device), labels=labels.to(device), k=torch.tensor(k, device=device))

    def forward(self, maps: Tensor) -> Tensor:
        """Tail maps (R, D, h, w) -> log-probabilities (R, K) float32: the shares of the votes, after one more vote that
        all classes share, so that none has probability 0. Equal counts are decided by rank, equal distances by the
        order of the training set."""
        vectors, k = self.vectors(maps), int(self.k)
        # The vector's own length is the same for all neighbours and left out.
        distances = self.known.square().sum(dim=1) - 2 * vectors @ self.known.T  # (R, N)
        nearest = distances.sort(dim=1, stable=True).indices[:, :k]  # (R, k)
        weights = 1 - torch.arange(k, device=vectors.device) / (2 * k * k)  # (k,), k - 1/4 together or more
        votes = vectors.new_zeros(len(vectors), self.num_classes)
        votes.scatter_add_(1, self.labels[nearest], weights.expand(len(vectors), k))  # (R, K)
        votes += 1 / self.num_classes
        return (votes / votes.sum(dim=1, keepdim=True)).log()
