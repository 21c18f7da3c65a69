import numpy as np
import pytest

from visionkit.evaluation.proposal_recall import class_coverage_table, coverage, coverage_table
from visionkit.evaluation.truth import TruthTable


def table(objects: list[tuple], images: int = 2, names: tuple[str, ...] = ("a", "b", "c")) -> TruthTable:
    """Objects (image, label, box, crowd, difficult)."""
    boxes = np.array([o[2] for o in objects], np.float64).reshape(-1, 4)
    return TruthTable(
        source="generated",
        names=names,
        category_ids=np.arange(1, len(names) + 1),
        image_ids=np.arange(images),
        sizes=np.full((images, 2), 100),
        image_index=np.array([o[0] for o in objects], np.int64),
        labels=np.array([o[1] for o in objects], np.int64),
        boxes=boxes,
        areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        crowd=np.array([o[3] for o in objects], bool),
        difficult=np.array([o[4] for o in objects], bool),
    )


def lookup(rows: dict[int, list]):
    return lambda i: np.array(rows.get(i, []), np.float32).reshape(-1, 4)


@pytest.fixture
def truth() -> TruthTable:
    return table(
        [
            (0, 0, (0, 0, 10, 10), False, False),
            (0, 1, (50, 50, 60, 60), False, False),
            (1, 0, (0, 0, 20, 20), False, False),
            (1, 2, (0, 0, 90, 90), True, False),  # a crowd
            (1, 2, (5, 5, 90, 90), False, True),  # difficult
        ]
    )


PROPOSALS = {0: [(0, 0, 10, 5), (0, 0, 10, 8), (50, 50, 60, 60)], 1: [(0, 0, 20, 12)]}


def test_by_hand(truth):
    found = coverage(lookup(PROPOSALS), truth, counts=(1, 2, 1000))
    assert found.counts.tolist() == [1, 2, 3] and found.boxes_an_image.tolist() == [1, 1.5, 2]
    assert np.allclose(found.overlaps, [[0.5, 0.8, 0.8], [0, 0, 1], [0.6, 0.6, 0.6]])
    assert np.allclose(found.recall(0.5), [2 / 3, 2 / 3, 1])
    assert np.allclose(found.recall(0.7), [0, 1 / 3, 2 / 3])
    assert np.allclose(found.average_recall()[-1], 2 * (0.3 + 0.5 + 0.1) / 3)
    assert np.allclose(found.best_overlap()[:2, -1], [0.7, 1.0]) and np.isnan(found.best_overlap()[2]).all()
    assert np.allclose(found.mean_best_overlap()[-1], 0.85)  # over classes, not over objects: (0.7 + 1) / 2


def test_average_recall_is_the_integral_of_the_recall():
    random = np.random.default_rng(0)
    objects = [(0, 0, (0, 0, *random.uniform(5, 90, 2)), False, False) for _ in range(40)]
    found = coverage(lookup({0: random.uniform((0, 0, 20, 20), (9, 9, 90, 90), (30, 4))}), table(objects, 1))
    steps = np.linspace(0.5, 1, 20001)
    assert found.average_recall()[-1] == pytest.approx(np.mean([found.recall(t)[-1] for t in steps]), abs=1e-3)


def test_more_proposals_never_cover_less_and_the_order_counts(truth):
    found = coverage(lookup(PROPOSALS), truth, counts=range(9))
    assert (np.diff(found.overlaps, axis=1) >= 0).all() and found.counts.tolist() == [0, 1, 2, 3]
    turned = coverage(lookup({i: rows[::-1] for i, rows in PROPOSALS.items()}), truth, counts=(1,))
    assert turned.overlaps[1, 0] == 1 and np.allclose(turned.overlaps[:, -1], found.overlaps[:, -1])


def test_small_objects_can_be_left_out(truth):
    assert coverage(lookup(PROPOSALS), truth, smallest=10).labels.tolist() == [0]  # 10 x 10 is not larger
    assert len(coverage(lookup(PROPOSALS), truth, smallest=9).labels) == 3


@pytest.mark.parametrize("objects", [0, 3])
def test_no_proposals_and_no_objects(truth, objects):
    given = truth if objects else table([])
    found = coverage(lookup({}), given)
    assert found.counts.tolist() == [0] and len(found.labels) == objects
    if objects:
        assert found.recall(0.5).tolist() == [0] and found.mean_best_overlap().tolist() == [0]
    else:
        assert np.isnan(found.recall(0.5)).all() and np.isnan(found.mean_best_overlap()).all()
    shown = coverage_table({"none": (found, None)})
    assert ("n/a (0 objects)" in shown) == (objects == 0) and "nan" not in shown


def test_no_images_at_all():
    found = coverage(lookup({}), table([], images=0))
    assert found.boxes_an_image.tolist() == [0] and np.isnan(found.average_recall()).all()


def test_tables(truth):
    found = coverage(lookup(PROPOSALS), truth)
    lines = coverage_table({"ours": (found, 0.25), "theirs": (found, None)}).splitlines()
    assert lines[0].split() == ["method", "boxes/image", "recall@0.5", "recall@0.7", "AR", "MABO", "s/image"]
    assert lines[2].split() == ["ours", "2", "1.000", "0.667", "0.600", "0.850", "0.250"]
    assert lines[3].split()[-1] == "n/a"
    rows = class_coverage_table({"ours": found}).splitlines()
    assert rows[2].split() == ["a", "2", "0.700"] and rows[4].split() == ["c", "0", "n/a", "(0", "objects)"]
    assert rows[-1].split() == ["mean", "(MABO)", "3", "0.850"]
