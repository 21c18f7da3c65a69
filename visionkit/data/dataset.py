"""From a position in the index to a sample at network size."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from visionkit.data.image import read_image
from visionkit.data.index import DetectionIndex
from visionkit.data.square import TrainSquare
from visionkit.data.transforms import TrainResize
from visionkit.errors import DataError
from visionkit.ops.hashing import mix
from visionkit.structures import Sample, Truth


class Sized(Protocol):
    """An index of pictures whose sizes are known: `DetectionIndex` and its kin."""

    def path(self, i: int) -> str: ...

    def size(self, i: int) -> tuple[int, int]: ...


class DetectionDataset:
    """Reads, augments, then resizes. The same key gives the same sample in any process at any time.

    Args:
        index: the images and objects.
        augment: Sample -> Sample at the file's size (visionkit.data.transforms, .augment), or None.
        resize: to network size, or None.
        seed: of the run.
        with_masks: decode instance masks; the index must have them.
    """

    def __init__(
        self,
        index: DetectionIndex,
        augment: Callable[[Sample], Sample] | None,
        resize: TrainResize | TrainSquare | None,
        seed: int,
        with_masks: bool = False,
    ) -> None:
        if with_masks and not index.has_masks:
            raise DataError(f"{index.source}: the annotations hold no masks, which this task needs.")
        self.index, self._augment, self._resize = index, augment, resize
        self._seed, self._with_masks = seed, with_masks

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """`key` is (epoch, position). DataError names the file that cannot be read."""
        sample = self.read(key[1], self._seed_of(key))
        for step in (self._augment, self._resize):
            sample = sample if step is None else step(sample)
        return sample

    def size(self, key: tuple[int, int]) -> tuple[int, int]:
        """(height, width) at network size, known without reading; of the whole file where an augmentation crops."""
        size = self.index.size(key[1])
        return size if self._resize is None else self._resize.shape(size, self._seed_of(key))

    def _seed_of(self, key: tuple[int, int]) -> int:
        return mix(self._seed, key[0], self.index.image_id(key[1]))

    def read(self, i: int, seed: int = 0) -> Sample:
        """Image i as it is on disk, upright. Crowds and difficult objects are both `crowd` in training."""
        known = self.index.truth(i)
        masks = self.index.masks(i) if self._with_masks else None
        truth = Truth(known.boxes, known.labels, known.crowd | known.difficult, masks)
        image = read_checked(self.index, i)
        given = None if self.index.proposals is None else self.index.proposals.proposed(i)[0]
        return Sample(image, truth, self.index.image_id(i), self.index.size(i), given, seed)


def read_checked(index: Sized, i: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB. DataError if the picture has not the size that its annotation states: boxes would be off."""
    image = read_image(index.path(i))
    found, stated = image.shape[:2], index.size(i)
    if found != stated:
        raise wrong_size(index.path(i), found, stated)
    return image


def wrong_size(path: str, found: tuple[int, ...], stated: tuple[int, ...]) -> DataError:
    """The error for a picture that is not as large, (height, width), as its annotation says."""
    return DataError(
        f"image {path} is {found[1]} x {found[0]} pixels (upright), but its annotation says {stated[1]} x {stated[0]}."
    )
