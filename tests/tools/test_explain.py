"""`tools/explain.py`: one command for every kind of model, pages of folders, and sentences for what is wrong."""

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import CocoTree, run_tool
from test_classify import SMALL as CLASSIFY
from test_classify import write_tree
from test_localize import SMALL as LOCALIZE
from test_localize import write_voc
from test_masks import MASKS, with_masks
from test_segment import SMALL as SEGMENT
from test_segment import data_of, write_pairs


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A checkpoint and a picture for each kind of model."""
    before, folder = torch.are_deterministic_algorithms_enabled(), tmp_path_factory.mktemp("explain")
    torch.set_num_threads(1)
    classes = write_tree(folder / "classes")
    voc = write_voc(folder / "voc")
    tree = with_masks(CocoTree(folder / "coco"))
    pairs = write_pairs(folder / "pairs")
    runs = {
        "classifier": (*CLASSIFY, "data=folder", f"data.root={classes}"),
        "localizer": (*LOCALIZE, f"data.detection.root={voc}"),
        "detector": (*MASKS, *tree.arguments),
        "segmenter": (*SEGMENT, *data_of(pairs)),
    }
    found = {}
    for name, arguments in runs.items():
        assert run_tool("train", *arguments, f"output={folder / name}") == 0
        found[name] = folder / name / "checkpoints/best.pt"
    torch.use_deterministic_algorithms(before)
    pictures = {
        "classifier": classes / "val/disc/0.png",
        "localizer": voc / "JPEGImages/7.jpg",
        "detector": next(iter(sorted((folder / "coco").rglob("*.png")))),
        "segmenter": pairs / "val/0.png",
    }
    return SimpleNamespace(checkpoints=found, pictures=pictures, classes=classes, folder=folder, tree=tree)


def sheet_of(output: Path) -> np.ndarray:
    (path,) = output.glob("*.jpg")
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    ("kind", "target", "title"),
    [
        ("classifier", "auto", r"(cross|disc|square) 0\.\d\d"),
        ("classifier", "square", r"square 0\.\d\d"),
        ("localizer", "auto", r"(disc|square) \d\.\d\d"),
        ("localizer", "box:y2", r"y2 of (disc|square) at \d+ px"),
        ("detector", "auto", r"\w+ 0\.\d\d"),
        ("detector", "detection:1:x1", r"x1 of \w+ 0\.\d\d at \d+ px"),
        ("detector", "mask:0", r"mask of \w+ 0\.\d\d"),
        ("detector", "proposal:2", r"proposal 2, objectness 0\.\d\d"),
        ("segmenter", "auto", r"(ground|disc|square) on \d+% of the picture"),
        ("segmenter", "pixel:10:12", r"(ground|disc|square) 0\.\d\d at \(10, 12\)"),
    ],
)
def test_one_command_for_every_head(tool, models, tmp_path, kind, target, title):
    outcome = tool(
        "explain",
        f"checkpoint={models.checkpoints[kind]}",
        f"image={models.pictures[kind]}",
        "method=[grad_cam,hires_cam,saliency,guided_backpropagation]",
        f"target={target}",
        f"output={tmp_path}",
    )
    assert outcome.code == 0, outcome.err
    assert "left out" not in outcome.out
    (record,) = json.loads((tmp_path / "explain.json").read_text())
    assert re.fullmatch(title, record["target"]) and Path(record["sheet"]).exists()
    assert (record["box"] is not None) == (kind == "detector" or target.startswith("box"))
    assert sheet_of(tmp_path).std() > 10


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_all_methods_side_by_side(tool, models, tmp_path, kind):
    outcome = tool(
        "explain",
        f"checkpoint={models.checkpoints[kind]}",
        f"image={models.pictures[kind]}",
        *("method=all", "samples=2", "window=16", f"output={tmp_path}"),
    )
    assert outcome.code == 0, outcome.err
    left_out = re.findall(r": (\w+) is left out", outcome.out)
    assert left_out == (["cam"] if kind == "segmenter" else [])
    assert sheet_of(tmp_path).shape[1] > 3 * 232


def test_a_folder_gives_a_page_that_holds_everything(tool, models, tmp_path):
    outcome = tool(
        "explain",
        f"checkpoint={models.checkpoints['classifier']}",
        f"image={models.classes / 'val'}",
        *("limit=4", f"output={tmp_path}"),
    )
    assert outcome.code == 0, outcome.err
    text = (tmp_path / "index.html").read_text()
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    assert len(pictures) == text.count("<section") == len(json.loads((tmp_path / "explain.json").read_text())) == 4
    assert not re.search(r'(src|href)="(?!data:|#)', text), "nothing is fetched"
    for data in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(data))).size[0] > 232
    assert (tmp_path / "cross/0.png.grad_cam.jpg").exists()


def test_a_name_cannot_break_the_page(tool, models, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("<b>&\"'.png", "ok.png"):
        (folder / name).write_bytes(models.pictures["classifier"].read_bytes())
    checkpoint = models.checkpoints["classifier"]
    outcome = tool("explain", f"checkpoint={checkpoint}", f"image={folder}", f"output={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    text = (tmp_path / "out/index.html").read_text()
    assert "<b>" not in text and "&lt;b&gt;&amp;" in text


def test_the_road_of_the_proposals(tool, models, tmp_path):
    checkpoint, image = models.checkpoints["detector"], models.pictures["detector"]
    outcome = tool("explain", f"checkpoint={checkpoint}", f"image={image}", "method=proposals", f"output={tmp_path}")
    assert outcome.code == 0, outcome.err
    (record,) = json.loads((tmp_path / "explain.json").read_text())
    assert re.match(r"[\d,]+ anchors \(p\d [\d,]+, .*proposals after NMS, \d+ detections", record["steps"])


@pytest.mark.parametrize(
    ("method", "files"),
    [
        ("filters", ["filters_conv1.png"]),
        ("activations", ["activations_c3.png"]),
        ("inversion", ["inversion.png", "inversion_losses.png"]),
        ("class_image", ["class_images.png"]),
    ],
)
def test_methods_with_pictures_of_their_own(tool, models, tmp_path, method, files):
    checkpoint, image = models.checkpoints["classifier"], models.pictures["classifier"]
    layer = ["layer=c3"] if method in ("activations", "inversion") else []
    steps = ["steps=3", "show=2"]
    outcome = tool(
        "explain",
        f"checkpoint={checkpoint}",
        f"image={image}",
        f"method={method}",
        *layer,
        *steps,
        f"output={tmp_path}",
    )
    assert outcome.code == 0, outcome.err
    for name in files:
        assert (tmp_path / name).exists() and name in outcome.out, sorted(p.name for p in tmp_path.iterdir())


@pytest.mark.parametrize("method", ["patches", "deconvnet_patches", "embedding", "invariance"])
def test_methods_that_look_through_a_folder(tool, models, tmp_path, method):
    checkpoint, folder = models.checkpoints["classifier"], models.classes / "val"
    arguments = ["layer=c2", "show=2"] if "patches" in method else []
    outcome = tool(
        "explain", f"checkpoint={checkpoint}", f"image={folder}", f"method={method}", *arguments, f"output={tmp_path}"
    )
    assert outcome.code == 0, outcome.err
    assert list(tmp_path.glob(f"{method}*.png"))


@pytest.mark.parametrize("check", ["pointing", "deletion", "randomisation"])
def test_checks_print_a_table_and_write_it(tool, models, tmp_path, check):
    kind = "localizer" if check == "pointing" else "classifier"
    data = ("data=voc", f"data.root={models.folder / 'voc'}") if check == "pointing" else ()
    outcome = tool(
        "explain",
        f"checkpoint={models.checkpoints[kind]}",
        *data,
        *(f"check={check}", "methods=[grad_cam,saliency]", "limit=2", f"output={tmp_path}"),
    )
    assert outcome.code == 0, outcome.err
    assert "grad_cam" in outcome.out and "saliency" in outcome.out
    for suffix in ("txt", "csv", "png"):
        assert (tmp_path / f"{check}.{suffix}").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["method=grad_kam"], 2, ["method=grad_kam", "grad_cam"]),
        (["check=pointing", "window=8"], 2, ["window=8", "check=pointing"]),
        (["check=deletion", "steps=5"], 2, ["steps=5", "check=deletion"]),
        (["check=deletion"], 2, ["image=", "check=deletion"]),
        (["methods=[edges]"], 2, ["methods=", "method="]),
        (["method=filters", "limit=3"], 2, ["limit=3", "method=filters"]),
        (["method=filters", "layer=c1"], 2, ["layer=c1", "no single convolution"]),
        (["method=activations", "target=disc"], 2, ["target=disc", "method=activations"]),
        (["method=[occlusion,grad_cam]", "window=8", "stride=9"], 2, ["stride=9", "window=8"]),
        (["seed=1e30"], 2, ["seed=1e+30", "2**63"]),
        (["image="], 2, ["image=... is wanted"]),
        (["method=[grad_cam,proposals]"], 2, ["method=proposals"]),
        (["layer=c9"], 2, ["no layer 'c9'", "did you mean"]),
        (["layer=head.linear"], 2, ["no maps"]),
        (["target=dosc"], 2, ["target=dosc", "did you mean disc"]),
        (["window=500", "method=occlusion"], 2, ["window=500"]),
        (["samples=0"], 2, ["samples=0"]),
        (["filler=green", "method=occlusion"], 2, ["filler=green", "mean"]),
        (["check=pointless"], 2, ["check=pointless", "pointing"]),
        (["method=proposals"], 2, ["proposals", "Classifier"]),
        (["method=patches"], 2, ["image=FOLDER"]),
        (["channels=[x]", "method=activations"], 2, ["channels="]),
        (["channels=1.5", "method=activations"], 2, ["channels=1.5"]),
        (["channels=[]", "method=activations"], 2, ["channels=[]"]),
        (["layer=5"], 2, ["layer=5", "names"]),
        (["layer=null"], 2, ["layer=None"]),
        (["layer=[c2,c4]"], 2, ["one layer is wanted"]),
        (["layer=c9", "method=[grad_cam,hires_cam]"], 2, ["no layer 'c9'"]),
        (["columns=abc"], 2, ["columns=abc"]),
        (["methods=5", "check=deletion"], 2, ["methods=5"]),
        (["limit=1", "method=embedding"], 2, ["limit"]),
    ],
)
def test_wrong_settings_are_named(tool, models, tmp_path, arguments, code, words):
    base = [f"checkpoint={models.checkpoints['classifier']}", f"image={models.pictures['classifier']}"]
    if "method=patches" in arguments:
        base[1] = f"image=[{models.pictures['classifier']}]"
    output = tmp_path / "out"
    tool("explain", *base, *arguments, f"output={output}").sentence(code, *words)
    assert not output.exists(), "nothing is left behind"


def test_wrong_pictures_are_named(tool, models, tmp_path):
    checkpoint = f"checkpoint={models.checkpoints['classifier']}"
    tool("explain", checkpoint, f"output={tmp_path}").sentence(2, "image=")
    tool("explain", checkpoint, "data=folder", f"data.root={models.classes}", f"output={tmp_path}").sentence(
        2, "image="
    )
    tool("explain", checkpoint, f"image={tmp_path / 'no.png'}", f"output={tmp_path}").sentence(3, "no.png", "exist")
    broken = tmp_path / "broken.png"
    broken.write_bytes(models.pictures["classifier"].read_bytes()[:60])
    tool("explain", checkpoint, f"image={broken}", f"output={tmp_path / 'o'}").sentence(3, "broken.png")
    (tmp_path / "empty").mkdir()
    tool("explain", checkpoint, f"image={tmp_path / 'empty'}", f"output={tmp_path / 'o'}").sentence(3, "holds no image")
    inside = models.classes / "val" / "out"
    tool("explain", checkpoint, f"image={models.classes / 'val'}", f"output={inside}").sentence(2, "output=", "join")
    tool("explain", f"image={broken}", f"output={tmp_path / 'o'}").sentence(2, "checkpoint=")


def test_what_was_not_detected_is_said_with_the_picture(tool, models, tmp_path):
    checkpoint, image = models.checkpoints["detector"], models.pictures["detector"]
    given = [f"checkpoint={checkpoint}", f"image={image}", f"output={tmp_path / 'o'}"]
    tool("explain", *given, "target=detection:999").sentence(2, image.name, "detection:999", "objects")
    tool("explain", *given, "target=mask:0:x1").sentence(2, "mask has no edges")
    tool("explain", *given, "target=dragon").sentence(2, image.name, "target=dragon", "no class")


def test_an_image_that_is_too_small_for_the_network(tool, models, tmp_path):
    tiny = tmp_path / "tiny.png"
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tiny)
    checkpoint = models.checkpoints["segmenter"]
    outcome = tool(
        "explain",
        f"checkpoint={checkpoint}",
        f"image={tiny}",
        "method=occlusion",
        "window=9",
        f"output={tmp_path / 'o'}",
    )
    outcome.sentence(2, "tiny.png", "window=9")


def test_one_bad_picture_does_not_cost_the_others(tool, models, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    content = models.pictures["classifier"].read_bytes()
    for name, some in (("a.png", content), ("b.png", content[:60]), ("c.png", content)):
        (folder / name).write_bytes(some)
    checkpoint = models.checkpoints["classifier"]
    outcome = tool("explain", f"checkpoint={checkpoint}", f"image={folder}", f"output={tmp_path / 'out'}")
    assert outcome.code == 0 and re.search(r"not explained: .*b\.png", outcome.out)
    records = json.loads((tmp_path / "out/explain.json").read_text())
    assert [set(record) for record in records] == [
        {"image", "sheet", "target", "box", "size"},
        {"image", "error"},
        {"image", "sheet", "target", "box", "size"},
    ]
    text = (tmp_path / "out/index.html").read_text()
    assert text.count("<img") == 2 and text.count("<section") == 3
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_pictures_with_equal_names_keep_apart(tool, models, tmp_path):
    pictures = [models.classes / "val/cross/0.png", models.classes / "val/disc/0.png"]
    outcome = tool(
        "explain",
        f"checkpoint={models.checkpoints['classifier']}",
        f"image=[{pictures[0]},{pictures[1]}]",
        f"output={tmp_path}",
    )
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "cross/0.png.grad_cam.jpg").exists() and (tmp_path / "disc/0.png.grad_cam.jpg").exists()


def test_patches_look_through_as_many_pictures_as_wanted(tool, models, tmp_path):
    arguments = ["method=patches", "layer=c2", "show=1", "limit=2", f"output={tmp_path}"]
    checkpoint, folder = models.checkpoints["classifier"], models.classes / "val"
    assert tool("explain", f"checkpoint={checkpoint}", f"image={folder}", *arguments).code == 0
    (unit,) = json.loads((tmp_path / "patches_c2.json").read_text())
    assert 1 <= len(unit["patches"]) <= 2
