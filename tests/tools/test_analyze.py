"""The command: one JSON object alone on standard output, files where asked, a sentence for what cannot be."""

import csv
import io
import json

import pytest
from small_runs import files_below

from visionkit.analysis.options import checked_names, checked_size
from visionkit.errors import ConfigError


def test_a_network_as_json_and_nothing_else(tool):
    outcome = tool("analyze", "backbone=vgg16", "format=json")
    assert outcome.code == 0 and outcome.err == ""
    content = json.loads(outcome.out)
    assert content["name"] == "vgg16" and content["image"] == [3, 224, 224] and content["classes"] == 1000
    assert content["parameters"] == 138_357_544 and content["multiply_adds"] == 15_470_264_320
    assert content["activation_bytes"] == sum(layer["activation_bytes"] for layer in content["layers"])
    layer = next(layer for layer in content["layers"] if layer["name"] == "features.28")
    assert {"name", "output_shape", "parameters", "multiply_adds", "receptive_field", "stride"} <= layer.keys()
    assert layer["output_shape"] == [1, 512, 14, 14] and layer["parameters"] == 2_359_808
    assert layer["multiply_adds"] == 462_422_016 and (layer["receptive_field"], layer["stride"]) == (196, 16)


def test_a_table_for_people(tool):
    outcome = tool("analyze", "backbone=resnet18", "size=64", "classes=10")
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.startswith("resnet18: image of 3 x 64 x 64, 10 classes")
    assert "11,181,642" in outcome.out  # 11,689,512 less 990 classes of 512 weights and a bias


def test_size_classes_and_keys_of_the_network(tool):
    outcome = tool("analyze", "backbone=resnet18", "size=[320,416]", "backbone.norm=none", "classes=7", "format=json")
    content = json.loads(outcome.out)
    assert content["image"] == [3, 320, 416] and content["layers"][-1]["output_shape"] == [1, 7]
    assert not any(layer["kind"] == "BatchNorm2d" for layer in content["layers"])


def test_gray_networks_get_one_channel(tool):
    assert json.loads(tool("analyze", "backbone=lenet", "format=json").out)["image"] == [1, 32, 32]


def test_weights_are_not_read(tool):
    assert tool("analyze", "backbone=resnet18", "backbone.weights=no/such/file.pth", "size=64").code == 0


def test_files_in_every_format(tool, tmp_path):
    outcome = tool("analyze", "backbone=resnet20", "format=csv", f"output={tmp_path / 'new folder'}")
    assert outcome.code == 0 and str(tmp_path / "new folder") in outcome.err
    assert files_below(tmp_path) == [f"new folder/analysis.{suffix}" for suffix in ("csv", "json", "txt")]
    text = (tmp_path / "new folder/analysis.csv").read_text()
    assert text == outcome.out
    rows = list(csv.DictReader(io.StringIO(text)))
    content = json.loads((tmp_path / "new folder/analysis.json").read_text())
    assert len(rows) == len(content["layers"]) and rows[0]["output_shape"] == "1x16x32x32"
    assert "269,722" in (tmp_path / "new folder/analysis.txt").read_text()


