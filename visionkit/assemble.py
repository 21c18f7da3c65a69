"""From a configuration to the finished parts of a run: data, model, loader, phases, evaluator. The tools join them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from visionkit.backbones.freeze import freeze
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.config import differences, instantiate, to_plain
from visionkit.data.classification import LabelledDataset
from visionkit.data.dataset import DetectionDataset
from visionkit.data.index import DetectionIndex
from visionkit.data.labelled import LabelledData, LabelledIndex
from visionkit.data.loaders import Dataset, TrainLoader
from visionkit.data.points import CountingData, PointsIndex
from visionkit.data.points_dataset import PointsDataset
from visionkit.data.segmentation import SegmentationData, SegmentationIndex
from visionkit.data.segmentation_dataset import SegmentationDataset
from visionkit.data.sources import DetectionData
from visionkit.data.square import TrainSquare
from visionkit.data.transforms import TrainResize
from visionkit.engine import checkpoint
from visionkit.engine.distributed import broadcast_object, main_first, rank, world_size
from visionkit.engine.phases import FitPhase, Phase
from visionkit.engine.precision import Precision
from visionkit.engine.settings import FitSettings
from visionkit.errors import ConfigError, some_of
from visionkit.evaluation.report import Report
from visionkit.given_proposals import with_proposals
from visionkit.instantiate import only_from, refusals
from visionkit.models.box_list import BoxList
from visionkit.models.classifier import Classifier
from visionkit.models.counter import Counter
from visionkit.models.localizer import Localizer
from visionkit.models.own_trunk import OwnTrunkRPN
from visionkit.models.region_detector import RegionDetector
from visionkit.models.segmenter import Segmenter
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize
from visionkit.ops.square_resize import SquareResize

Model = RegionDetector | Classifier | Localizer | BoxList | Segmenter | Counter
Data = DetectionData | LabelledData | SegmentationData | CountingData
Index = DetectionIndex | LabelledIndex | SegmentationIndex | PointsIndex


class Evaluator(Protocol):
    """Measures a model of its task on a split; see `DetectionEvaluator` and `ClassificationEvaluator`."""

    def __call__(self, model: Any, folder: Path | None = None) -> Report | None: ...

    def metrics(self, model: Any) -> dict[str, float | None]: ...

    def draw(self, folder: Path, predictor: Any, report: Report) -> None: ...


MODEL_ROOMS = (
    "torch.nn",
    "visionkit.backbones",
    "visionkit.heads",
    "visionkit.models",
    "visionkit.ops.selective_search",
    "visionkit.ops.windows",
)


def load_data(config: Any) -> Data:
    """The data set; rank 0 first, since it may have to be generated."""
    data: Data = main_first(lambda: instantiate(config.data))
    return data


def build_model(config: Any, num_classes: int, pretrained: bool = True) -> Model:
    """The model that a configuration describes. `pretrained=False` reads no weights file.

    The configuration may be a stranger's: only networks are built from it.
    """
    for node in (config.backbone, config.task):
        only_from(to_plain(node), MODEL_ROOMS)
    backbone = instantiate(config.backbone) if pretrained else instantiate(config.backbone, weights=None)
    with refusals("task"):
        model: Model = instantiate(config.task)(backbone=backbone, num_classes=num_classes)
    return model


def build_evaluator(config: Any, index: Index, workers: int) -> Evaluator:
    """Measures on `index` as the group `evaluation` says."""
    with refusals("evaluation"):
        evaluator: Evaluator = instantiate(config.evaluation)(index=index, workers=workers)
    return evaluator


def freeze_model(model: Model, upto: str | None) -> list[str]:
    """Freezes the trunk up to a stage (`trainer.freeze`), an RPN's own one too; the names of the frozen parameters."""
    if upto is None:
        return []
    propose = getattr(model, "propose", None)
    own = freeze(propose.trunk, upto) if isinstance(propose, OwnTrunkRPN) else []
    return [*freeze(model.backbone, upto), *own]


