import pickle

import numpy as np
import pytest

from visionkit.data.index import DetectionIndex, IndexBuilder, concatenate
from visionkit.data.proposal_set import pack_proposals
from visionkit.errors import DataError


def small() -> DetectionIndex:
    builder = IndexBuilder(["cat", "dog"], "small.json", category_ids=[4, 90])
    builder.add_image("a/é.jpg", 12, (30, 40))
    builder.add_object((1, 2, 3, 4), 1, crowd=True, area=3.5, object_id=0)
    builder.add_object((5, 6, 9, 10), 0, difficult=True, segmentation=[[5.0, 6.0, 9.0, 6.0, 9.0, 10.0]])
    builder.add_image("empty.jpg", 7, (50, 20))
    builder.add_image("c.jpg", 9, (8, 8))
    builder.add_object((0, 0, 8, 4), 1)
    return builder.build(["one line."])


def test_what_goes_in_comes_out() -> None:
    index = small()
    assert (len(index), index.objects, index.names, index.report) == (3, 3, ("cat", "dog"), ["one line."])
    assert [index.path(i) for i in range(3)] == ["a/é.jpg", "empty.jpg", "c.jpg"]
    assert [index.image_id(i) for i in range(3)] == [12, 7, 9]
    assert index.size(1) == (50, 20) and index.aspect(1) == pytest.approx(0.4)
    truth = index.truth(0)
    assert truth.boxes.dtype == np.float32 and truth.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 9, 10]]
    assert truth.labels.dtype == np.int64 and truth.labels.tolist() == [1, 0]
    assert truth.crowd.tolist() == [True, False] and truth.difficult.tolist() == [False, True]
    assert truth.area.dtype == np.float64 and truth.area.tolist() == [3.5, 16.0]
    assert truth.ids.tolist() == [0, 2]


def test_image_without_objects() -> None:
    truth = small().truth(1)
    assert truth.boxes.shape == (0, 4) and truth.labels.shape == (0,)
    assert small().masks(1).shape == (0, 50, 20)


def test_index_without_images() -> None:
    index = IndexBuilder([], "nothing").build()
    assert len(index) == 0 and index.objects == 0 and index.class_counts().tolist() == []
    assert len(index.select([])) == 0 and len(index.rename(["a"])) == 0


def test_truth_is_a_copy() -> None:
    index = small()
    index.truth(0).boxes[:] = 99
    assert index.truth(0).boxes[0, 0] == 1


def test_everything_is_held_in_arrays() -> None:
    """A list or dict whose length is the number of images would be copied into every worker, page by page."""
    index = small()
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    given = pack_proposals("none", {}, ["x"] * 3, range(3), [(4, 4)] * 3, [nothing] * 3)
    for held in (index, given):
        for name, value in vars(held).items():
            if name not in ("names", "source", "report", "proposals", "method", "settings", "seconds"):
                assert type(value).__name__ in ("ndarray", "Blobs"), name


def test_select_keeps_objects_with_their_images() -> None:
    index = small().select([2, 0])
    assert [index.path(i) for i in range(2)] == ["c.jpg", "a/é.jpg"]
    assert index.truth(0).boxes.tolist() == [[0, 0, 8, 4]] and len(index.truth(1).labels) == 2
    assert index.segmentation(1)[1] == [[5.0, 6.0, 9.0, 6.0, 9.0, 10.0]] and index.segmentation(0) == [None]


def test_with_objects_drops_the_others() -> None:
    assert small().with_objects().image_ids.tolist() == [12, 9]


def test_rename_joins_by_name() -> None:
    index = small().rename(["bird", "dog", "cat"])
    assert index.truth(0).labels.tolist() == [1, 2] and index.truth(2).labels.tolist() == [1]
    assert index.class_counts().tolist() == [0, 2, 1]
    assert index.category_ids.tolist() == [91, 90, 4]  # the file's own stay; a new class gets a free one


def test_rename_to_unknown_class_names_it_and_the_file() -> None:
    with pytest.raises(DataError, match=r"small\.json.*'cat'.*dog"):
        small().rename(["dog"])


def test_rename_forgets_classes_without_objects() -> None:
    index = small().select([2]).rename(["dog"])
    assert index.truth(0).labels.tolist() == [0]


def test_concatenate_renumbers() -> None:
    index = concatenate([small(), small().select([2])])
    assert len(index) == 4 and index.image_ids.tolist() == [1, 2, 3, 4] and index.ids.tolist() == [1, 2, 3, 4]
    assert index.path(3) == "c.jpg" and index.truth(3).boxes.tolist() == [[0, 0, 8, 4]]
    assert index.has_masks and index.segmentation(3) == [None]
    with pytest.raises(ValueError, match="class names"):
        concatenate([small(), small().rename(["dog", "cat"])])


def test_masks() -> None:
    masks = small().masks(0)
    assert masks.shape == (2, 30, 40) and masks.dtype == bool
    assert masks[0].sum() == 4 and masks[0, 2:4, 1:3].all()  # no segmentation: the filled box
    assert 0 < masks[1].sum() < 16 and not masks[1, 9, 5]  # a triangle
    builder = IndexBuilder(["a"], "boxes.json")
    builder.add_image("a.jpg", 1, (9, 9))
    builder.add_object((0, 0, 5, 5), 0)
    assert not builder.build().has_masks
    with pytest.raises(DataError, match="no masks"):
        builder.build().masks(0)


def test_thin_box_mask_is_not_empty() -> None:
    builder = IndexBuilder(["a"], "x")
    builder.add_image("a.jpg", 1, (9, 9))
    builder.add_object((2.1, 3.1, 2.3, 3.2), 0)
    builder.add_object((8.6, 8.6, 9, 9), 0)
    builder.add_object((0, 0, 5, 5), 0, segmentation=[[0, 0, 4, 0, 4, 4]])
    assert builder.build().masks(0)[:2].any((1, 2)).all()


def test_pickles() -> None:
    assert pickle.loads(pickle.dumps(small())).truth(0).labels.tolist() == [1, 0]
