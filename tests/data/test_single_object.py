"""Pictures with one object: which are kept, what is said of the others, and folds."""

import numpy as np
import pytest

from visionkit.data.index import DetectionIndex, IndexBuilder
from visionkit.data.single_object import fold_of, mean_box, one_object, single
from visionkit.data.sources import DetectionData
from visionkit.errors import ConfigError, DataError

SMALL, LARGE = (1.0, 2.0, 11.0, 12.0), (20.0, 10.0, 50.0, 35.0)


def index(objects: list[list[tuple]], names=("a", "b"), masks: bool = False) -> DetectionIndex:
    """Pictures of 40 x 60; an object is (box, label), or (box, label, "crowd" or "difficult")."""
    builder = IndexBuilder(names, "made here")
    for i, own in enumerate(objects):
        builder.add_image(f"{i}.jpg", 100 + i, (40, 60))
        for box, label, *kind in own:
            shape = [[box[0], box[1], box[2], box[1], box[2], box[3]]] if masks else None
            builder.add_object(box, label, "crowd" in kind, "difficult" in kind, segmentation=shape)
    return builder.build()


MIXED = [
    [(SMALL, 0)],
    [],
    [(SMALL, 0), (LARGE, 1)],
    [(SMALL, 1), (LARGE, 0, "crowd")],
    [(LARGE, 1, "difficult")],
    [(LARGE, 1), (SMALL, 0, "difficult"), (SMALL, 0)],
]


def kept(found: DetectionIndex) -> list[tuple[str, list, int]]:
    rows = []
    for i in range(len(found)):
        truth = found.truth(i)
        assert len(truth.boxes) == 1 and not truth.crowd.any() and not truth.difficult.any()
        rows.append((found.path(i), truth.boxes[0].tolist(), int(truth.labels[0])))
    return rows


def test_single_keeps_pictures_with_one_object():
    found = one_object(index(MIXED), "single")
    assert kept(found) == [("0.jpg", list(SMALL), 0), ("3.jpg", list(SMALL), 1)]
    assert found.image_ids.tolist() == [100, 103] and found.area.tolist() == [100.0, 100.0]
    assert found.report == ["made here: 4 of 6 pictures do not have exactly one object and are left out."]


def test_largest_keeps_the_largest_object():
    found = one_object(index(MIXED, masks=True), "largest")
    assert kept(found) == [
        ("0.jpg", list(SMALL), 0),
        ("2.jpg", list(LARGE), 1),
        ("3.jpg", list(SMALL), 1),
        ("5.jpg", list(LARGE), 1),
    ]
    assert [found.segmentation(i)[0][0][:2] for i in range(4)] == [
        list(box[:2]) for box in (SMALL, LARGE, SMALL, LARGE)
    ]
    assert found.report == [
        "made here: 2 of 6 pictures have no object and are left out.",
        "made here: 2 objects beside a larger one are left out.",
    ]


def test_nothing_is_said_where_nothing_is_left_out():
    found = one_object(index([[(SMALL, 0)], [(LARGE, 1)]]), "single")
    assert len(found) == 2 and found.report == []
    assert len(one_object(index([]), "largest")) == 0


def test_splits_stay_without_folds():
    data = single(DetectionData(index(MIXED), index(MIXED[:3]), ("a", "b")), "largest")
    assert (len(data.train), len(data.val)) == (4, 2)


def test_folds_part_all_pictures_and_spread_classes():
    pictures = [[(SMALL, int(i % 3 == 0))] for i in range(47)]
    data = DetectionData(index(pictures[:40]), index(pictures[40:]), ("a", "b"))
    seen, sizes, first = [], [], []
    for fold in range(5):
        parts = single(data, folds=5, fold=fold, seed=3)
        names = {(parts.val.path(i), tuple(parts.val.truth(i).labels)) for i in range(len(parts.val))}
        assert len(parts.train) + len(parts.val) == 47
        assert not set(parts.val.image_ids) & set(parts.train.image_ids)
        assert len(np.unique(np.concatenate([parts.val.image_ids, parts.train.image_ids]))) == 47
        seen += parts.val.image_ids.tolist()
        sizes.append(len(parts.val))
        first.append(int((parts.val.labels == 1).sum()))
        assert names
    assert sorted(seen) == list(range(1, 48)), "every picture is measured on once"
    assert max(sizes) - min(sizes) <= 1 and max(first) - min(first) <= 1


def test_folds_follow_from_the_seed():
    some = index([[(SMALL, 0)]] * 20)
    assert fold_of(some, 4, 0).tolist() == fold_of(some, 4, 0).tolist() != fold_of(some, 4, 1).tolist()
    assert np.bincount(fold_of(some, 4, 1)).tolist() == [5, 5, 5, 5]


def test_mean_box_by_hand():
    found = mean_box(index([[((0.0, 0.0, 30.0, 20.0), 0)], [((30.0, 10.0, 60.0, 40.0), 1), (LARGE, 0, "crowd")]]))
    assert found.dtype == np.float32 and found == pytest.approx([0.25, 0.125, 0.75, 0.75])
    with pytest.raises(DataError, match="no object"):
        mean_box(index([[]]))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"keep": "all"}, ConfigError, "data.keep=all: keep has to be single or largest"),
        ({"folds": 1}, ConfigError, "data.folds=1: .* at least 2"),
        ({"folds": 2.5}, ConfigError, "data.folds=2.5"),
        ({"folds": 5, "fold": 5}, ConfigError, "data.fold=5: of 5 folds, fold has to be 0 to 4"),
        ({"folds": 9}, DataError, "4 pictures with one object cannot be parted into 9 folds"),
    ],
)
def test_settings_that_cannot_be(settings, error, words):
    data = DetectionData(index(MIXED), index(MIXED), ("a", "b"))
    with pytest.raises(error, match=words):
        single(data, **settings)


def test_a_split_without_single_objects_is_named():
    with pytest.raises(DataError, match="the validation set is empty"):
        single(DetectionData(index(MIXED), index([[]]), ("a", "b")))


def test_raccoons(datasets_root):
    from visionkit.data.sources import voc

    raccoons = voc(str(datasets_root / "raccoon"), ["train"], ["val"])
    parts = [single(raccoons, folds=5, fold=fold) for fold in range(5)]
    assert [len(part.val) for part in parts] == [37, 37, 37, 37, 36]
    assert sum(len(part.val) for part in parts) == 184
