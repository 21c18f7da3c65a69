"""Nearest pictures through the tool: vectors that are kept and used again, and what goes wrong."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import picture, run_tool

import visionkit
from visionkit.models.pixels import batch_of

SMALL = (
    *("task=classify", "backbone=basic_resnet", "backbone.widths=[8,8,16,16]", "task.size=32"),
    *("trainer.max_steps=1", "trainer.batch_size=4", "trainer.workers=0", "trainer.evaluate_epochs=0"),
    *("trainer.device=cpu", "optim=sgd", "optim.lr=0.01", "schedule=constant"),
)
CLASSES = ("cross", "disc", "square")


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classified")
    tree = folder / "tree"
    for split, count in (("train", 4), ("val", 2)):
        for k, name in enumerate(CLASSES):
            (tree / split / name).mkdir(parents=True)
            for i in range(count):
                image = picture((40 + 2 * i, 36), [(name, (4, 4, 32, 32))], 10 * k + i)
                Image.fromarray(image).save(tree / split / name / f"{i}.png")
    before = torch.are_deterministic_algorithms_enabled()
    for seed in (0, 1):
        run = f"output={folder / f'run{seed}'}"
        assert run_tool("train", *SMALL, "data=folder", f"data.root={tree}", run, f"seed={seed}") == 0
    torch.use_deterministic_algorithms(before)
    best = [folder / f"run{seed}" / "checkpoints/best.pt" for seed in (0, 1)]
    return SimpleNamespace(tree=tree, best=best[0], other=best[1])


@pytest.fixture
def gallery(classified, tmp_path) -> Path:
    """A copy of the training pictures, for a test to change."""
    return Path(shutil.copytree(classified.tree / "train", tmp_path / "gallery"))


@pytest.fixture
def ask(tool, classified, gallery, tmp_path):
    """The tool with the usual arguments; later ones win."""

    def call(*arguments):
        usual = [f"checkpoint={classified.best}", f"source={gallery}", f"query={gallery / 'disc'}", "workers=0"]
        given = {a.partition("=")[0]: a for a in (*usual, "count=3", f"output={tmp_path / 'out'}", *arguments)}
        return tool("retrieve", *given.values())

    return call


def found(folder: Path) -> dict[str, list[dict]]:
    return {row["query"]: row["nearest"] for row in json.loads((folder / "nearest.json").read_text())}


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_the_nearest_are_those_of_the_vectors(ask, classified, gallery, tmp_path, distance):
    outcome = ask(f"distance={distance}", "count=4")
    assert outcome.code == 0, outcome.err
    assert "12 pictures: 12 vectors computed, 0 taken" in outcome.out
    assert "12 of 12 pictures (100 %)" in outcome.err and "pictures/s" in outcome.err
    model = visionkit.load(classified.best).model
    paths = sorted(gallery.rglob("*.png"))
    with torch.inference_mode():
        rows = torch.cat([model.features(batch_of(np.asarray(Image.open(p)), model.resize)) for p in paths]).double()
    if distance == "cosine":
        rows = rows / rows.norm(dim=1, keepdim=True)
        table = 1 - rows @ rows.T
    else:
        table = torch.cdist(rows, rows)
    shown = found(tmp_path / "out")
    assert list(shown) == [str(gallery / "disc" / f"{i}.png") for i in range(4)]
    for path, nearest in shown.items():
        own = paths.index(Path(path))
        order = [i for i in table[own].argsort().tolist() if i != own][:4]
        assert [n["file"] for n in nearest] == [str(paths[i]) for i in order]
        assert [n[distance] for n in nearest] == pytest.approx([float(table[own][i]) for i in order], abs=1e-4)
        assert [n["class"] for n in nearest] == [paths[i].parent.name for i in order]
        assert f"{Path(path).relative_to(gallery)} (of the gallery; itself left out)" in outcome.out
    same = sum(n["class"] == "disc" for nearest in shown.values() for n in nearest)
    assert f"{same} of 16 nearest pictures" in outcome.out
    sheet = np.asarray(Image.open(tmp_path / "out/nearest_01.jpg"))
    assert sheet.shape[0] > 4 * 144 and sheet.shape[1] > 5 * 144 and sheet.std() > 10


def test_vectors_are_used_again_and_only_changes_are_computed(ask, gallery, tmp_path):
    file = tmp_path / "kept" / "vectors.npz"
    assert ask(f"features={file}").code == 0
    before, written = found(tmp_path / "out"), file.read_bytes()
    outcome = ask(f"features={file}")
    assert f"0 vectors computed, 12 taken from {file}" in outcome.out
    assert found(tmp_path / "out") == before and file.read_bytes() == written
    with np.load(file) as content:
        assert content["names"].tolist() == sorted(p.relative_to(gallery).as_posix() for p in gallery.rglob("*.png"))
        assert content["features"].dtype == np.float32 and content["features"].shape == (12, 16)
        assert content["sizes"].tolist() == [p.stat().st_size for p in sorted(gallery.rglob("*.png"))]
        assert "basic_resnet of " in str(content["model"])

    Image.fromarray(picture((40, 40), [("disc", (8, 8, 20, 20))], 99)).save(gallery / "cross/0.png")  # changed
    Image.fromarray(picture((40, 40), [("disc", (8, 8, 30, 20))], 98)).save(gallery / "cross/new.png")
    (gallery / "square/3.png").unlink()
    (gallery / "square/2.png").rename(gallery / "square/renamed.png")
    outcome = ask(f"features={file}")
    assert (
        "12 pictures: 2 vectors computed, 10 taken" in outcome.out and "2 pictures are no longer there" in outcome.out
    )
    with np.load(file) as content:
        assert "cross/new.png" in content["names"] and "square/3.png" not in content["names"]


def test_a_copy_of_the_query_is_found_at_zero_and_hidden_files_are_not(ask, gallery, tmp_path):
    shutil.copy(gallery / "disc/1.png", gallery / "cross/copy.png")
    (gallery / ".cache").mkdir()
    shutil.copy(gallery / "disc/1.png", gallery / ".cache/1.png")
    shutil.copy(gallery / "disc/1.png", gallery / "disc/.hidden.png")
    outcome = ask(f"query={gallery / 'disc/1.png'}")
    assert outcome.code == 0 and "13 pictures" in outcome.out
    (nearest,) = found(tmp_path / "out").values()
    assert nearest[0]["file"] == str(gallery / "cross/copy.png") and nearest[0]["l2"] == 0


def test_a_query_from_elsewhere_and_more_neighbours_than_pictures(ask, classified, tmp_path):
    outcome = ask(f"query={classified.tree / 'val'}", "count=50")
    assert outcome.code == 0 and "itself left out" not in outcome.out
    shown = found(tmp_path / "out")
    assert len(shown) == 6 and all(len(nearest) == 12 for nearest in shown.values())
    assert "24 of 72 nearest pictures (33.3 %)" in outcome.out


def test_at_most_twenty_rows_a_sheet_and_none_of_an_earlier_run(ask, gallery, tmp_path):
    for i in range(20):
        shutil.copy(gallery / "disc/0.png", gallery / f"disc/copy{i:02d}.png")
    assert ask(f"query={gallery / 'disc'}").code == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.jpg")) == ["nearest_01.jpg", "nearest_02.jpg"]
    assert ask(f"query={gallery / 'disc/0.png'}").code == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.jpg")) == ["nearest_01.jpg"]


def test_a_file_of_another_model_is_refused(ask, classified, tmp_path):
    assert ask().code == 0
    outcome = ask(f"checkpoint={classified.other}")
    outcome.sentence(2, "features.npz holds vectors of another model", str(classified.best), str(classified.other))


def test_a_broken_file_of_vectors(ask, tmp_path):
    (tmp_path / "out").mkdir()
    for content in (b"", b"no zip at all", b"PK\x03\x04 and then nothing"):
        (tmp_path / "out/features.npz").write_bytes(content)
        ask().sentence(3, "features.npz cannot be read as a file of vectors")


def test_an_unreadable_picture_is_named_and_what_was_computed_is_kept(ask, gallery, tmp_path):
    whole = (gallery / "square/1.png").read_bytes()
    (gallery / "square/1.png").write_bytes(whole[:60])
    ask("batch_size=2").sentence(3, str(gallery / "square/1.png"), "cannot be read")
    (gallery / "square/1.png").write_bytes(whole)
    outcome = ask("batch_size=2")
    assert outcome.code == 0 and "4 vectors computed, 8 taken" in outcome.out


def test_published_weights_in_place_of_a_checkpoint(tool, classified, gallery, tmp_path):
    """A checkpoint is a weights file too, and its vectors are the same whichever way it comes."""
    network = ["task=classify", "backbone=basic_resnet", "backbone.widths=[8,8,16,16]", "task.size=32"]
    rest = [f"source={gallery}", f"query={gallery}", "workers=0", "count=2"]
    outcome = tool("retrieve", *network, f"backbone.weights={classified.best}", *rest, f"output={tmp_path / 'a'}")
    assert outcome.code == 0, outcome.err
    assert "tensors loaded" in outcome.out
    assert tool("retrieve", f"checkpoint={classified.best}", *rest, f"output={tmp_path / 'b'}").code == 0
    assert found(tmp_path / "a") == found(tmp_path / "b")


def test_one_sentence(ask, tool, classified, gallery, tmp_path):
    (tmp_path / "empty/.hidden").mkdir(parents=True)
    shutil.copy(gallery / "disc/0.png", tmp_path / "empty/.hidden/0.png")
    (tmp_path / "nothing").mkdir()
    ask(f"source={tmp_path / 'nothing'}").sentence(3, "nothing holds no image")
    ask(f"source={tmp_path / 'empty'}").sentence(3, "empty holds no image that is not hidden")
    ask(f"source={gallery / 'disc/0.png'}").sentence(3, "is no folder")
    ask(f"query={tmp_path / 'nowhere.png'}").sentence(3, "nowhere.png does not exist")
    ask("distance=l1").sentence(2, "distance=l1", "l2, cosine")
    ask("count=0").sentence(2, "count=0")
    ask(f"features={tmp_path / 'vectors'}").sentence(2, "ends in .npz")
    ask(f"output={gallery / 'disc'}").sentence(2, "lies in source=")
    ask("task=classify", "backbone=resnet18").sentence(2, "not both")
    rest = [f"source={gallery}", f"query={gallery}"]
    tool("retrieve", *rest).sentence(2, "give either checkpoint=")
    tool("retrieve", *rest, "task=classify", "backbone=resnet18").sentence(2, "backbone.weights=")
    assert not (tmp_path / "out").exists()


def test_a_detector_has_no_vector_of_a_picture(ask, trained):
    ask(f"checkpoint={trained.best}").sentence(2, "RegionDetector", "a classifier's")