def proposed_data(config: Any, data: Data, model: Model, say: Callable[..., object]) -> Data:
    """The data with given proposals, where the model looks at some (`proposals` of the configuration)."""
    if not isinstance(data, DetectionData):
        return data
    files, workers = to_plain(config).get("proposals"), config.trainer.workers
    return replace(
        data,
        train=with_proposals(data.train, model, files, workers, say),
        val=with_proposals(data.val, model, files, workers, say),
    )


def compile_model(model: Model) -> None:
    """torch.compile for the trunk (`trainer.compile`), whose shapes repeat; the rest sees changing numbers of boxes."""
    model.backbone.compile()


def describe(model: Model, frozen: list[str]) -> list[str]:
    """What a person should know of a model before it trains, in sentences."""
    backbone = model.backbone
    report = backbone.innermost().load_report
    lines = [f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(frozen)} tensors frozen"]
    if report is not None:
        lines.append(str(report))
    elif any(isinstance(module, FrozenBatchNorm2d) for module in backbone.modules()):
        lines.append("warning: frozen norms without weights normalise nothing; set backbone.weights or backbone.norm")
    return lines


def train_dataset(config: Any, data: Data, model: Model, split: str = "train") -> Dataset:
    """A split with the run's augmentation, brought to size by the rule of the test; with masks where the losses need
    them."""
    augment, index = instantiate(config.augment), data.train if split == "train" else data.val
    resize: TestResize | CenterCrop | SquareResize | KeepSize = model.resize
    with_masks = getattr(model, "wants_masks", False)
    wanted = wanted_data(model)
    if isinstance(index, LabelledIndex) and isinstance(resize, CenterCrop):
        return LabelledDataset(index, augment, resize, config.seed)
    if isinstance(index, SegmentationIndex) and wanted == PIXELS and isinstance(resize, TestResize | KeepSize):
        return SegmentationDataset(index, augment, resize, config.seed)
    if isinstance(index, PointsIndex) and wanted == POINTS and isinstance(resize, TestResize | KeepSize):
        return PointsDataset(index, augment, resize, config.seed)
    if isinstance(index, DetectionIndex) and isinstance(resize, SquareResize):
        return DetectionDataset(index, augment, TrainSquare(resize.size), config.seed)
    if isinstance(index, DetectionIndex) and wanted == BOXES and isinstance(resize, TestResize):
        return DetectionDataset(index, augment, TrainResize(resize.short, resize.long), config.seed, with_masks)
    found = {LabelledIndex: CLASSES, SegmentationIndex: PIXELS, PointsIndex: POINTS}.get(type(index), BOXES)
    raise ConfigError(
        f"the task learns from {wanted}, and the data set {index.source} has {found}: choose another task or data "
        "(task=classify goes with data=folder and data=scene_objects, the detectors with data=scenes, coco or voc, "
        "task=fcn and its kin with data=scenes_semantic, camvid or image_masks, task=count with data=crowds or points)."
    )


CLASSES, BOXES = "one class for each picture", "boxes"
PIXELS, POINTS = "a class for every pixel", "a point for every object"


def wanted_data(model: Model) -> str:
    """What a model learns from, in words."""
    if hasattr(model, "class_weights"):
        return PIXELS
    if isinstance(model, Counter):
        return POINTS
    return CLASSES if isinstance(model, Classifier) else BOXES


def train_loader(config: Any, data: Data, model: Model, device: torch.device) -> TrainLoader:
    """Training batches of this process."""
    trainer, resize = config.trainer, model.resize
    images = trainer.batch_size * trainer.accumulate * world_size()
    if len(data.train) < images:
        raise ConfigError(
            f"a step takes {images} images (trainer.batch_size={trainer.batch_size}, accumulate={trainer.accumulate}, "
            f"{world_size()} processes), and {data.train.source} has {len(data.train)}: choose a smaller batch."
        )
    return TrainLoader(
        train_dataset(config, data, model),
        trainer.batch_size,
        config.seed,
        workers=trainer.workers,
        rank=rank(),
        world=world_size(),
        accumulate=trainer.accumulate,
        canvas=None if isinstance(resize, TestResize | KeepSize) else (resize.size, resize.size),
        multiple=resize.multiple if isinstance(resize, TestResize | KeepSize) else 1,
        pin_memory=device.type == "cuda",
        shuffle=trainer.shuffle,
    )


