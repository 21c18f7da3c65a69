"""Proposals of an index: found, stored, found again, and matched by the bytes of the pictures."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visionkit.data import proposals as module
from visionkit.data.index import IndexBuilder
from visionkit.data.proposal_file import read_proposals, write_proposals
from visionkit.data.proposal_set import pack_proposals
from visionkit.data.proposals import default_folder, find_proposals, proposals_of, proposals_path
from visionkit.errors import DataError

SHAPES = [(30, 40), (44, 36), (25, 25), (50, 20)]


class Halves:
    """Two boxes a picture; counts its calls."""

    method = "halves"

    def __init__(self, share: float = 0.5) -> None:
        self.share = share
        self.calls: list[tuple[int, ...]] = []

    def settings(self) -> dict[str, Any]:
        return {"share": self.share}

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = image.shape[:2]
        if (height, width) != (16, 16):  # the call that warms up
            self.calls.append(image.shape)
        boxes = [[0, 0, width, height], [0, 0, round(width * self.share), height]]
        return np.array(boxes, np.float32), np.array([image.mean() / 255 + 1, 0.25], np.float32)


@pytest.fixture
def index(many):
    return many(SHAPES)


@pytest.fixture
def kept(tmp_path) -> Path:
    return tmp_path / "kept"


def test_found_once_and_read_from_then_on(index, kept):
    search = Halves()
    found = find_proposals(index, search, 0, kept)
    assert search.calls == [(*shape, 3) for shape in SHAPES]
    for i, (height, width) in enumerate(SHAPES):
        boxes, scores = found.proposed(i)
        assert boxes.tolist() == [[0, 0, width, height], [0, 0, round(width / 2), height]] and scores[1] == 0.25
    again = find_proposals(index, search, 0, kept)
    assert len(search.calls) == 4 and np.array_equal(again.boxes, found.boxes)
    assert again.source == str(proposals_path(index, search, kept)) and found.seconds > 0
    assert [p.name for p in kept.iterdir()] == [Path(again.source).name]


def test_workers_change_nothing(index, tmp_path):
    one, two = (find_proposals(index, Halves(), workers, tmp_path / str(workers)) for workers in (0, 2))
    assert np.array_equal(one.boxes, two.boxes) and np.array_equal(one.scores, two.scores)
    assert np.array_equal(one.digests, two.digests)


def test_other_settings_and_other_pictures_have_their_own_file(index, kept):
    for search, pictures in ((Halves(), index), (Halves(0.3), index), (Halves(), index.select([0, 2]))):
        find_proposals(pictures, search, 0, kept)
    assert len(list(kept.iterdir())) == 3
    assert len(find_proposals(index.select([]), Halves(), 0, kept)) == 0


def test_a_changed_picture_alone_is_searched_again(index, kept, many):
    search = Halves()
    find_proposals(index, search, 0, kept)
    shutil.copy(index.path(3), index.path(2))
    sizes = index.sizes.copy()
    sizes[2] = sizes[3]
    changed = replace(index, sizes=sizes)
    assert proposals_path(changed, search, kept) != proposals_path(index, search, kept)
    data = Path(index.path(1)).read_bytes()
    Path(index.path(0)).write_bytes(data)  # another picture under an old name, of the size of another file
    sizes[0] = sizes[1]
    search.calls.clear()
    found = find_proposals(replace(index, sizes=sizes), search, 0, kept)
    assert len(found) == 4 and len(search.calls) == 2  # two pictures are copies of the other two
    assert found.proposed(0)[0].tolist() == found.proposed(1)[0].tolist()


def test_the_same_name_with_new_bytes_is_found_again(index, kept):
    search = Halves()
    find_proposals(index, search, 0, kept)
    from PIL import Image

    Image.fromarray(np.full((*SHAPES[1], 3), 200, np.uint8)).save(index.path(1))
    search.calls.clear()
    found = find_proposals(index, search, 0, kept)
    assert search.calls == [(*SHAPES[1], 3)] and found.proposed(1)[1][0] == pytest.approx(1 + 200 / 255, abs=1e-3)
    assert len(read_proposals(found.source)) == 4


def test_an_interrupted_search_goes_on_where_it_was(index, kept):
    class Interrupted(Halves):
        def __call__(self, image):
            if image.shape[:2] == SHAPES[2] and not finish:
                raise KeyboardInterrupt
            return super().__call__(image)

    finish = False
    with pytest.raises(KeyboardInterrupt):
        find_proposals(index, Interrupted(), 0, kept)
    assert not list(kept.glob("*.npz")) and len(list(kept.rglob("*.npz"))) == 1
    finish = True
    search = Interrupted()
    found = find_proposals(index, search, 0, kept)
    assert search.calls == [(*SHAPES[2], 3), (*SHAPES[3], 3)]
    assert np.array_equal(found.boxes, find_proposals(index, Halves(), 0, kept / "other").boxes)
    assert not list(kept.rglob("*.parts"))


def test_long_searches_are_written_on_the_way(index, kept, monkeypatch):
    monkeypatch.setattr(module, "PART_SECONDS", 0.0)
    written = []
    write = module.write_proposals
    monkeypatch.setattr(module, "write_proposals", lambda path, one: (written.append(len(one)), write(path, one)))
    assert len(find_proposals(index, Halves(), 0, kept)) == 4
    assert written == [1, 1, 1, 1, 4] and len(list(kept.iterdir())) == 1


def test_a_broken_picture_is_named_and_what_was_found_is_kept(index, kept):
    Path(index.path(2)).write_bytes(Path(index.path(2)).read_bytes()[:300])
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"2\.jpg cannot be read"):
            find_proposals(index, Halves(), workers, kept)
    assert len(list(kept.rglob("*.npz"))) >= 1


def test_a_picture_of_another_size_than_stated_is_named(index, kept):
    sizes = index.sizes.copy()
    sizes[1] = (7, 7)
    with pytest.raises(DataError, match=r"1\.jpg has 44 x 36 pixels, and 7 x 7"):
        find_proposals(replace(index, sizes=sizes), Halves(), 0, kept)


def test_a_folder_that_cannot_be_made_is_named(index, kept):
    kept.write_text("a file in the way")
    search = Halves()
    with pytest.raises(DataError, match="cannot write to"):
        find_proposals(index, search, 0, kept)
    assert search.calls == []  # known before the work


def test_advice_is_printed_once(index, kept, capsys):
    search = Halves()
    search.advice = lambda: "install something."  # type: ignore[attr-defined]
    find_proposals(index, search, 0, kept)
    find_proposals(index, search, 0, kept)
    assert capsys.readouterr().err.count("install something.") == 1


def test_the_default_folder_is_never_among_shared_data(monkeypatch, tmp_path):
    monkeypatch.setenv("VISIONKIT_DATASETS", str(tmp_path))
    assert default_folder().parts[-2:] == ("datasets", "proposals") and tmp_path not in default_folder().parents


@pytest.fixture
def found(index, kept):
    return find_proposals(index, Halves(), 0, kept)


def test_several_files_and_another_order(index, found):
    parts = [found.select([3, 1]), found.select([2, 0, 1])]
    joined = proposals_of(index, parts, Halves())
    assert np.array_equal(joined.boxes, found.boxes) and np.array_equal(joined.digests, found.digests)
    few = proposals_of(index.select([2, 2, 0]), parts)
    assert np.array_equal(few.proposed(0)[0], few.proposed(1)[0]) and len(few) == 3
    assert len(proposals_of(index.select([]), parts)) == 0


def test_a_moved_picture_is_known_by_its_bytes(index, found, tmp_path):
    builder = IndexBuilder(["a"], "moved")
    for i, shape in enumerate(SHAPES):
        path = tmp_path / "moved" / f"other{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        os.rename(index.path(i), path)
        builder.add_image(str(path), i, shape)
    assert np.array_equal(proposals_of(builder.build(), [found]).boxes, found.boxes)


def altered(found, boxes=None, scores=None, **changes):
    """The second picture's proposals replaced."""
    rows = [found.proposed(i) for i in range(len(found))]
    rows[1] = (np.array(boxes, np.float32) if boxes is not None else rows[1][0], np.array(scores or [0.5], np.float32))
    names = [found.name(i) for i in range(len(found))]
    packed = pack_proposals(found.method, found.settings, names, found.digests, found.sizes, rows, source="p.npz")
    return replace(packed, **changes)


