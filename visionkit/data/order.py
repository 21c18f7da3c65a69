"""Which images each step sees: a function of (seed, epoch), the same for every process and every worker count."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from visionkit.ops.hashing import mix, random_keys

MIXED_BLOCKS = 4  # tar shards that are shuffled into one another

Key = tuple[int, int]  # (epoch, position in the index)


@dataclass(frozen=True, eq=False)
class EpochOrder:
    """Composes the steps of an epoch out of N images.

    The whole step, of all processes and all accumulated batches, is composed first and then shared out, so that two
    processes with batches of two see the images of one process with batches of four. Steps hold images of one group
    (portrait, landscape) where they can: what is left over from the groups is put together, and the last step is
    filled up from the epoch's beginning. So every image comes once an epoch, and fewer than one step's come twice.

    Attributes:
        groups: (N,) a small integer for each image.
        per_step: images of one optimizer step over all processes.
        seed: of the run.
        blocks: (N,) small integers, or None. Images of one block are stored together (a tar shard): an epoch takes the
            blocks in random order, `MIXED_BLOCKS` at a time, and shuffles within these, so that a disk is read in long
            runs and not all over.
        shuffle: False takes the images in the order of the index, epoch after epoch.
    """

    groups: np.ndarray
    per_step: int
    seed: int
    blocks: np.ndarray | None = None
    shuffle: bool = True

    @property
    def steps(self) -> int:
        return -(-len(self.groups) // self.per_step)

    def epoch(self, epoch: int) -> np.ndarray:
        """(steps, per_step) positions."""
        shuffled = self._order(epoch)
        whole, rest = [], []
        for group in np.unique(self.groups):
            members = shuffled[self.groups[shuffled] == group]
            cut = len(members) - len(members) % self.per_step
            whole.append(members[:cut])
            rest.append(members[cut:])
        order = np.concatenate(whole + rest)
        order = np.concatenate([order, np.resize(shuffled, self.steps * self.per_step - len(order))])
        steps: np.ndarray = order.reshape(self.steps, self.per_step)
        return steps[self._shuffle(self.steps, epoch, 2)] if self.shuffle and self.blocks is None else steps

    def keys(self, start_step: int) -> Iterator[list[Key]]:
        """The keys of step after step, without end."""
        epoch, skip = divmod(start_step, self.steps)
        while True:
            for positions in self.epoch(epoch)[skip:]:
                yield [(epoch, int(i)) for i in positions]
            epoch, skip = epoch + 1, 0

    def _order(self, epoch: int) -> np.ndarray:
        """(N,) positions in the order of the epoch, before they are put together by groups."""
        if not self.shuffle:
            return np.arange(len(self.groups))
        shuffled = self._shuffle(len(self.groups), epoch, 1)
        if self.blocks is None:
            return shuffled
        names, block = np.unique(self.blocks, return_inverse=True)
        turn = np.empty(len(names), np.int64)  # when each block's turn comes
        turn[self._shuffle(len(names), epoch, 3)] = np.arange(len(names)) // MIXED_BLOCKS
        return shuffled[np.argsort(turn[block[shuffled]], kind="stable")]

    def _shuffle(self, count: int, epoch: int, stream: int) -> np.ndarray:
        keys = random_keys(torch.tensor([mix(self.seed, epoch, stream)]), count)[0]
        order: np.ndarray = torch.argsort(keys, stable=True).numpy()
        return order
