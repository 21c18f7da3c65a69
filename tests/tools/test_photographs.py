"""Published classifiers on 250 photographs: other views cost little, and an ensemble is worth its members.

Needs VISIONKIT_DATASETS (imagenet_samples/) and VISIONKIT_WEIGHTS.
"""

import json

import numpy as np
import pytest

from visionkit.evaluation.probabilities import read_probabilities

LOST = 5  # of the 250, net

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(datasets_root, weights_root, tmp_path_factory):
    """Folder of an evaluation, made when it is first asked for."""
    from small_runs import run_tool

    place = tmp_path_factory.mktemp("photographs")

    def folder(name, views="center"):
        output = place / f"{name}_{views}"
        if not output.exists():
            weights = weights_root / f"{name}_imagenet.pth"
            chosen = (f"backbone={name}", f"backbone.weights={weights}", f"views={views}", "data=imagenet_samples")
            done = run_tool("evaluate", "task=classify", *chosen, "probabilities=true", "workers=0", f"output={output}")
            assert done == 0
        return output

    return folder


def right(folder):
    found = read_probabilities(folder / "probabilities.npz")
    return found.values.argmax(axis=1) == found.labels


@pytest.mark.parametrize("views", ["ten_crop", "dense"])
def test_other_views_lose_little(measured, views):
    center, other = right(measured("resnet18")), right(measured("resnet18", views))
    gained, lost = int((other & ~center).sum()), int((center & ~other).sum())
    print(f"resnet18 {views}: {center.sum()} -> {other.sum()} of {len(center)}, {gained} gained, {lost} lost")
    assert len(center) == 250 and np.mean(center) == pytest.approx(0.768, abs=0.01)
    assert lost - gained <= LOST


def test_the_ensemble_is_not_below_its_best_member(tool, measured, tmp_path):
    members = [str(measured(name)) for name in ("resnet18", "resnet50", "squeezenet1_0")]
    outcome = tool("ensemble", f"members=[{','.join(members)}]", f"output={tmp_path / 'e'}")
    print(outcome.out)
    found = json.loads((tmp_path / "e/metrics.json").read_text())
    best = max(json.loads((measured(name) / "metrics.json").read_text())["top1"] for name in ("resnet18", "resnet50"))
    assert found["best_member"] == "resnet50" and found["top1"] >= best
    assert found["difference"] == pytest.approx(found["top1"] - best) and found["low"] <= found["difference"]
