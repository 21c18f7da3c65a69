"""What proposals cover on generated and real pictures, and what a network proposes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import visionkit.proposals as module
from visionkit.data.coco import read_coco
from visionkit.data.image import read_image
from visionkit.data.proposals import find_proposals
from visionkit.data.scenes import scenes
from visionkit.errors import ConfigError
from visionkit.models.region_detector import RegionDetector
from visionkit.ops.resize import TestResize
from visionkit.ops.selective_search import SelectiveSearch
from visionkit.proposals import figures, measure, network_proposals, searches
from visionkit.structures import Proposals


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Generated pictures of the usual difficulty."""
    return scenes(str(tmp_path_factory.mktemp("scenes")), train_images=1, val_images=8).val


def test_selective_search_covers_generated_scenes(few, tmp_path):
    found = find_proposals(few, SelectiveSearch(), 0, tmp_path)
    cover = measure(few, found).coverage
    assert cover.recall(0.5)[-1] >= 0.95 and cover.mean_best_overlap()[-1] >= 0.85
    assert np.diff(found.offsets).max() <= 2500


@pytest.mark.slow
def test_selective_search_covers_photographs(datasets_root, tmp_path):
    root = datasets_root / "coco_mini"
    index = read_coco(str(root / "annotations/instances_val2017.json"), str(root / "val2017"))
    cover = measure(index, find_proposals(index, SelectiveSearch(), 0, tmp_path), smallest=32).coverage
    assert len(cover.labels) > 300 and cover.recall(0.5)[-1] >= 0.90


class Corners(nn.Module):
    """Proposes the left half of each picture and a box without extent, in pixels of the batch."""

    loss_names: tuple[str, ...] = ("loss_objectness",)

    def forward(self, batch, maps, targets=None):
        height, width = batch.sizes[0].tolist()
        boxes = torch.tensor([[[0, 0, width / 2, height], [5, 5, 5, 9], [0, 0, 1, 1]]])
        return Proposals(boxes, torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[True, True, False]])), {}


@pytest.fixture
def network(monkeypatch):
    model = RegionDetector.__new__(RegionDetector)
    nn.Module.__init__(model)
    model.propose, model.resize = Corners(), TestResize(64, 100)
    model.encode = SimpleNamespace(maps=lambda batch: {})
    monkeypatch.setattr(module, "load", lambda path, device: SimpleNamespace(model=model))
    return model


def test_a_networks_proposals_are_in_pixels_of_the_file(few, network):
    found = network_proposals("run.pt", few, "cpu")
    for i in range(len(few)):
        height, width = read_image(few.path(i)).shape[:2]
        boxes, scores = found.proposed(i)
        assert np.allclose(boxes, [[0, 0, width / 2, height]], atol=1e-3) and scores.tolist() == pytest.approx([0.9])
    assert found.method == "rpn" and found.seconds > 0


def test_a_model_that_proposes_nothing_is_refused(few, network):
    network.propose.loss_names = ()
    with pytest.raises(ConfigError, match=r"run\.pt has no region proposal network"):
        network_proposals("run.pt", few, "cpu")


def test_figures_without_objects_are_no_numbers(few, tmp_path):
    nothing = few.select([])
    measured = measure(nothing, find_proposals(nothing, SelectiveSearch(), 0, tmp_path))
    row = figures({"ours": measured})
    assert np.isnan(row["ours/recall@0.5"]) and row["ours/boxes"] == 0 and row["ours/seconds"] is None


def test_the_chosen_search_keeps_its_settings():
    chosen = {"_target_": "visionkit.ops.selective_search.SelectiveSearch", "mode": "fast", "min_side": 3}
    found = searches(["selective_search", "selective_search_single", "windows"], chosen)
    assert found["selective_search"].min_side == 3
    assert found["selective_search_single"].mode == "single" and found["selective_search_single"].min_side == 20
    assert found["windows"].method == "windows"
    with pytest.raises(ConfigError, match="neither a file nor an option"):
        searches(["edge_boxes"], chosen)
