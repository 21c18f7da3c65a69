"""One analysis as a table, JSON and CSV; several side by side."""

import csv
import io
import json

import pytest
import torch

from visionkit.analysis import compare
from visionkit.analysis.network import analyze_network
from visionkit.analysis.published import published
from visionkit.analysis.report import aligned, memory, report
from visionkit.backbones.lenet import lenet
from visionkit.backbones.resnet import resnet18


@pytest.fixture(scope="module")
def analyses():
    with torch.device("meta"):
        return [analyze_network(lenet(), "lenet"), analyze_network(resnet18(), "resnet18", (224, 320))]


def test_json_and_csv_have_the_same_layers(analyses):
    texts = report(analyses[1])
    content = json.loads(texts["json"])
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert [row["name"] for row in rows] == [layer["name"] for layer in content["layers"]]
    for row, layer in zip(rows, content["layers"], strict=True):
        assert row.keys() == layer.keys()
        assert row["output_shape"] == "x".join(map(str, layer["output_shape"]))
        for key in ("parameters", "multiply_adds", "activation_bytes", "receptive_field", "stride"):
            assert row[key] == str(layer[key])
    for key in ("parameters", "multiply_adds", "activation_bytes"):
        assert content[key] == sum(layer[key] for layer in content["layers"])
    assert (content["name"], content["image"], content["classes"]) == ("resnet18", [3, 224, 320], 1000)
    assert (content["receptive_field"], content["stride"]) == (435, 32)
    assert content["auxiliary"] == {"parameters": 0, "multiply_adds": 0, "activation_bytes": 0}
    assert content["notes"] == []


def test_table_has_every_layer_and_the_sums(analyses):
    lines = report(analyses[1])["table"].splitlines()
    assert lines[0] == "resnet18: image of 3 x 224 x 320, 1000 classes"
    line = next(line for line in lines if line.startswith("layer2.0.conv1 "))
    assert " ".join(line.split()) == "layer2.0.conv1 Conv2d 128 x 28 x 40 73,728 82,575,360 573.4 KB 51 8"
    assert [line for line in lines if line.startswith("[")] == ["[trunk]", "[tail]", "[head]"]
    total = next(line for line in lines if line.startswith("total"))
    assert "11,689,512" in total and f"{analyses[1].multiply_adds:,}" in total
    assert max(map(len, lines)) <= 120
    vector = next(line for line in lines if line.startswith("head.linear"))
    assert "627 x 723" in vector  # 435 + 6 * 32 and 435 + 9 * 32


def test_networks_side_by_side(analyses):
    texts = compare.report(analyses)
    small, large = json.loads(texts["json"])["networks"]
    assert (small["name"], small["image"], small["parameters"]) == ("lenet", "1x32x32", 61_706)
    assert small["top1"] is None and small["bytes"] == 4 * 61_706
    row = published()["resnet18"]
    assert (large["top1"], large["top5"]) == (row.top1, row.top5) == (69.758, 89.078)
    lines = texts["table"].splitlines()
    assert "69.76" in lines[2] and lines[1].endswith("-")
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert rows[0]["top1"] == "" and rows[1]["multiply_adds"] == str(analyses[1].multiply_adds)
    assert max(map(len, lines)) <= 120


def test_memory_and_columns():
    assert [memory(count) for count in (0, 999, 12_845_056, 553_430_176, 2.5e9)] == [
        "-", "999 B", "12.8 MB", "553.4 MB", "2.5 GB"]  # fmt: skip
    assert aligned([("a", "1"), (), ("[part]",), ("bcd", "23")], left=1) == "a     1\n\n[part]\nbcd  23"
