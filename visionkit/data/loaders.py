"""Batches for training, without end and resumable at any step, and for testing, each image once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from visionkit.data.classification import LabelledDataset
from visionkit.data.collate import collate, pad_images
from visionkit.data.dataset import DetectionDataset, read_checked
from visionkit.data.index import DetectionIndex
from visionkit.data.order import EpochOrder, Key
from visionkit.data.points import PointsIndex
from visionkit.data.points_dataset import PointsDataset
from visionkit.data.segmentation import SegmentationIndex
from visionkit.data.segmentation_dataset import SegmentationDataset
from visionkit.data.workers import run_workers
from visionkit.errors import DataError, VisionKitError
from visionkit.ops.hashing import mix
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.pad_proposals import pad_proposals
from visionkit.ops.resize import TestResize
from visionkit.ops.square_resize import SquareResize
from visionkit.structures import Batch, Sample, Targets

_Request = tuple[list[Key], tuple[int, int]]  # images of one batch; the least canvas
Dataset = DetectionDataset | LabelledDataset | SegmentationDataset | PointsDataset
TestItem = tuple[list[int], Batch, list[tuple[int, int]]]


class TrainLoader:
    """This process's share of an endless stream of training batches.

    A step takes `accumulate` batches of `batch_size` images on each of `world` processes. What it holds follows from
    (seed, step) alone: neither `workers`, nor where the stream was started, nor the split of a step's images into
    processes and accumulated batches changes it.

    Args:
        dataset: gives a `Sample` for (epoch, position).
        batch_size: images a process and batch.
        workers: processes that read ahead; 0 or at least 2.
        rank, world: this process among all.
        accumulate: batches a step.
        group_by_aspect: keep portrait and landscape images apart, which saves padding.
        canvas: (height, width) that every batch is padded to; None = what the step's images need (of all processes
            and accumulated batches), a multiple of `multiple`.
        shuffle: False takes the images in the order of the index.
    Raises:
        DataError: no images; while reading, the file that is missing or broken.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        group_by_aspect: bool = True,
        canvas: tuple[int, int] | None = None,
        multiple: int = 32,
        pin_memory: bool = False,
        shuffle: bool = True,
    ) -> None:
        if len(dataset) == 0:
            raise DataError(f"{dataset.index.source}: the training set is empty.")
        groups = np.zeros(len(dataset), bool)
        if group_by_aspect and canvas is None and not isinstance(dataset, LabelledDataset):
            groups = dataset.index.sizes[:, 0] > dataset.index.sizes[:, 1]
        blocks = dataset.index.blocks if isinstance(dataset, LabelledDataset) else None
        self.order = EpochOrder(groups.astype(np.int64), batch_size * world * accumulate, seed, blocks, shuffle)
        self._read = _TrainReader(dataset, canvas, multiple)
        self._batch_size, self._rank, self._world = batch_size, rank, world
        self._workers, self._pin_memory = workers, pin_memory

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps; `accumulate` batches each."""
        return self.order.steps

    def batches(self, start_step: int = 0) -> Iterator[tuple[Batch, Targets]]:
        """The batches from step `start_step` on (0 = the first of the run), epoch after epoch; take what you need.

        Nothing that lies before is read. Close the iterator, or drop it, to stop the workers.
        """
        return run_workers(self._read, self._requests(start_step), self._workers, self._pin_memory)

    def _requests(self, start_step: int) -> Iterator[_Request]:
        stride = self._batch_size * self._world
        for keys in self.order.keys(start_step):
            # Padding leaks into a network's borders a little, so the canvas is that of the whole step: an image gives
            # the same numbers however the step is split into processes and batches.
            sizes = [self._read.dataset.size(key) for key in keys]
            least = (max(size[0] for size in sizes), max(size[1] for size in sizes))
            for first in range(self._rank * self._batch_size, len(keys), stride):
                yield keys[first : first + self._batch_size], least


def test_batches(
    index: DetectionIndex | SegmentationIndex | PointsIndex,
    resize: TestResize | SquareResize | KeepSize,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[TestItem]:
    """Every image once over all processes, at network size, batched only with images of the same canvas.

    Process `rank` gets every `world`-th batch, so the shares may differ by one batch and may be empty.

    Yields:
        positions in the index, the batch, and the (height, width) of each file.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i in range(len(index)):
        groups.setdefault(resize.canvas(index.size(i)), []).append(i)
    parts = [g[k : k + batch_size] for g in groups.values() for k in range(0, len(g), batch_size)]
    return run_workers(_TestReader(index, resize), parts[rank::world], workers)


test_batches.__test__ = False  # type: ignore[attr-defined]  # the name is not a test's


@dataclass(frozen=True)
class _TrainReader:
    dataset: Dataset
    canvas: tuple[int, int] | None
    multiple: int

    def __call__(self, request: _Request) -> tuple[Batch, Targets]:
        keys, least = request
        samples = [self._sample(key) for key in keys]
        if self.canvas is not None:
            return collate(samples, self.canvas)
        sizes = [*(sample.image.shape[:2] for sample in samples), least]
        height, width = (-(-max(size[axis] for size in sizes) // self.multiple) * self.multiple for axis in (0, 1))
        return collate(samples, (height, width))

    def _sample(self, key: Key) -> Sample:
        try:
            return self.dataset[key]
        except VisionKitError:
            raise
        except Exception as error:  # an augmentation that fails on this image
            path = self.dataset.index.path(key[1])
            raise DataError(f"image {path} cannot be prepared: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _TestReader:
    index: DetectionIndex | SegmentationIndex | PointsIndex
    resize: TestResize | SquareResize | KeepSize

    def __call__(self, positions: list[int]) -> TestItem:
        ids = [self.index.image_id(i) for i in positions]
        images = [self.resize(read_checked(self.index, i)) for i in positions]
        canvas = self.resize.canvas(self.index.size(positions[0]))
        batch = pad_images(images, ids, [mix(0, 0, number) for number in ids], canvas)
        originals = [self.index.size(i) for i in positions]
        if self.index.proposals is not None:
            found = [self.index.proposals.proposed(i) for i in positions]
            sizes = [(image.shape[0], image.shape[1]) for image in images]
            batch = replace(batch, proposals=pad_proposals(found, originals, sizes))
        return positions, batch, originals
