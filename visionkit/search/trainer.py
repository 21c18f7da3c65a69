"""What a search spends its time on: pictures kept in memory, and a network that is trained briefly on them."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from visionkit.backbones.cell_network import CellNetwork
from visionkit.data.classification import LabelledDataset
from visionkit.data.collate import collate
from visionkit.data.labelled import LabelledData, LabelledIndex
from visionkit.data.order import EpochOrder
from visionkit.engine.optim import parameter_groups
from visionkit.engine.precision import Precision, seed_everything
from visionkit.engine.schedule import cosine
from visionkit.engine.train import train_steps
from visionkit.errors import ConfigError, DataError, NonFiniteLossError
from visionkit.models.build import classifier
from visionkit.models.classifier import Classifier
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.hashing import mix
from visionkit.search.cell_space import Cell
from visionkit.structures import Batch, Targets

CHUNK = 256  # pictures at a time where nothing is learnt


@dataclass(frozen=True)
class Pictures:
    """All pictures of a set at network size, as one batch."""

    batch: Batch
    targets: Targets

    def take(self, rows: Any) -> "Pictures":
        """Some of them; `rows` are positions (M,) or a slice."""
        return Pictures(_take(self.batch, rows), _take(self.targets, rows))

    def __len__(self) -> int:
        return len(self.batch.ids)


class Split(NamedTuple):
    """Pictures to learn from, pictures whose accuracy is the reward, pictures that no search ever sees."""

    train: Pictures
    reward: Pictures
    test: Pictures


def load_split(data: object, count: int, size: int, device: torch.device) -> Split:
    """`count` training pictures, drawn by chance, always the same ones; of each class's validation pictures the first
    half for the reward, the second for the comparison at the end.

    Raises:
        ConfigError: data without a class for each picture.
        DataError: a picture that cannot be read, or no class with two validation pictures.
    """
    if not isinstance(data, LabelledData):
        raise ConfigError(
            "the search learns from pictures with one class each, and this data set has boxes, label maps or points: "
            "choose data=scene_objects, data=cifar10_jpeg, or data=folder data.root=..."
        )
    drawn = sorted(range(len(data.train)), key=lambda i: mix(0, i))[:count]
    halves: list[list[int]] = [[], []]
    for label in range(len(data.names)):
        rows = np.flatnonzero(data.val.labels == label).tolist()
        halves[0] += rows[: (len(rows) + 1) // 2]
        halves[1] += rows[(len(rows) + 1) // 2 :]
    if not halves[1]:
        raise DataError(f"{data.val.source}: the search needs two validation pictures of a class at least.")
    parts = [(data.train, sorted(drawn)), *((data.val, sorted(half)) for half in halves)]
    return Split(*(_read(index, rows, size, device) for index, rows in parts))


def _read(index: LabelledIndex, rows: list[int], size: int, device: torch.device) -> Pictures:
    dataset = LabelledDataset(index, None, CenterCrop(size, size), 0)
    batch, targets = collate([dataset[(0, i)] for i in rows], (size, size))
    return Pictures(batch.to(device), targets.to(device))


def _take(part: Any, rows: Any) -> Any:
    found = {field.name: getattr(part, field.name) for field in fields(part)}
    return replace(part, **{name: value[rows] for name, value in found.items() if value is not None})


@dataclass(frozen=True)
class CellTrainer:
    """Trains the network of a cell and says how often it is right. Equal arguments give the same number.

    Attributes:
        pictures: to learn from, on the device that trains.
        num_classes: K.
        width, cells: of the network, see `CellNetwork`.
        size: of the pictures, pixels.
        batch_size: pictures a step.
        lr: of AdamW, which in so few steps gets further than SGD; it falls to 0 along half a cosine.
    """

    pictures: Pictures
    num_classes: int
    width: int
    cells: int
    size: int
    batch_size: int
    lr: float

    def model(self, cell: Cell) -> Classifier:
        """Untrained, on the CPU."""
        return classifier(CellNetwork(cell, self.width, self.cells), self.num_classes, size=self.size)

    def accuracy(self, cell: Cell, steps: int, seed: int, measured: Pictures) -> float:
        """Trains from scratch; the share of right answers on `measured`, 0 where the loss did not stay finite."""
        device = self.pictures.batch.pixels.device
        seed_everything(seed)
        model = self.model(cell).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(model, self.lr, weight_decay=1e-4)
        optimizer = torch.optim.AdamW(groups, lr=self.lr, fused=True)  # one kernel for many small tensors
        taken = train_steps(
            model.train(),
            self._batches(seed),
            optimizer,
            cosine(warmup=0.1),
            start=0,
            stop=steps,
            seed=seed,
            device=device,
            precision=Precision("fp32", device),
            channels_last=True,
        )
        try:
            for _ in taken:
                pass
        except NonFiniteLossError:
            return 0.0
        return accuracy(model, measured)

    def _batches(self, seed: int) -> Iterator[tuple[Batch, Targets]]:
        order = EpochOrder(np.zeros(len(self.pictures), np.int64), self.batch_size, seed)
        for keys in order.keys(0):
            some = self.pictures.take(torch.tensor([position for _, position in keys]))
            yield some.batch, some.targets


def accuracy(model: Classifier, pictures: Pictures) -> float:
    """The share of right answers, 0 ... 1."""
    right = 0
    for first in range(0, len(pictures), CHUNK):
        some = pictures.take(slice(first, first + CHUNK))
        assert some.targets.image_labels is not None
        right += int((model.classify(some.batch).argmax(dim=1) == some.targets.image_labels).sum())
    return right / len(pictures)
