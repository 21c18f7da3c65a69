"""Region proposals through the tool: found, kept, compared with a network's, imported, and what goes wrong."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from visionkit.data.proposal_file import read_proposals


@pytest.fixture
def ask(tool, coco_tree, tmp_path):
    """The tool on the small tree; later arguments win."""

    def call(*arguments):
        usual = [*coco_tree.arguments, "workers=0", f"folder={tmp_path / 'kept'}", f"output={tmp_path / 'out'}"]
        given = {a.partition("=")[0]: a for a in (*usual, *arguments)}
        return tool("propose", *given.values())

    return call


def kept(tmp_path):
    return sorted((tmp_path / "kept").glob("*.npz"))


def test_both_splits_are_found_kept_and_measured(ask, tmp_path):
    outcome = ask()
    assert outcome.code == 0, outcome.err
    assert len(kept(tmp_path)) == 2 and "4 of 4 pictures (100 %)" in outcome.err
    for split in ("train", "val"):
        assert f"{split}: 4 pictures, 5 objects" in outcome.out
        row = json.loads((tmp_path / "out" / f"recall_{split}.json").read_text())
        assert row["selective_search/recall@0.5"] == 1.0 and row["selective_search/MABO"] > 0.8
        assert row["selective_search/boxes"] > 5 and row["selective_search/seconds"] > 0
        assert Image.open(tmp_path / "out" / f"recall_{split}.png").size[0] > 400
    assert "mean (MABO)" in outcome.out and str(kept(tmp_path)[0]) in outcome.out
    before = [path.stat().st_mtime_ns for path in kept(tmp_path)]
    again = ask()
    assert again.code == 0 and "pictures/s" not in again.err
    assert [path.stat().st_mtime_ns for path in kept(tmp_path)] == before


def test_several_methods_and_a_network_in_one_table(ask, trained, tmp_path):
    arguments = ["splits=val", "search=windows", "search.stride=0.5", f"checkpoint={trained.best}", "device=cpu"]
    outcome = ask(*arguments, "compare=[selective_search_single,windows]")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines[lines.index("val: 4 pictures, 5 objects") :] if line}
    assert {"selective_search_single", "windows", "rpn"} <= rows.keys()
    assert all(len(rows[name]) == 7 for name in ("selective_search_single", "windows", "rpn"))
    assert 0 < float(rows["rpn"][1]) <= 20  # task.rpn_test_top of the small detector
    stored = {read_proposals(path).method: read_proposals(path) for path in kept(tmp_path)}
    assert stored["windows"].settings["stride"] == 0.5  # of the command line
    assert len(stored) == 2 and not (tmp_path / "out" / "recall_train.json").exists()


def test_a_files_row_stands_beside_the_others(ask, tmp_path):
    assert ask("splits=val").code == 0
    outcome = ask("splits=val", f"compare=[windows,{kept(tmp_path)[0]}]")
    assert outcome.code == 0, outcome.err
    figures = json.loads((tmp_path / "out" / "recall_val.json").read_text())
    assert figures["selective_search/recall@0.5"] == 1.0 and "windows/AR" in figures


def test_a_file_of_others_becomes_ours(ask, coco_tree, tmp_path):
    names = [image["file_name"] for image in coco_tree.val["images"]]
    cells, boxes = np.empty((1, len(names)), object), np.empty((1, len(names)), object)
    for i, name in enumerate(names):
        cells[0, i] = np.array([name.partition(".")[0]])
        boxes[0, i] = np.array([[11.0, 6, 40, 36, 0.5], [1, 1, 20, 20, 0.9]])
    path = tmp_path / "theirs, 1.mat"
    savemat(path, {"boxes": boxes, "images": cells})
    outcome = ask("splits=val", f"import={path}", "format=edge_boxes")
    assert outcome.code == 0, outcome.err
    assert "val, edge_boxes: 8 boxes, 2 an image" in outcome.out
    found = read_proposals(kept(tmp_path)[0])
    assert found.proposed(0)[0].tolist() == [[0, 0, 20, 20], [10, 5, 50, 41]]


def test_mistakes_are_one_sentence(ask, tmp_path, tool):
    ask("splits=test").sentence(2, "splits=test", "train, val")
    ask("import=x.mat", "format=bing").sentence(2, "import", "splits=val")
    ask("splits=val", f"import={tmp_path / 'x.mat'}").sentence(2, "format", "edge_boxes")
    ask("splits=val", f"import={tmp_path / 'x.mat'}", "format=bing").sentence(3, "x.mat", "no such file")
    ask("format=bing").sentence(2, "import=FILE")
    ask("compare=[selectiv_search]").sentence(2, "selectiv_search", "did you mean selective_search")
    ask("search.mode=slow").sentence(2, "search", "slow")
    ask("search.min_sid=3").sentence(2, "min_side")
    ask("checkpoint=missing.pt", "splits=val").sentence(2, "missing.pt")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_a_proposal_network_is_refused(ask, tmp_path, tool):
    for name in ("cat", "dog"):
        for split in ("train", "val"):
            folder = tmp_path / "classes" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.full((20, 20, 3), len(name) * 30, np.uint8)).save(folder / "0.png")
    tool("propose", "data=folder", f"data.root={tmp_path / 'classes'}").sentence(2, "objects", "data=scenes")
