"""Members joined by name, mixed and compared."""

from dataclasses import replace

import numpy as np
import pytest

from visionkit.ensemble import ENSEMBLE, best_of, comparisons, measured, mixed, read_members, tables
from visionkit.errors import ConfigError, DataError
from visionkit.evaluation.probabilities import Probabilities, write_probabilities

NAMES, COUNT = ("cat", "dog", "pig"), 60


def member(seed, model="net"):
    rng = np.random.default_rng(seed)
    labels = np.arange(COUNT) % 3
    values = rng.dirichlet(np.ones(3), COUNT) + 0.4 * np.eye(3)[labels]
    values = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    return Probabilities(model, NAMES, tuple(f"{i}.png" for i in range(COUNT)), np.arange(COUNT), labels, values)


@pytest.fixture
def files(tmp_path):
    """Two members, one in a run's folder, and a place for a third."""
    write_probabilities(tmp_path / "run/eval/probabilities.npz", member(0, "one"))
    write_probabilities(tmp_path / "other/probabilities.npz", member(1, "two"))
    return tmp_path


def test_members_are_found_in_runs_folders_and_files(files):
    for places in (["run", "other"], ["run/eval", "other/probabilities.npz"]):
        found = read_members([str(files / place) for place in places])
        assert [m.model for m in found] == ["one", "two"]
        assert all(np.array_equal(m.values, member(i).values) for i, m in enumerate(found))
    assert [m.model for m in read_members([str(files / "run")] * 3)] == ["one #1", "one #2", "one #3"]


def test_another_order_of_pictures_and_classes_is_the_same(files):
    rows, columns = np.random.default_rng(5).permutation(COUNT), [2, 0, 1]
    own = member(1)
    mixed_up = Probabilities(
        "two",
        tuple(NAMES[k] for k in columns),
        tuple(own.files[i] for i in rows),
        own.ids[rows],
        np.argsort(columns)[own.labels[rows]],
        own.values[rows][:, columns],
    )
    write_probabilities(files / "other/probabilities.npz", mixed_up)
    _, second = read_members([str(files / "run"), str(files / "other")])
    assert second.names == NAMES and second.files == own.files
    assert np.array_equal(second.labels, own.labels) and np.array_equal(second.values, own.values)


def test_several_parts_of_one_file_are_told_apart(files):
    same = tuple(f"{i // 4}.png" for i in range(COUNT))
    for place, seed in (("run/eval", 0), ("other", 1)):
        write_probabilities(files / place / "probabilities.npz", replace(member(seed), files=same))
    assert np.array_equal(read_members([str(files / "run"), str(files / "other")])[1].values, member(1).values)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"files": ("x.png", *member(1).files[1:])}, "different pictures, such as 0.png"),
        ({"names": ("cat", "dog", "cow")}, "different classes, such as 'pig'"),
        ({"labels": np.roll(member(1).labels, 1)}, "different classes for 0.png: 'pig' and 'cat'"),
    ],
)
def test_members_that_do_not_go_together(files, change, sentence):
    write_probabilities(files / "other/probabilities.npz", replace(member(1), **change))
    with pytest.raises(DataError, match=sentence):
        read_members([str(files / "run"), str(files / "other")])


def test_fewer_and_more_pictures_or_classes(files):
    own, run = member(1), str(files / "run")
    less = [getattr(own, name)[:-1] for name in ("files", "ids", "labels", "values")]
    write_probabilities(files / "less.npz", Probabilities("less", NAMES, *less))
    values = np.pad(own.values, ((0, 0), (0, 1)))
    write_probabilities(files / "more.npz", replace(own, names=(*NAMES, "cow"), values=values))
    for places, sentence in (
        ([run, str(files / "less.npz")], "pictures, such as 59.png"),
        ([str(files / "less.npz"), run], "pictures, such as 59.png"),
        ([run, str(files / "more.npz")], "classes, such as 'cow'"),
    ):
        with pytest.raises(DataError, match=sentence):
            read_members(places)


@pytest.mark.parametrize("places", [None, [], ["a"], "a", [1, 2]])
def test_no_members(places):
    with pytest.raises(ConfigError, match="at least two are wanted"):
        read_members(places)


def test_places_without_probabilities(files):
    (files / "empty").mkdir()
    (files / "best.pt").touch()
    for place, sentence in (
        ("empty", "empty has no probabilities.npz: write it with tools/evaluate.py"),
        ("best.pt", "best.pt is a checkpoint: give the folder of its run"),
        ("nowhere", "nowhere: cannot be read"),
    ):
        with pytest.raises(DataError, match=sentence):
            read_members([str(files / "run"), str(files / place)])
    nothing = replace(member(0), files=(), ids=np.zeros(0), labels=np.zeros(0), values=np.zeros((0, 3)))
    write_probabilities(files / "empty/probabilities.npz", nothing)
    with pytest.raises(DataError, match="there are no pictures"):
        read_members([str(files / "empty"), str(files / "run")])


def test_the_mean_and_its_weights():
    a, b = member(0), member(1)
    assert mixed([a, b]).model == ENSEMBLE
    np.testing.assert_allclose(mixed([a, b]).values, (a.values + b.values) / 2, atol=1e-7)
    np.testing.assert_allclose(mixed([a, b], [3, 1]).values, 0.75 * a.values + 0.25 * b.values, atol=1e-7)
    assert np.array_equal(mixed([a, b], [0, 2]).values, b.values)


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [0, 0], [1, -1], [1, float("nan")], "equal", [1, "b"], 2])
def test_weights_that_do_not_fit(weights):
    with pytest.raises(ConfigError, match="weights="):
        mixed([member(0), member(1)], weights)


def test_what_is_measured():
    own = member(0)
    row = measured(own)
    right = own.values.argmax(axis=1) == own.labels
    assert row.metrics["top1"] == right.mean() and row.metrics["top5"] == 1.0
    assert row.hits.tolist() == right.astype(float).tolist()
    assert row.metrics["val_loss"] == pytest.approx(-np.log(own.values[np.arange(COUNT), own.labels]).mean(), rel=1e-5)
    values = own.values.copy()
    values[0] = [0, 0, 1]  # the truth of the first picture has no probability at all
    assert np.isfinite(measured(replace(own, values=values)).metrics["val_loss"])


def test_the_comparison_is_with_the_best_member_and_among_all():
    rows = [measured(member(seed, name)) for seed, name in ((0, "a"), (1, "b"), (2, "c"))]
    together = measured(mixed([member(seed) for seed in range(3)]))
    best = max(range(3), key=lambda i: rows[i].metrics["top1"])
    assert best_of(rows) == best
    compared = comparisons(rows, together, 500, 0)
    assert (compared[0][0], compared[0][1]) == (ENSEMBLE, "abc"[best])
    assert {frozenset(pair[:2]) for pair in compared[1:]} == {frozenset(p) for p in ("ab", "ac", "bc")}
    assert all(found.difference >= 0 for _, _, found in compared[1:])
    assert compared[0][2].difference == pytest.approx(together.metrics["top1"] - rows[best].metrics["top1"])
    text = tables([*rows, together], compared, 500, COUNT)
    assert f"| a | {rows[0].metrics['top1']:.3f} | 1.000 |" in text and "60 pictures" in text
    assert text.count("%") == 1 + 4 and "500 resamples" in text


@pytest.mark.parametrize("resamples", [0, 1.5, "many", True, None])
def test_resamples_that_cannot_be(resamples):
    row = measured(member(0))
    with pytest.raises(ConfigError, match="resamples=.*: a whole number"):
        comparisons([row, row], row, resamples, 0)
