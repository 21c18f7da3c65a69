"""Files of others: what their numbers mean is stated, never guessed."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from visionkit.data.import_proposals import FORMATS, import_proposals
from visionkit.errors import ConfigError, DataError

SHAPES = [(30, 40), (44, 36), (25, 25)]
BOXES = [[[2, 3, 12, 23], [0, 0, 40, 30]], [[5, 6, 30, 40]], []]  # x1 y1 x2 y2, ours
ROWS = {  # the first box of the first picture as each format has it
    "selective_search": [4, 3, 23, 12],
    "edge_boxes": [3, 4, 10, 20],
    "bing": [3, 4, 12, 23],
    "coco": [2, 3, 10, 20],
    "corners": [2, 3, 12, 23],
}


def written(box: list[int], format: str) -> list[int]:
    """One of our boxes in the numbers of a format."""
    x1, y1, x2, y2 = box
    return {
        "selective_search": [y1 + 1, x1 + 1, y2, x2],
        "edge_boxes": [x1 + 1, y1 + 1, x2 - x1, y2 - y1],
        "bing": [x1 + 1, y1 + 1, x2, y2],
        "coco": [x1, y1, x2 - x1, y2 - y1],
        "corners": box,
    }[format]


def cells(values: list) -> np.ndarray:
    """A MATLAB cell array, 1 x N."""
    array = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        array[0, i] = value
    return array


@pytest.fixture
def index(many):
    return many(SHAPES)


@pytest.fixture
def mat(tmp_path):
    def write(rows: list, names: list[str] | None = None, path: Path = tmp_path / "others.mat") -> Path:
        arrays = [np.array(one, np.float64).reshape(len(one), -1) if len(one) else np.zeros((0, 4)) for one in rows]
        names = ["0", "1", "2"] if names is None else names
        savemat(path, {"boxes": cells(arrays), "images": cells([np.array([name]) for name in names])})
        return path

    return write


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("ending", [".mat", ".npz", ".json"])
def test_every_format_gives_the_same_boxes(index, mat, tmp_path, format, ending):
    rows = [[written(box, format) for box in boxes] for boxes in BOXES]
    assert rows[0][0] == ROWS[format]
    path = tmp_path / f"others{ending}"
    if ending == ".mat":
        mat(rows)
    elif ending == ".npz":
        np.savez(path, **{f"{i}.jpg": np.array(one, np.float32).reshape(-1, 4) for i, one in enumerate(rows)})
    else:
        path.write_text(json.dumps({f"many/{i}.jpg": one for i, one in enumerate(rows)}))
    found = import_proposals(path, index, format)
    assert [found.proposed(i)[0].tolist() for i in range(3)] == BOXES
    assert found.method == format and found.settings["format"] == format and found.settings["file"] == path.name
    assert (np.diff(found.proposed(0)[1]) < 0).all() and found.seconds_an_image() is None


def test_the_order_of_pictures_is_the_indexs_and_scores_rank(index, mat, tmp_path):
    path = mat([[[1, 1, 5, 5, 0.2], [2, 2, 9, 9, 0.8]], [[3, 3, 9, 9, 0.5]], [[1, 1, 4, 4, 0.1]]], ["2", "0", "1"])
    found = import_proposals(path, index, "bing", method="objectness")
    assert found.method == "objectness"
    assert found.proposed(2)[0].tolist() == [[1, 1, 9, 9], [0, 0, 5, 5]]
    assert found.proposed(2)[1].tolist() == pytest.approx([0.8, 0.2])


def test_packed_npz(index, tmp_path):
    path = tmp_path / "packed.npz"
    content = {"names": ["0", "1", "2"], "offsets": [0, 2, 2, 3], "boxes": [[0, 0, 5, 5], [1, 1, 9, 9], [2, 2, 7, 7]]}
    np.savez(path, **content, scores=[0.1, 0.9, 0.5])
    found = import_proposals(path, index, "corners")
    assert found.proposed(0)[0].tolist() == [[1, 1, 9, 9], [0, 0, 5, 5]] and len(found.proposed(1)[0]) == 0
    np.savez(path, **content | {"offsets": [0, 2, 2]})
    with pytest.raises(DataError, match="belong together"):
        import_proposals(path, index, "corners")


def test_coco_results_by_image_id(index, tmp_path):
    path = tmp_path / "results.json"
    rows = [{"image_id": 102, "bbox": [1, 1, 5, 5], "score": 0.3}, {"image_id": 100, "bbox": [0, 0, 9, 9], "score": 1}]
    path.write_text(json.dumps(rows))
    found = import_proposals(path, index, "coco")
    assert [len(found.proposed(i)[0]) for i in range(3)] == [1, 0, 1]
    assert found.proposed(2)[0].tolist() == [[1, 1, 6, 6]]


def test_the_wrong_order_is_refused_with_the_convention_in_the_message(index, mat):
    path = mat([[written(box, "corners") for box in boxes] for boxes in BOXES])
    with pytest.raises(DataError) as refusal:
        import_proposals(path, index, "coco")
    for word in ("others.mat", "format=coco", "x y w h, pixels counted from 0", "many/1.jpg", "outside"):
        assert word in str(refusal.value)
    with pytest.raises(DataError, match=r"format=selective_search: y1 x1 y2 x2, pixels counted from 1, the last"):
        import_proposals(path, index, "selective_search")


def test_pictures_that_are_missing_strange_or_there_twice(index, mat):
    rows = [[[1, 1, 5, 5]]] * 3
    with pytest.raises(DataError, match=r"no proposals of the picture .*2\.jpg"):
        import_proposals(mat(rows[:2], ["0", "1"]), index, "bing")
    report: list[str] = []
    import_proposals(mat([*rows, rows[0]], ["0", "1", "2", "strange"]), index, "bing", report=report)
    assert len(report) == 1 and "1 pictures are not in" in report[0] and "strange" in report[0]
    for names in (["0", "1", "0"], ["0", "1", "0.jpg"]):
        with pytest.raises(DataError, match="twice"):
            import_proposals(mat(rows, names), index, "bing")


def test_what_cannot_be_read_is_named(index, mat, tmp_path):
    with pytest.raises(ConfigError, match=r"format=yolo: one of selective_search"):
        import_proposals(tmp_path / "x.mat", index, "yolo")
    for ending, content, words in (
        (".txt", b"", "are read from .mat, .npz, .json"),
        (".mat", b"no MATLAB at all" * 20, "cannot be read"),
        (".npz", b"PK", "cannot be read"),
        (".json", b"{", "cannot be read"),
        (".json", b"3", "neither"),
        (".json", b'[{"image_id": 100, "score": 1}]', "it has no 'bbox'"),
        (".json", b'{"0": [[1, 2, 3]], "1": [], "2": []}', "rows of 4 numbers"),
        (".json", b'{"0": [[1, 2, 3, "x"]], "1": [], "2": []}', "picture 0"),
    ):
        path = tmp_path / f"broken{ending}"
        path.write_bytes(content)
        with pytest.raises(DataError) as refusal:
            import_proposals(path, index, "corners")
        assert words in str(refusal.value) and path.name in str(refusal.value)
    with pytest.raises(DataError, match="no such file"):
        import_proposals(tmp_path / "missing.mat", index, "corners")
    savemat(tmp_path / "plain.mat", {"boxes": np.zeros((3, 4)), "images": cells(["0"])})
    with pytest.raises(DataError, match="no cell arrays"):
        import_proposals(tmp_path / "plain.mat", index, "corners")
    savemat(tmp_path / "other.mat", {"images": cells(["0"])})
    with pytest.raises(DataError, match="it has no 'boxes'"):
        import_proposals(tmp_path / "other.mat", index, "corners")


def test_two_pictures_of_one_name_cannot_be_told_apart(tmp_path, many):
    from visionkit.data.index import concatenate

    index = many(SHAPES)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match="two pictures called"):
        import_proposals(tmp_path / "x.json", concatenate([index, index]), "corners")