@pytest.mark.parametrize(
    ("boxes", "scores", "words"),
    [
        ([[0, 0, np.nan, 3]], None, "0 0 nan 3, is not finite"),
        ([[0, 0, np.inf, 3]], None, "is not finite"),
        ([[0, 0, 3, 3]], [np.nan], "score that is not finite"),
        ([[0, 0, 3, 3], [5, 5, 5, 9]], [1, 0.5], "proposal 2, 5 5 5 9, has no extent"),
        ([[40, 2, 50, 9]], None, "outside of the picture"),
        ([[-9, -9, -1, -1]], None, "outside of the picture"),
        ([[0, 0, 38, 9]], None, "by more than a pixel"),
    ],
)
def test_impossible_boxes_are_refused_by_name(index, found, boxes, scores, words):
    with pytest.raises(DataError) as refusal:
        proposals_of(index, [altered(found, boxes, scores)])
    assert words in str(refusal.value) and str(refusal.value).startswith("p.npz: picture many/1.jpg (44 x 36)")


def test_a_pixel_outside_is_clipped_and_said(index, found):
    report: list[str] = []
    clipped = proposals_of(index, [altered(found, [[-0.5, 0, 37, 44]])], report=report)
    assert clipped.proposed(1)[0].tolist() == [[0, 0, 36, 44]]
    assert len(report) == 1 and "1 proposals" in report[0] and "many/1.jpg" in report[0]
    unchanged: list[str] = []
    proposals_of(index, [found], report=unchanged)
    assert unchanged == []


