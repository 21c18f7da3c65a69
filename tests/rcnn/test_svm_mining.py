"""SVMs with hard negatives: against a fit to everything at once, what a pass changes, empty classes, determinism."""

import numpy as np
import pytest

from visionkit.svm_mining import SVMSettings, fit_plane, mine_svms
from visionkit.training_regions import ImageRegions

K, C = 3, 6


class Memory:
    def __init__(self, vectors: list) -> None:
        self.all = vectors

    def __len__(self) -> int:
        return len(self.all)

    def vectors(self, i: int) -> np.ndarray:
        return self.all[i]


def clouds(images: int = 10, regions: int = 120, objects: bool = True):
    """Objects of class 0 and 1 in clouds of their own; background mostly far away, some of it near class 0."""
    random = np.random.default_rng(5)
    vectors, truths = [], []
    for i in range(images):
        labels = np.full(regions, -1)
        x = random.normal(size=(regions, C)) * 0.5
        x[:, 2] += 3
        x[regions // 2 : regions // 2 + i, 0] += 2.2  # hard: none in the first image, ever more
        if objects:
            labels[:2] = (0, 1)
            x[0] = random.normal(size=C) * 0.3 + np.eye(C)[0] * 3
            x[1] = random.normal(size=C) * 0.3 + np.eye(C)[1] * 3
        overlap = np.zeros((regions, K), np.float32)
        overlap[labels == 0, 0] = overlap[labels == 1, 1] = 1
        nothing = np.zeros((regions, 4), np.float32)
        off = np.zeros(regions, bool)
        truths.append(ImageRegions(nothing, labels, overlap, nothing, labels, overlap.max(axis=1), off))
        vectors.append(x.astype(np.float32))
    return Memory(vectors), truths


def norm_of(store: Memory) -> float:
    return float(np.linalg.norm(np.concatenate(store.all), axis=1).mean())


def test_a_pass_changes_the_planes_and_comes_close_to_a_fit_to_everything():
    store, regions = clouds()
    norm, settings = norm_of(store), SVMSettings(retrain=20)
    without = mine_svms(store, regions, K, norm, SVMSettings(passes=0))
    mined = mine_svms(store, regions, K, norm, settings)
    everything = np.concatenate(store.all) * np.float32(20 / norm)
    labels = np.concatenate([one.labels for one in regions])
    weight, bias = fit_plane(everything[labels == 0], everything[labels != 0], settings)
    whole = everything @ weight + bias
    scores = {"without": without, "mined": mined}
    margins = {name: np.concatenate(store.all) @ one.weight[0] + one.bias[0] for name, one in scores.items()}
    assert without.added == 0 and mined.added > 0 and mined.fits > without.fits
    assert np.abs(margins["mined"] - whole).max() < 0.1 < np.abs(margins["without"] - whole).max()
    wrong = {name: (one[labels != 0] > -1).sum() for name, one in margins.items()}
    assert wrong["mined"] < wrong["without"], "hard negatives are pushed beyond the margin"
    kept = mine_svms(store, regions, K, norm, SVMSettings(retrain=20, easy=-1e9))
    assert (mined.negatives[:2] < kept.negatives[:2]).all(), "easy ones are dropped"


def test_one_plane_equals_liblinears_with_weights_and_a_wide_bias():
    """The primal objective of the released code: |w|^2 / 2 + (b / 10)^2 / 2 + C (2 sum hinge(+) + sum hinge(-))."""
    from scipy.optimize import minimize

    random = np.random.default_rng(1)
    positives, negatives = random.normal(size=(9, 2)) + 1.5, random.normal(size=(40, 2)) - 0.5
    settings = SVMSettings(C=0.05)
    weight, bias = fit_plane(positives.astype(np.float32), negatives.astype(np.float32), settings)

    def objective(p):
        hinge = [np.maximum(0, 1 - sign * (x @ p[:2] + p[2])).sum() for x, sign in ((positives, 1), (negatives, -1))]
        return 0.5 * p[:2] @ p[:2] + 0.5 * (p[2] / 10) ** 2 + 0.05 * (2 * hinge[0] + hinge[1])

    best = minimize(
        objective, [0, 0, 0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 9999}
    )
    assert objective(np.array([*weight, bias])) == pytest.approx(best.fun, rel=5e-4)


def test_a_class_without_objects_is_marked_and_the_others_do_not_mind():
    store, regions = clouds()
    mined = mine_svms(store, regions, K, norm_of(store))
    assert mined.fitted.tolist() == [True, True, False]
    assert mined.positives.tolist() == mined.right.tolist() == [10, 10, 0]
    assert not mined.weight[2].any()


def test_no_objects_at_all_and_no_background():
    store, regions = clouds(objects=False)
    assert not mine_svms(store, regions, K, 1.0).fitted.any()
    store, regions = clouds(images=3, regions=2)
    for one in regions:
        one.overlap[:] = 1  # all on both classes
    mined = mine_svms(store, regions, K, 1.0)
    assert not mined.fitted.any() and mined.positives.tolist() == [3, 3, 0]


def test_images_without_any_region():
    store, regions = clouds()
    empty = ImageRegions(*(np.zeros((0, *shape), kind) for shape, kind in SHAPES))
    holes = Memory([np.zeros((0, C), np.float32), *store.all])
    mined = mine_svms(holes, [empty, *regions], K, norm_of(store))
    plain = mine_svms(store, regions, K, norm_of(store))
    np.testing.assert_array_equal(mined.weight, plain.weight)


SHAPES = (((4,), "f4"), ((), "i8"), ((K,), "f4"), ((4,), "f4"), ((), "i8"), ((), "f4"), ((), "?"))


def test_no_region_is_cached_twice():
    store, regions = clouds()
    all_hard = SVMSettings(passes=2, hard=-1e9, easy=-1e9)
    mined = mine_svms(store, regions, K, norm_of(store), all_hard)
    assert mined.negatives[0] == sum((one.labels != 0).sum() for one in regions)


def test_the_same_input_gives_the_same_planes():
    store, regions = clouds()
    first, second = (mine_svms(store, regions, K, norm_of(store), SVMSettings(passes=2)) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.bias, second.bias)


def test_vectors_of_any_length_give_the_same_margins():
    """They are scaled to a mean length of 20, which C was chosen for; the planes undo it."""
    store, regions = clouds()
    longer = Memory([x * 64 for x in store.all])
    one, other = (mine_svms(s, regions, K, norm_of(s)) for s in (store, longer))
    np.testing.assert_allclose(store.all[3] @ one.weight[0], longer.all[3] @ other.weight[0], atol=1e-3)
