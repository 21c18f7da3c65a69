import json
import os

import numpy as np
import pytest

from visionkit.data.proposal_file import read_proposals, write_proposals
from visionkit.data.proposal_set import (
    ProposalSet,
    join_proposals,
    pack_proposals,
    settings_digest,
    short_name,
)
from visionkit.errors import DataError


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.fixture
def three() -> ProposalSet:
    """Three pictures, the second without a proposal."""
    proposed = [
        (boxes((0, 0, 5, 5), (1, 2, 9, 8)), np.array([0.9, 0.4])),
        (boxes(), np.zeros(0)),
        (boxes((3, 3, 8, 9.5)), np.array([0.7])),
    ]
    names, sizes = ["a/1.jpg", "a/2.jpg", "a/ü.jpg"], [(10, 12), (8, 8), (20, 10)]
    digests = [1, 2**64 - 1, 3]
    return pack_proposals("windows", {"stride": 0.5, "scales": (1, 2)}, names, digests, sizes, proposed, seconds=6.0)


def same(a: ProposalSet, b: ProposalSet) -> bool:
    arrays = ("digests", "sizes", "offsets", "boxes", "scores")
    values = (a.method, a.settings, a.seconds, [a.name(i) for i in range(len(a))])
    return values == (b.method, b.settings, b.seconds, [b.name(i) for i in range(len(b))]) and all(
        np.array_equal(getattr(a, k), getattr(b, k)) and getattr(a, k).dtype == getattr(b, k).dtype for k in arrays
    )


def test_rows_and_figures(three):
    assert len(three) == 3 and three.size(2) == (20, 10) and three.name(2) == "a/ü.jpg"
    assert three.proposed(0)[0].tolist() == [[0, 0, 5, 5], [1, 2, 9, 8]]
    assert three.proposed(0)[1].dtype == np.float32 and three.proposed(1)[0].shape == (0, 4)
    assert three.boxes_an_image() == 1.0 and three.seconds_an_image() == 2.0
    assert three.settings == {"stride": 0.5, "scales": [1, 2]}


def test_select_best_and_join(three):
    turned = three.select([2, 0])
    assert turned.name(0) == "a/ü.jpg" and turned.proposed(1)[0].tolist() == three.proposed(0)[0].tolist()
    assert turned.seconds == pytest.approx(4.0)
    first = three.best(1)
    assert np.diff(first.offsets).tolist() == [1, 0, 1] and first.proposed(0)[0].tolist() == [[0, 0, 5, 5]]
    assert np.diff(three.best(0).offsets).tolist() == [0, 0, 0]
    assert same(join_proposals([three.select([0]), three.select([1, 2])]), three)
    assert len(three.select([])) == 0 and three.select([]).boxes.shape == (0, 4)


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_gives_back_what_was_written(three, tmp_path, whole):
    given = three.select([0, 1]) if whole else three
    path = tmp_path / "new" / "p.npz"
    write_proposals(path, given)
    found = read_proposals(path)
    assert same(found, given) and found.source == str(path)
    assert sorted(os.listdir(path.parent)) == ["p.npz"]
    with np.load(path) as file:
        assert file["boxes"].dtype == (np.uint16 if whole else np.float32)


def test_no_pictures_at_all(tmp_path):
    nothing = pack_proposals("windows", {}, [], [], [], [])
    write_proposals(tmp_path / "p.npz", nothing)
    assert len(read_proposals(tmp_path / "p.npz")) == 0
    assert nothing.boxes_an_image() == 0 and nothing.seconds_an_image() is None


def test_a_failed_write_leaves_the_old_file(three, tmp_path, monkeypatch):
    path = tmp_path / "p.npz"
    write_proposals(path, three)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(DataError, match="cannot write .*No space left"):
        write_proposals(path, three.best(0))
    assert same(read_proposals(path), three) and os.listdir(tmp_path) == ["p.npz"]


def test_broken_and_foreign_files_are_named(three, tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(DataError, match=r"p\.npz: there is no such"):
        read_proposals(path)
    write_proposals(path, three)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"p\.npz: is no proposal file, or a broken one"):
        read_proposals(path)
    flipped = bytearray(data)
    flipped[data.index(b"boxes.npy") + 60] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(DataError, match=r"p\.npz: is no proposal file, or a broken one"):
        read_proposals(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DataError, match="import=FILE"):
        read_proposals(path)
    with np.load(path.with_name("p.npz")) as file:
        assert file.files == ["other"]
    write_proposals(path, three)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["offsets"] = arrays["offsets"][:-1]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="broken one"):
        read_proposals(path)
    arrays["about"] = np.frombuffer(json.dumps({"format": 99, "method": "", "settings": {}}).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="format 99"):
        read_proposals(path)


def test_fields_that_do_not_belong_together(three):
    with pytest.raises(ValueError, match="belong together"):
        ProposalSet("m", {}, three.names, three.digests, three.sizes, three.offsets, three.boxes[:1], three.scores)


def test_names_and_digests():
    assert short_name("/data/voc/JPEGImages/7.jpg") == "JPEGImages/7.jpg" and short_name("7.jpg") == "7.jpg"
    assert settings_digest("m", {"a": (1, 2), "b": 1}) == settings_digest("m", {"b": 1, "a": [1, 2]})
    assert settings_digest("m", {"a": 1}) != settings_digest("n", {"a": 1}) != settings_digest("n", {"a": 2})