def test_missing_and_changed_pictures_are_refused_by_name(index, found):
    with pytest.raises(DataError, match=r"p\.npz: no proposals of the picture .*3\.jpg"):
        proposals_of(index, [replace(found.select([0, 1, 2]), source="p.npz")])
    with open(index.path(1), "ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"1\.jpg has changed since"):
        proposals_of(index, [found])
    with pytest.raises(DataError, match="no proposals are given"):
        proposals_of(index, [])


def test_another_size_is_refused_by_name(index, found):
    sizes = found.sizes.copy()
    sizes[0] = (31, 40)
    with pytest.raises(DataError, match=r"many/0\.jpg are for 31 x 40 pixels, and the picture has 30 x 40"):
        proposals_of(index, [replace(found, sizes=sizes)])


def test_other_methods_and_settings_are_refused_by_name(index, found):
    with pytest.raises(DataError, match=r"share=0\.5, and share=0\.25 is asked for"):
        proposals_of(index, [found], Halves(0.25))
    with pytest.raises(DataError, match="was made by windows, and halves is asked for"):
        proposals_of(index, [replace(found, method="windows")], Halves())
    with pytest.raises(DataError, match="other settings"):
        proposals_of(index, [found, replace(found, settings={"share": 1})])
    assert len(proposals_of(index, [replace(found, method="windows")])) == 4  # nobody asked for a search


def test_stored_proposals_that_were_tampered_with_are_found_out(index, found):
    path = Path(found.source)
    write_proposals(path, altered(found, [[0, 0, 500, 9]]))
    with pytest.raises(DataError, match="by more than a pixel"):
        find_proposals(index, Halves(), 0, path.parent)
