"""R-CNN's fits: where data, models and scikit-learn meet. Named in configs/phases/rcnn.yaml and region_svm.yaml.

Fine-tuning comes first, as a phase of gradient steps. Then the features of all regions go to disk, an SVM a class is
fitted to them with hard negatives, and a box regressor a class. Each is a phase with a checkpoint after it. All of it
is deterministic: fixed order, fixed seeds, an image at a time.
"""

import os
from typing import Any

import numpy as np
import torch

from visionkit.data.progress import Progress
from visionkit.data.sources import DetectionData
from visionkit.engine.distributed import barrier, is_main
from visionkit.errors import ConfigError, DataError
from visionkit.feature_store import gigabytes
from visionkit.heads.class_svms import ABSENT
from visionkit.heads.svm_box import SVMBoxHead, SVMScores
from visionkit.models.given import Given
from visionkit.models.region_detector import RegionDetector
from visionkit.region_vectors import by_the_first, region_features, say
from visionkit.ridge import FEWEST, fit_boxes
from visionkit.svm_mining import SVMSettings, mine_svms
from visionkit.training_regions import TrainingRegions


def fit_svms(
    model: RegionDetector,
    data: DetectionData,
    C: float = 1e-3,
    positive_weight: float = 2.0,
    low: float = 0.3,
    passes: int = 1,
    folder: str | os.PathLike[str] | None = None,
    keep: bool = False,
    dtype: str = "float16",
    pair_overlap: float = 0.6,
    workers: int = 0,
) -> dict[str, float]:
    """Fits one linear SVM a class to the features of all training regions; the head tells classes by them from then on.

    Positive are the objects alone, negative all regions that overlap the class by less than `low` (R-CNN, app. B).

    Args:
        model: with an `SVMScores` or `SVMBoxHead`; its SVMs are changed, and nothing else.
        data: its training images have proposals.
        C, positive_weight, low, passes: see `SVMSettings`.
        folder: where features are kept, a folder for each network; None = datasets/features.
        keep: leave the features there for the next fit, or for a look at them.
        dtype: "float16" or "float32", of the features on disk.
        pair_overlap: IoU of the pairs that `fit_boxes` learns from; the same there, so that it finds their features.
        workers: loading processes.
    Returns:
        `svm_positives`, `svm_right` (the share of them on the right side of their plane), `svm_negatives` (in the
        caches at the end), `svm_hard_negatives` (added by the passes), `svm_fits`.
    Raises:
        ConfigError: another head, a setting out of its range, no scikit-learn, or a disk that is too small.
        DataError: no proposals, no objects, or damaged features.
    """
    head = _head(model, SVMScores, "SVMs")
    settings = SVMSettings(
        C=_above(C, "C"), positive_weight=_above(positive_weight, "positive_weight"), low=_share(low, "low"),
        passes=_whole(passes, "passes"),
    )  # fmt: skip
    _require_sklearn()
    regions = _regions(model, data, pair_overlap)
    names, count = data.names, len(data.train)
    windows = head.box_channels if isinstance(head, SVMBoxHead) else 0
    store = region_features(model, regions, windows, folder, dtype, workers)

    def fit() -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        with Progress("hard negatives", count * settings.passes, "images") as progress:
            mined = mine_svms(store, regions.__getitem__, len(names), store.mean_norms()[0], settings, progress.advance)
        if not mined.fitted.any():
            raise DataError(f"{data.train.source}: no class has both objects and background; SVMs separate the two.")
        for k in np.flatnonzero(~mined.fitted):
            what = "not a single object" if mined.positives[k] == 0 else "no background"
            say(f"class '{names[k]}' has {what} among the training images: its SVM never fires.")
        for k in np.flatnonzero(mined.fitted & (mined.right == 0)):
            say(
                f"warning: the SVM of class '{names[k]}' takes all its {mined.positives[k]} objects for background: "
                "the network hardly tells them apart; train it longer, or raise C."
            )
        found = {
            "svm_positives": float(mined.positives.sum()),
            "svm_right": float(mined.right.sum() / mined.positives.sum()),
            "svm_negatives": float(mined.negatives.sum()),
            "svm_hard_negatives": float(mined.added),
            "svm_fits": float(mined.fits),
        }
        weight, bias = np.where(mined.fitted[:, None], mined.weight, 0), np.where(mined.fitted, mined.bias, ABSENT)
        return found, weight.astype(np.float32), bias.astype(np.float32)

    found, weight, bias = by_the_first(fit)
    head.svms.set(torch.from_numpy(weight), torch.from_numpy(bias))
    _dismiss(store, keep)
    return found


