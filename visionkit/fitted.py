"""Fitting heads to the vectors of the training pictures: where data, models and scikit-learn meet.

Named in configs/phases/svm.yaml and nearest.yaml. Both are deterministic: no augmentation, fixed order, fixed seeds.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from visionkit.data.classification import labelled_batches
from visionkit.data.labelled import LabelledData, LabelledIndex
from visionkit.data.progress import Progress
from visionkit.errors import ConfigError, DataError, NonFiniteLossError
from visionkit.heads.linear_svm import LinearSVM
from visionkit.heads.nearest import NearestNeighbours
from visionkit.models.classifier import Classifier

HELD_OUT = 5  # every fifth picture of a class chooses C
ITERATIONS = 5000
CONSTANT = 1e-6  # spread of a number, as a share of its mean, up to which it counts as constant
ABSENT = -100.0  # decision value of a class without training pictures


def fit_svm(
    model: Classifier,
    data: LabelledData,
    C: float | Sequence[float] = 1.0,
    batch_size: int = 64,
    workers: int = 0,
) -> dict[str, float]:
    """Fits the model's head, a `LinearSVM`, to the training pictures, one class against the rest (squared hinge loss).

    Args:
        model: its head is changed, and nothing else.
        C: weight of the errors against the width of the margin. Of several, the one that classifies every fifth picture
            of each class best after a fit to the others; of equally good ones the smallest.
        batch_size: pictures at a time.
        workers: loading processes.
    Returns:
        `C`, `svm_train_top1`, `svm_iterations`; and `svm_held_out_top1` where C was chosen.
    Raises:
        ConfigError: another head, C that is no number above 0, or scikit-learn is not installed.
        DataError: fewer than two classes have pictures.
    """
    head = _head(model, LinearSVM, "svm")
    choices = _choices(C)
    _require_sklearn()
    if np.count_nonzero(data.train.class_counts()) < 2:
        raise DataError(f"{data.train.source}: a support vector machine separates classes, and there is one alone.")
    vectors, labels = training_vectors(model, data.train, batch_size, workers), data.train.labels
    mean, scale = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    scale[scale <= CONSTANT * np.abs(mean)] = 1  # always the same but for rounding: not to be divided by its spread
    standard = (vectors - mean) / scale  # (N, D) float64
    found: dict[str, float] = {}
    best = choices[0]
    if len(choices) > 1:
        held = _every_fifth(labels)
        scores = {
            c: _share_right(_planes(standard[~held], labels[~held], c), standard[held], labels[held]) for c in choices
        }
        best = max(sorted(scores), key=lambda c: scores[c])
        found["svm_held_out_top1"] = scores[best]
    planes = _planes(standard, labels, best)
    classes, weight, bias, iterations = planes
    every_weight = np.zeros((len(data.names), vectors.shape[1]))  # (K, D)
    every_bias = np.full(len(data.names), ABSENT)  # (K,)
    every_weight[classes], every_bias[classes] = weight, bias
    head.set(*(torch.from_numpy(array) for array in (every_weight, every_bias, mean, scale)))
    right = _share_right(planes, standard, labels)
    return {"C": best, **found, "svm_train_top1": right, "svm_iterations": float(iterations)}


def fit_nearest(
    model: Classifier, data: LabelledData, k: int = 5, batch_size: int = 64, workers: int = 0
) -> dict[str, float]:
    """Gives the model's head, a `NearestNeighbours`, the vectors of all training pictures.

    Args:
        k: how many neighbours vote.
        batch_size, workers: as in `fit_svm`.
    Raises:
        ConfigError: another head, or k not from 1 to the number of training pictures.
    """
    head = _head(model, NearestNeighbours, "nearest")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= len(data.train):
        raise ConfigError(f"k={k}: from 1 to all {len(data.train)} training pictures can be neighbours.")
    vectors = training_vectors(model, data.train, batch_size, workers)
    head.set(torch.from_numpy(vectors), torch.from_numpy(data.train.labels.astype(np.int64)), k)
    return {"k": float(k)}


@torch.inference_mode()
def training_vectors(model: Classifier, index: LabelledIndex, batch_size: int = 64, workers: int = 0) -> np.ndarray:
    """(N, D) float32: what the head sees of each picture, resized as for a test; the model as it is after training.

    Raises NonFiniteLossError when the network gives something that is no number, ConfigError for batches of none.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: a whole number of pictures, at least 1, is wanted for the fit.")
    was_training = model.training
    model.eval()
    device = model.normalize.mean.device
    vectors = np.empty((len(index), model.backbone.out_channels), np.float32)
    try:
        with Progress("vectors of the training pictures", len(index), "pictures") as progress:
            for positions, batch in labelled_batches(index, model.resize, batch_size, workers):
                vectors[positions] = model.features(batch.to(device)).float().cpu().numpy()
                progress.advance(len(positions))
    finally:
        model.train(was_training)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise NonFiniteLossError(
            f"the network's vector for {index.path(int(wrong[0]))} has values that are no numbers."
        )
    return vectors


def _head(model: Classifier, kind: type, name: str) -> Any:
    head = getattr(model, "head", None)
    if not isinstance(head, kind):
        raise ConfigError(
            f"a fit for task.head={name} is wanted, and the head is {type(head).__name__}: set task.head={name}"
        )
    return head


def _choices(value: Any) -> list[float]:
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < math.inf]
    if not values or len(numbers) != len(values):
        raise ConfigError(f"C={value}: a number above 0 is wanted, or a list of some to choose from.")
    return [float(v) for v in dict.fromkeys(values)]


def _require_sklearn() -> None:
    try:
        import sklearn.svm  # noqa: F401
    except ImportError as error:
        raise ConfigError("a linear SVM is fitted by scikit-learn: pip install visionkit[svm]") from error


def _every_fifth(labels: np.ndarray) -> np.ndarray:
    """(N,) bool: the fifth, tenth ... of each class, the last of a class with two to four, none of a single one."""
    held = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held[rows[HELD_OUT - 1 :: HELD_OUT] if len(rows) >= HELD_OUT else rows[1:][-1:]] = True
    return held


_Planes = tuple[np.ndarray, np.ndarray, np.ndarray, int]  # classes (P,), weight (P, D), bias (P,), iterations


def _planes(vectors: np.ndarray, labels: np.ndarray, c: float) -> _Planes:
    """A plane for each class that has pictures."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations are reported
        svm = LinearSVC(C=c, dual="auto", max_iter=ITERATIONS, random_state=0).fit(vectors, labels)
    weight, bias = svm.coef_, svm.intercept_  # (P, D), (P,)
    if len(svm.classes_) == 2:  # one plane, towards the second class
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    return svm.classes_, weight, bias, int(np.max(svm.n_iter_))


def _share_right(planes: _Planes, vectors: np.ndarray, labels: np.ndarray) -> float:
    classes, weight, bias, _ = planes
    return float(np.mean(classes[(vectors @ weight.T + bias).argmax(axis=1)] == labels)) if len(labels) else 0.0