def test_one_network_leaves_no_files(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tool("analyze", "backbone=resnet20").code == 0
    assert files_below(tmp_path) == []


def test_a_detector(tool):
    arguments = ["task=faster_rcnn", "backbone=resnet50_fpn", "size=[800,800]", "classes=80", "format=json"]
    content = json.loads(tool("analyze", *arguments).out)
    assert content["parameters"] == 41_699_936 and content["classes"] == 80
    assert [part["name"] for part in content["parts"]] == ["trunk", "neck", "rpn", "regions", "tail", "head"]
    assert content["multiply_adds"] == pytest.approx(134.32e9, rel=1e-4)
    fewer = json.loads(tool("analyze", *arguments, "regions=300").out)
    per_region = 256 * 49 * 1024 + 1024 * 1024 + 1024 * (81 + 320)
    assert content["multiply_adds"] - fewer["multiply_adds"] == 700 * per_region
    assert tool("analyze", "task=faster_rcnn", "backbone=resnet18_fpn", "size=128").code == 0


def test_networks_side_by_side(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = tool("analyze", "compare=[alexnet,resnet20,alexnet]", "format=json")
    first, second = json.loads(outcome.out)["networks"]
    assert (first["name"], first["parameters"], first["top1"]) == ("alexnet", 61_100_840, 56.522)
    assert (second["name"], second["image"], second["top1"]) == ("resnet20", "3x32x32", None)
    expected = ["accuracy.png", "compare.csv", "compare.json", "compare.txt"]
    assert files_below(tmp_path / "outputs/analyze/compare") == expected
    assert tool("analyze", "compare=resnet20", f"output={tmp_path / 'mine'}").out.splitlines()[1].startswith("resnet20")
    assert files_below(tmp_path / "mine") == expected


def test_lecture(tool, tmp_path):
    outcome = tool("analyze", "lecture=true", f"output={tmp_path}")
    assert outcome.code == 0
    for number in ("34,848", "138,357,544", "854,196,224", "15,237,608", "28,793,320", "760"):
        assert number in outcome.out
    assert files_below(tmp_path) == ["lecture.csv", "lecture.json", "lecture.txt"]
    assert json.loads((tmp_path / "lecture.json").read_text())["figures"][0]["verdict"] == "equal"


def test_pictures(tool, tmp_path):
    outcome = tool("analyze", "pictures=true", f"output={tmp_path}")
    assert outcome.code == 0
    assert files_below(tmp_path) == ["accuracy.png", "kernels.png", "shared_weight.png", "sliding.png"]
    assert sorted(outcome.out.split()) == sorted(str(tmp_path / name) for name in files_below(tmp_path))


@pytest.mark.parametrize(
    "arguments,words",
    [
        ([], ["backbone=NAME", "lecture=true"]),
        (["backbone=vgg61"], ["backbone=vgg61", "vgg16"]),
        (["backbone=vgg16", "format=xml"], ["format=xml", "table, json, csv"]),
        (["backbone=vgg16", "size=0"], ["size=0", "[height,width]"]),
        (["backbone=vgg16", "size=large"], ["size=large"]),
        (["backbone=vgg16", "size=[224]"], ["size=[224]"]),
        (["backbone=vgg16", "size=[224,224,3]"], ["size=[224,224,3]"]),
        (["backbone=vgg16", "size=[224,2.5]"], ["size=[224,2.5]"]),
        (["backbone=vgg16", "size=20"], ["at least 32 x 32", "20 x 20"]),
        (["backbone=vgg16", "classes=0"], ["classes=0"]),
        (["backbone=vgg16", "classes=many"], ["classes=many"]),
        (["backbone=vgg16", "backbone.norm=layer"], ["layer", "frozen"]),
        (["backbone=vgg16", "backbone.depth=3"], ["backbone.depth"]),
        (["backbone=vgg16", "lecture=true"], ["backbone and lecture", "one of them"]),
        (["compare=[vgg16]", "pictures=true"], ["compare and pictures"]),
        (["lecture=yes"], ["lecture", "true or false"]),
        (["lecture=3"], ["lecture=3", "true or false"]),
        (["compare=[vgg16,vgg61]"], ["vgg61", "vgg16"]),
        (["compare=[3]"], ["compare=[3]", "[alexnet,vgg16]"]),
        (["compare=[a/b]"], ["a/b"]),
        (["task=faster_rcnn"], ["backbone missing", "backbone=NAME"]),
        (["task=faster_rcnn", "backbone=resnet18_fpn", "regions=0"], ["regions=0"]),
        (["task=faster_rcnn", "backbone=resnet18_fpn", "task.regions=0"], ["regions=0"]),
        (["task=faster_rcnn", "backbone=resnet18_fpn", "size=16"], ["at least", "16 x 16"]),
        (["task=classify", "backbone=resnet18"], ["no task"]),
        (["experiment=quickstart"], ["task and backbone missing", "task=faster_rcnn"]),
        (["bakcbone=vgg16"], ["bakcbone", "backbone"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistakes(tool, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    outcome = tool("analyze", *arguments)
    outcome.sentence(2, *words)
    assert outcome.out == "" and files_below(tmp_path) == []


def test_an_output_that_is_a_file(tool, tmp_path):
    (tmp_path / "occupied").write_text("mine")
    tool("analyze", "backbone=resnet20", f"output={tmp_path / 'occupied'}").sentence(2, str(tmp_path / "occupied"))
    assert (tmp_path / "occupied").read_text() == "mine"


def test_sizes_and_names():
    assert checked_size(None) is None and checked_size(64) == (64, 64) and checked_size([32, 64.0]) == (32, 64)
    assert checked_names(None) == () and checked_names("a") == ("a",) and checked_names(["b", "a", "b"]) == ("b", "a")
    for wrong in (True, "64", [], [1, -1], [64, None], 1e12):
        with pytest.raises(ConfigError, match="size"):
            checked_size(wrong)
