import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from visionkit.ops import compiled as numba_room
from visionkit.ops.boxes import iou
from visionkit.ops.selective_search import MODES, SelectiveSearch

THINGS = [(10, 12, 40, 44), (60, 20, 110, 50), (30, 70, 70, 96)]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Three coloured things on a ground with some texture, (110, 130, 3)."""
    random = np.random.default_rng(0)
    image = random.normal((90, 110, 80), 6, (110, 130, 3))
    for (x1, y1, x2, y2), color in zip(THINGS, [(200, 40, 50), (40, 60, 220), (230, 210, 60)], strict=True):
        image[y1:y2, x1:x2] = random.normal(color, 6, (y2 - y1, x2 - x1, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("mode", MODES)
def test_things_are_found(mode, picture):
    boxes, scores = SelectiveSearch(mode)(picture)
    best = iou(torch.tensor(THINGS).float(), torch.from_numpy(boxes)).max(dim=1).values
    assert (best > 0.85).all(), best
    assert boxes.dtype == scores.dtype == np.float32 and len(boxes) == len(scores)
    assert (np.diff(scores) <= 0).all() and scores.min() > 0 and scores.max() <= 1
    assert (boxes >= 0).all() and (boxes[:, 2] <= 130).all() and (boxes[:, 3] <= 110).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_more_groupings_find_more(picture):
    search = SelectiveSearch("fast")
    counts = [len(SelectiveSearch(mode)(picture)[0]) for mode in ("single", "fast", "quality")]
    assert counts[0] < counts[1] < counts[2]
    assert [len(SelectiveSearch(mode).hierarchies(picture)) for mode in MODES] == [1, 8, 80]
    assert any((one[-1] == [0, 0, 130, 110]).all() for one in search.hierarchies(picture))


def test_the_same_bits_again_and_in_another_process_with_other_threads(picture, tmp_path):
    search = SelectiveSearch()
    boxes, scores = search(picture)
    again = search(picture.copy())
    assert np.array_equal(boxes, again[0]) and np.array_equal(scores, again[1])
    np.save(tmp_path / "picture.npy", picture)
    code = (
        "import sys, numpy as np\nfrom visionkit.ops.selective_search import SelectiveSearch\n"
        "boxes, scores = SelectiveSearch()(np.load(sys.argv[1] + '/picture.npy'))\n"
        "np.savez(sys.argv[1] + '/found.npz', boxes=boxes, scores=scores)"
    )
    run = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(run, check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "3"})
    with np.load(tmp_path / "found.npz") as other:
        assert np.array_equal(boxes, other["boxes"]) and np.array_equal(scores, other["scores"])


def test_without_numba_the_same_bits(picture, monkeypatch):
    small = picture[5:50, 5:60]
    boxes, scores = SelectiveSearch()(small)
    numba_room._build.cache_clear()
    monkeypatch.setattr(numba_room, "has_numba", lambda: False)
    slow = SelectiveSearch()(small)
    numba_room._build.cache_clear()
    assert np.array_equal(slow[0], boxes) and np.array_equal(slow[1], scores) and len(boxes) > 10


def test_narrow_boxes_go_and_small_pictures_keep_smaller_ones(picture):
    sides = [(box[:, 2:] - box[:, :2]).min() for box in (SelectiveSearch(min_side=s)(picture)[0] for s in (20, 100))]
    assert 20 * 130 / 500 <= sides[0] < 20 and sides[1] >= 100 * 130 / 500
    large = picture.repeat(4, axis=0).repeat(4, axis=1)  # 440 x 520: the settings as they stand
    found = SelectiveSearch("single")(large)[0]
    assert (found[:, 2:] - found[:, :2]).min() >= 20
    none, scores = SelectiveSearch(min_side=2000)(picture)
    assert none.shape == (0, 4) and scores.shape == (0,)


def test_top_is_a_beginning_and_the_seed_makes_the_order(picture):
    boxes, scores = SelectiveSearch()(picture)
    first, its_scores = SelectiveSearch(top=7)(picture)
    assert np.array_equal(first, boxes[:7]) and np.array_equal(its_scores, scores[:7])
    other = SelectiveSearch(seed=1)(picture)[0]
    assert not np.array_equal(other, boxes)
    assert {tuple(b) for b in other.tolist()} == {tuple(b) for b in boxes.tolist()}


def test_large_regions_tend_to_come_first_but_not_all_of_them(picture):
    boxes, _ = SelectiveSearch("quality")(picture)
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    third = len(sizes) // 3
    assert np.median(sizes[:third]) > 1.5 * np.median(sizes[-third:])
    assert not (np.diff(sizes) <= 0).all()


def test_fast_mode_has_a_bound():
    noise = np.random.default_rng(0).integers(0, 256, (180, 240, 3)).astype(np.uint8)
    assert len(SelectiveSearch("fast", min_side=1, min_size=20, k=(1,))(noise)[0]) == 2500


def test_a_large_picture_is_searched_at_a_thousand_pixels(picture):
    large = picture.repeat(10, axis=0).repeat(10, axis=1)  # 1100 x 1300
    boxes, _ = SelectiveSearch("single")(large)
    best = iou(10 * torch.tensor(THINGS).float(), torch.from_numpy(boxes)).max(dim=1).values
    assert (best > 0.85).all(), best
    assert boxes[:, 2].max() == 1300 and boxes[:, 3].max() == 1100


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 2)])
@pytest.mark.parametrize("value", [0, 255])
def test_tiny_and_flat_pictures(shape, value):
    boxes, scores = SelectiveSearch(min_side=1)(np.full((*shape, 3), value, np.uint8))
    assert boxes.tolist() == [[0, 0, shape[1], shape[0]]] and scores.shape == (1,)


def test_settings_are_plain_and_tell_what_differs():
    plain = SelectiveSearch().settings()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["k"] == [50, 100] and plain["sigma"] == 0.8 and plain["min_side"] == 20
    others = [SelectiveSearch("single"), SelectiveSearch(k=[50]), SelectiveSearch(min_side=4), SelectiveSearch(seed=1)]
    assert all(other.settings() != plain for other in others)


def test_what_is_refused():
    with pytest.raises(ValueError, match="single, fast, quality"):
        SelectiveSearch("slow")
    for wrong in ({"min_side": -1}, {"sigma": -1}, {"min_size": 0}, {"top": 0}, {"k": []}, {"k": [-1]}):
        with pytest.raises(ValueError, match="at least"):
            SelectiveSearch(**wrong)
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            SelectiveSearch()(image)


def test_a_missing_numba_is_said_in_one_sentence(monkeypatch):
    assert SelectiveSearch().advice() is None
    monkeypatch.setattr("visionkit.ops.selective_search.has_numba", lambda: False)
    assert "numba is not installed" in (SelectiveSearch().advice() or "")
