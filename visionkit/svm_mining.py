"""Linear SVMs of regions with hard negatives (R-CNN, Girshick et al. 2014, sec. 2.3; Felzenszwalb et al. 2010).

There are far more background regions than fit into memory, and nearly all are easy. So each class keeps a cache: the
plane of the moment is shown image after image, what it gets wrong is added, it is fitted anew when enough has come
together, and what has become easy is dropped. The released code goes over the images once.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from visionkit.training_regions import ImageRegions

TARGET_NORM = 20.0  # mean length of a vector that the settings are meant for
ITERATIONS = 1000
TOLERANCE = 0.01  # liblinear's own for this solver is 0.1, scikit-learn's 0.0001, which takes ten times as long
SHIFT = 32  # a region's key: the image above these bits, its row below


class Vectors(Protocol):
    """The vectors of every image's regions, such as a `FeatureStore`."""

    def __len__(self) -> int: ...

    def vectors(self, i: int) -> np.ndarray: ...


@dataclass(frozen=True)
class SVMSettings:
    """Those of the paper (app. B) and of its released code.

    Attributes:
        C: weight of the errors against the width of the margin.
        positive_weight: of an object's error against a background region's.
        bias_scale: the constant that the bias is learned on; large ones leave the bias unregularised.
        low: IoU with the class below which a region is background.
        passes: times that all images are searched for hard negatives; 0 = none, the first image's background serves.
        hard: margin above which a background region joins the cache.
        easy: margin below which it leaves after a fit.
        retrain: new ones that a class collects before it is fitted anew.
    """

    C: float = 1e-3
    positive_weight: float = 2.0
    bias_scale: float = 10.0
    low: float = 0.3
    passes: int = 1
    hard: float = -1.0001
    easy: float = -1.2
    retrain: int = 2000


@dataclass
class Mined:
    """The planes of K classes, and how they came about."""

    weight: np.ndarray  # (K, C) float32, of vectors as they are stored
    bias: np.ndarray  # (K,) float32
    fitted: np.ndarray  # (K,) bool; False for a class without objects, whose plane is meaningless
    positives: np.ndarray  # (K,) int64
    right: np.ndarray  # (K,) int64: objects on the right side of their plane
    negatives: np.ndarray  # (K,) int64, in the cache at the end
    added: int  # background regions that joined a cache after the first fit: the hard negatives
    fits: int


@dataclass
class _Class:
    """The cache of one class."""

    label: int
    positives: np.ndarray  # (p, C) float32, scaled
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (n,) of the cached background
    negatives: list[np.ndarray] = field(default_factory=list)  # (., C) float32, scaled; n rows in all
    new: int = 0  # since the last fit
    fitted: bool = False

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Background regions that are not in the cache yet."""
        self.keys = np.concatenate([self.keys, keys])
        self.negatives.append(vectors)
        self.new += len(keys)

    def fit(self, settings: SVMSettings) -> tuple[np.ndarray, float]:
        """The plane between the objects and the cache, from which what is easy now is dropped."""
        negatives = np.concatenate(self.negatives)  # (n, C)
        weight, bias = fit_plane(self.positives, negatives, settings)
        stays = negatives @ weight + bias >= settings.easy  # (n,)
        self.keys, self.negatives, self.new, self.fitted = self.keys[stays], [negatives[stays]], 0, True
        return weight, bias


def mine_svms(
    store: Vectors,
    regions: Sequence[ImageRegions] | Callable[[int], ImageRegions],
    num_classes: int,
    mean_norm: float,
    settings: SVMSettings | None = None,
    seen: Callable[[], None] = lambda: None,
) -> Mined:
    """Fits a plane to each class. The same input gives the same planes.

    Args:
        store: vectors (R, C) of image i, row by row those of its regions.
        regions: of image i: objects are positive, proposals that overlap the class by less than `low` negative.
        mean_norm: mean length of a vector; all are scaled to a mean of 20.
        seen: called after each image.
    """
    settings = settings or SVMSettings()
    look = regions if callable(regions) else regions.__getitem__
    scale = np.float32(TARGET_NORM / mean_norm)
    classes = [_Class(k, rows) for k, rows in enumerate(_positives(store, look, num_classes, scale)) if len(rows)]
    channels = next((one.positives.shape[1] for one in classes), 0)
    weight, bias = np.zeros((num_classes, channels), np.float32), np.zeros(num_classes, np.float32)
    added = fits = 0

    def refit(one: _Class) -> None:
        nonlocal fits
        weight[one.label], bias[one.label] = one.fit(settings)
        fits += 1

    for i in range(len(store)):  # the first image with background, all of it
        waiting = [one for one in classes if not one.fitted]
        if not waiting:
            break
        image, vectors = look(i), store.vectors(i) * scale
        for one in waiting:
            rows = np.flatnonzero(image.background(one.label, settings.low))
            if len(rows):
                one.add(_keys(i, rows), vectors[rows])
                refit(one)
    for _ in range(settings.passes if classes else 0):
        for i in range(len(store)):
            image, vectors = look(i), store.vectors(i) * scale
            margins = vectors @ weight.T + bias  # (R, K)
            for one in classes:
                hard = image.background(one.label, settings.low) & (margins[:, one.label] > settings.hard)
                rows = np.flatnonzero(hard)
                rows = rows[~np.isin(_keys(i, rows), one.keys)]
                if len(rows):
                    one.add(_keys(i, rows), vectors[rows])
                    added += len(rows)
                if one.new > settings.retrain:
                    refit(one)
            seen()
        for one in classes:
            if one.new:
                refit(one)
    fitted = np.zeros(num_classes, bool)
    positives, right, negatives = np.zeros((3, num_classes), np.int64)
    for one in classes:
        k = one.label
        fitted[k], positives[k], negatives[k] = one.fitted, len(one.positives), len(one.keys)
        right[k] = (one.positives @ weight[k] + bias[k] > 0).sum()
    return Mined(weight * scale, bias, fitted, positives, right, negatives, added, fits)


def fit_plane(positives: np.ndarray, negatives: np.ndarray, settings: SVMSettings) -> tuple[np.ndarray, float]:
    """A linear SVM with the hinge loss between (p, C) and (n, C): weight (C,) and bias, by liblinear's dual solver."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    vectors = np.concatenate([positives, negatives]).astype(np.float64)
    sign = np.repeat([1, -1], [len(positives), len(negatives)])
    svm = LinearSVC(
        loss="hinge",
        C=settings.C,
        dual=True,
        class_weight={1: settings.positive_weight},
        intercept_scaling=settings.bias_scale,
        max_iter=ITERATIONS,
        tol=TOLERANCE,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm.fit(vectors, sign)
    return svm.coef_[0].astype(np.float32), float(svm.intercept_[0])


def _positives(
    store: Vectors, look: Callable[[int], ImageRegions], num_classes: int, scale: np.float32
) -> list[np.ndarray]:
    """By class: the scaled vectors of its objects, and of nothing else (R-CNN, app. B)."""
    found: list[list[np.ndarray]] = [[] for _ in range(num_classes)]
    for i in range(len(store)):
        labels = look(i).labels
        if (labels >= 0).any():
            vectors = store.vectors(i) * scale
            for label in np.unique(labels[labels >= 0]):
                found[label].append(vectors[labels == label])
    return [np.concatenate(rows) if rows else np.zeros((0, 0), np.float32) for rows in found]


def _keys(i: int, rows: np.ndarray) -> np.ndarray:
    return (np.int64(i) << SHIFT) + rows.astype(np.int64)
