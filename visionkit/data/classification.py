"""From a position in a `LabelledIndex` to a sample or a batch at network size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from visionkit.data.collate import pad_images
from visionkit.data.crop_plan import Crop, leading_crop, sized
from visionkit.data.crops import cut_out
from visionkit.data.dataset import wrong_size
from visionkit.data.labelled import LabelledIndex
from visionkit.data.mixing import Mixed
from visionkit.data.scaled_jpeg import read_window
from visionkit.data.workers import run_workers
from visionkit.errors import DataError, VisionKitError
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.hashing import mix
from visionkit.structures import Batch, Sample, Truth


class LabelledDataset:
    """Reads, augments, then brings to size. The same key gives the same sample in any process at any time.

    Args:
        index: the pictures and their classes.
        augment: Sample -> Sample at the file's size, or None. Where it gives the network's size already (a random
            crop), nothing follows. A crop that it begins with is cut out while the picture is decoded. With `Mixed`
            around it, samples are mixed at network size.
        resize: to network size.
        seed: of the run.
    Raises:
        ConfigError: the augmentation gives pictures of another size than the network's.
    """

    def __init__(
        self, index: LabelledIndex, augment: Callable[[Sample], Sample] | None, resize: CenterCrop, seed: int
    ) -> None:
        self.index, self.resize = index, resize
        augment = sized(augment, resize.size)
        self._mixed = augment if isinstance(augment, Mixed) else None
        self._augment = augment.augment if isinstance(augment, Mixed) else augment
        self._crop, self._rest = leading_crop(self._augment)
        self._seed = seed

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """`key` is (epoch, position). DataError names the file that cannot be read."""
        seed = mix(self._seed, key[0], self.index.image_id(key[1]))
        sample = self._prepared(key[1], seed)
        partner = None if self._mixed is None else self._mixed.partner(seed, len(self.index))
        if self._mixed is None or partner is None:
            return sample
        return self._mixed.mix(sample, self._prepared(*partner))

    def _prepared(self, i: int, seed: int) -> Sample:
        """Picture i augmented, at network size."""
        sample = labelled_sample(self.index, i, seed, self._crop)
        before, side = sample.original_size, self.resize.size
        if self._rest is not None:
            sample = self._rest(sample)
        set_by_augment = getattr(self._augment, "sets_size", False) or sample.image.shape[:2] != before
        if set_by_augment and sample.image.shape[:2] == (side, side):
            return sample
        return Sample(self.resize(sample.image), sample.truth, sample.id, sample.original_size, seed=seed)

    def size(self, key: tuple[int, int]) -> tuple[int, int]:
        """(height, width) at network size, known without reading."""
        return self.resize.size, self.resize.size


def labelled_sample(index: LabelledIndex, i: int, seed: int = 0, crop: Crop | None = None) -> Sample:
    """Picture i as it is on disk, upright, cut out where only a part is meant; its class is `truth.image_label`.

    With a crop only what that shows, which is read faster; `original_size` is the whole's.
    """
    if index.crops is not None and index.sizes is not None:
        image = index.pictures.read(i)
        found, stated = image.shape[:2], tuple(index.sizes[i].tolist())
        if found != stated:
            raise wrong_size(index.path(i), found, stated)
        image = cut_out(image, index.crops[i])
        size = (image.shape[0], image.shape[1])
        image = image if crop is None else crop.resized(crop.window(size, seed).cut(image))
    elif crop is None:
        image = index.pictures.read(i)
        size = (image.shape[0], image.shape[1])
    else:
        part, size = read_window(index.pictures, i, lambda whole: crop.window(whole, seed))
        image = crop.resized(part)
    none = np.zeros(0, np.int64)
    truth = Truth(np.zeros((0, 4), np.float32), none, none.astype(np.bool_), image_label=int(index.labels[i]))
    return Sample(image, truth, index.image_id(i), size, seed=seed)


def labelled_batches(
    index: LabelledIndex, resize: CenterCrop, batch_size: int, workers: int = 0, rank: int = 0, world: int = 1
) -> Iterator[tuple[list[int], Batch]]:
    """Every picture once over all processes: its positions in the index, and the batch at network size."""
    parts = [list(range(k, min(k + batch_size, len(index)))) for k in range(0, len(index), batch_size)]
    return run_workers(_Reader(index, resize), parts[rank::world], workers)


@dataclass(frozen=True)
class _Reader:
    index: LabelledIndex
    resize: CenterCrop

    def __call__(self, positions: list[int]) -> tuple[list[int], Batch]:
        images = [self._image(i) for i in positions]
        ids = [self.index.image_id(i) for i in positions]
        canvas = (self.resize.size, self.resize.size)
        return positions, pad_images(images, ids, [mix(0, 0, number) for number in ids], canvas)

    def _image(self, i: int) -> np.ndarray:
        try:
            return self.resize(labelled_sample(self.index, i).image)
        except VisionKitError:
            raise
        except Exception as error:
            path = self.index.path(i)
            raise DataError(f"image {path} cannot be prepared: {type(error).__name__}: {error}") from error