def fit_box_regressors(
    model: RegionDetector,
    data: DetectionData,
    weight: float = 1000.0,
    pair_overlap: float = 0.6,
    folder: str | os.PathLike[str] | None = None,
    keep: bool = False,
    dtype: str = "float16",
    workers: int = 0,
) -> dict[str, float]:
    """Fits one ridge regressor of boxes a class to the pool5 maps of regions that overlap an object (R-CNN, app. C);
    boxes are refined from then on.

    Args:
        model: with an `SVMBoxHead`; its regressors are changed, and nothing else.
        data: its training images have proposals.
        weight: lambda.
        pair_overlap: IoU of a region and an object above which they are a pair.
        folder, keep, dtype, workers: as in `fit_svms`.
    Returns:
        `box_pairs`.
    Raises:
        ConfigError: another head, a setting out of its range, or a disk that is too small.
        DataError: no proposals, no objects, or damaged features.
    """
    head = _head(model, SVMBoxHead, "box regressors")
    _above(weight, "weight")
    regions = _regions(model, data, pair_overlap)
    names, count = data.names, len(data.train)
    store = region_features(model, regions, head.box_channels, folder, dtype, workers)

    def fit() -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        with Progress("box regressors", len(names), "classes") as progress:
            planes, bias, pairs = fit_boxes(
                store.windows, regions.__getitem__, count, len(names), store.mean_norms()[1], pair_overlap, weight,
                progress.advance,
            )  # fmt: skip
        for k in np.flatnonzero(pairs < FEWEST):
            say(f"class '{names[k]}' has {pairs[k]} regions on its objects, too few: its boxes stay as proposed.")
        return {"box_pairs": float(pairs.sum())}, planes.numpy(), bias.numpy()

    found, planes, bias = by_the_first(fit)
    head.ridge.set(torch.from_numpy(planes), torch.from_numpy(bias))
    _dismiss(store, keep)
    return found


def check_fit(fit: Any, model: Any, data: Any) -> None:
    """What one of the two fits (a `functools.partial` of it) would refuse only after hours of training; asked before.

    Raises ConfigError and DataError as the fit does, but for the disk and the features themselves.
    """
    given = fit.keywords
    if given.get("dtype", "float16") not in ("float16", "float32"):
        raise ConfigError(f"dtype={given['dtype']}: features are kept as float16 or float32.")
    if fit.func is fit_svms:
        _above(given.get("C", 1e-3), "C")
        _above(given.get("positive_weight", 2.0), "positive_weight")
        _share(given.get("low", 0.3), "low")
        _whole(given.get("passes", 1), "passes")
        _require_sklearn()
    else:
        _above(given.get("weight", 1000.0), "weight")
    regions = _regions(model, data, given.get("pair_overlap", 0.6))
    assert regions.index.proposals is not None
    taken = int(np.minimum(np.diff(regions.index.proposals.offsets), model.propose.top).sum()) + regions.index.objects
    size = taken * model.backbone.out_channels * np.dtype(given.get("dtype", "float16")).itemsize
    if fit.func is fit_svms:
        say(f"after fine-tuning, the features of {taken:,} regions will take some {gigabytes(size)} of the disk.")


def _head(model: Any, kind: type, what: str) -> Any:
    head = getattr(model, "head", None)
    if not isinstance(head, kind):
        raise ConfigError(
            f"a {type(head).__name__} has no {what} to fit: choose task=rcnn, or task=fast_rcnn task.head=svm."
        )
    return head


def _regions(model: RegionDetector, data: DetectionData, pair_overlap: float) -> TrainingRegions:
    if not isinstance(model.propose, Given):
        raise ConfigError("SVMs are fitted to given proposals, and this model finds its own.")
    if not data.train.objects:
        raise DataError(f"{data.train.source}: there is not a single object, so there is nothing to fit.")
    return TrainingRegions(data.train, model.propose.top, _share(pair_overlap, "pair_overlap"))


def _dismiss(store: Any, keep: bool) -> None:
    barrier()
    if is_main() and not keep:
        store.delete()


def _require_sklearn() -> None:
    try:
        import sklearn.svm  # noqa: F401
    except ImportError as error:
        raise ConfigError("a linear SVM is fitted by scikit-learn: pip install visionkit[svm]") from error


def _above(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"{name}={value}: a number above 0 is wanted.")
    return float(value)


def _share(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ConfigError(f"{name}={value}: an IoU between 0 and 1 is wanted.")
    return float(value)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name}={value}: a whole number of at least 0 is wanted.")
    return value