def steps_of(config: Any, loader: TrainLoader) -> int:
    """Optimizer steps of the run: `trainer.epochs`, bounded by `trainer.max_steps`, which alone counts if it is set."""
    trainer = config.trainer
    return int(trainer.max_steps or trainer.epochs * loader.steps_per_epoch)


def check_phases(phases: Sequence[Phase | FitPhase], model: Model, config: Any, device: torch.device) -> None:
    """ConfigError for an optimizer, a schedule or a number format that would be refused when its phase begins.

    Called before the run's folder is made, so that a mistyped value leaves nothing behind.
    """
    if config.trainer.patience is not None and config.trainer.evaluate_epochs == 0:
        raise ConfigError("trainer.patience counts evaluations, and with trainer.evaluate_epochs=0 there is one.")
    for phase in phases:
        if isinstance(phase, Phase):
            _check_losses(phase, model, config)
            with refusals("optim.optimizer"):
                phase.optimizer(phase.groups(model))
            with refusals("schedule"):
                phase.schedule()(0, phase.steps)
    Precision(config.trainer.precision, device)


def _check_losses(phase: Phase, model: Model, config: Any) -> None:
    if phase.losses is None:
        return
    unknown = [name for name in phase.losses if name not in model.loss_names]
    if unknown or not phase.losses:
        wanted = ", ".join(model.loss_names)
        raise ConfigError(f"phases.{phase.name}.losses={list(phase.losses)}: some of the model's losses, {wanted}.")
    if config.trainer.patience is not None:
        raise ConfigError(
            f"phases.{phase.name} trains with some losses alone, which need not move {config.evaluation.monitor}: "
            "trainer.patience would end it too early, so leave it out."
        )


def fit_settings(config: Any, loader: TrainLoader, device: torch.device) -> FitSettings:
    """How the run is driven, epochs turned into steps."""
    trainer = config.trainer
    return FitSettings(
        precision=trainer.precision,
        accumulate=trainer.accumulate,
        clip_norm=trainer.clip_norm,
        channels_last=trainer.channels_last,
        checkpoint_steps=trainer.checkpoint_steps,
        evaluate_steps=trainer.evaluate_epochs * loader.steps_per_epoch,
        log_steps=trainer.log_steps,
        ema=trainer.ema,
        patience=trainer.patience,
        device=device,
        seed=config.seed,
    )


def check_classes(resume: Path | None, names: tuple[str, ...]) -> None:
    """ConfigError when the data, under the same settings, has got other classes than a checkpoint was trained on."""
    if resume is None:
        return
    known = checkpoint.load(resume)["meta"].get("names")
    if known != list(names):
        before, now = some_of(known or ["none"]), some_of(names)
        raise ConfigError(f"{resume} was trained on the classes {before}; the data has {now}.")


def resume_point(config: Any) -> Path | None:
    """The checkpoint to go on from: `resume=PATH`, or with `auto` the last one of a given, existing `output`.

    Raises ConfigError when the configuration differs from the checkpoint's, naming the keys.
    """
    resume = config.resume
    if resume in (None, "none"):
        return None
    if resume == "auto":
        last = None if config.output is None else Path(config.output) / "checkpoints" / "last.pt"
        found = broadcast_object(str(last) if last is not None and last.exists() else None)
        if found is None:
            return None
        path = Path(found)
    else:
        path = Path(resume)
    old = checkpoint.load(path).get("meta", {}).get("config")
    if not isinstance(old, dict):
        raise ConfigError(f"{path} holds no configuration, so the run cannot be continued from it.")
    changed = differences(old, to_plain(config))
    if changed:
        raise ConfigError(
            f"{path} was trained with another configuration ({'; '.join(changed[:5])}"
            f"{f' and {len(changed) - 5} more' if len(changed) > 5 else ''}): "
            "restore it, choose another output, or start over with resume=none."
        )
    return path
