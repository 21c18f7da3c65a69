"""From a position in a `PointsIndex` to a sample at network size."""

from collections.abc import Callable

from visionkit.data.dataset import read_checked
from visionkit.data.points import PointsIndex
from visionkit.data.scale_crop import crop_size, on_top_of
from visionkit.data.transforms import resize
from visionkit.errors import ConfigError
from visionkit.ops.hashing import mix
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize
from visionkit.structures import Sample


class PointsDataset:
    """Reads, augments, then brings to size. The same key gives the same sample in any process at any time.

    Args:
        index: the pictures and their points.
        augment: Sample -> Sample at the file's size, or None. Where it gives a size of its own (a random crop), nothing
            follows.
        resize: to network size.
        seed: of the run.
    """

    def __init__(
        self,
        index: PointsIndex,
        augment: Callable[[Sample], Sample] | None,
        resize: TestResize | KeepSize,
        seed: int,
    ) -> None:
        self.index, self._resize, self._seed = index, resize, seed
        self._augment = on_top_of(augment, resize.shape)
        self._sized = getattr(augment, "sets_size", False)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """`key` is (epoch, position). DataError names the file that cannot be read, ConfigError an augmentation that
        knows nothing of points."""
        sample = self.read(key[1], mix(self._seed, key[0], self.index.image_id(key[1])))
        if self._augment is not None:
            sample = self._augment(sample)
            if sample.truth.points is None:
                raise ConfigError(
                    f"augment: {type(self._augment).__name__} loses the points that counting is learnt from: choose "
                    "augment=flip, scale_crop or none."
                )
        if self._sized:
            return sample
        height, width = sample.image.shape[:2]
        return resize(sample, self._resize.shape((height, width)))

    def size(self, key: tuple[int, int]) -> tuple[int, int]:
        """(height, width) at network size, known without reading; at most that, where an augmentation cuts windows."""
        if self._sized:
            return crop_size(self._augment) or (1, 1)
        return self._resize.shape(self.index.size(key[1]))

    def read(self, i: int, seed: int = 0) -> Sample:
        """Picture i as it is on disk, upright, with its points."""
        image = read_checked(self.index, i)
        return Sample(image, self.index.truth(i), self.index.image_id(i), self.index.size(i), seed=seed)
