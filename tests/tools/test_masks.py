"""Mask R-CNN from the command line: trained, measured, drawn; and mask results files measured without any model."""

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_tools
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_runs import SCENES, SMALL, CocoTree, run_tool

from visionkit.evaluation.coco_map import NUMBERS
from visionkit.evaluation.rle import encode_mask

MASKS = (*SMALL, "task=mask_rcnn", "task.mask_layers=[8]", "task.mask_hidden=8")


def with_masks(tree: CocoTree) -> CocoTree:
    """Every object is its box without the corners: a polygon, one of two parts, or run lengths; one crowd."""
    for content in (tree.train, tree.val):
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for k, annotation in enumerate(content["annotations"]):
            x, y, w, h = annotation["bbox"]
            upper = [x, y + h / 3, x + w / 2, y, x + w, y + h / 3]
            lower = [x, y + h / 2, x + w, y + h / 2, x + w / 2, y + h]
            whole = [*upper, x + w / 2, y + h]
            annotation["segmentation"] = [whole] if k % 3 == 0 else [upper, lower]
            if k % 3 == 2:
                mask = np.zeros(sizes[annotation["image_id"]], bool)
                mask[y : y + h, x + 2 : x + w - 2] = True
                annotation |= {"segmentation": encode_mask(mask), "iscrowd": 1}
    tree.write()
    return tree


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run of a small Mask R-CNN for all tests here."""
    before = torch.are_deterministic_algorithms_enabled()
    folder = tmp_path_factory.mktemp("masked")
    tree, run = with_masks(CocoTree(folder / "coco")), folder / "run"
    torch.set_num_threads(1)
    assert run_tool("train", *MASKS, *tree.arguments, "trainer.max_steps=4", f"output={run}") == 0
    torch.use_deterministic_algorithms(before)
    return SimpleNamespace(run=run, tree=tree, best=run / "checkpoints/best.pt")


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def test_training_measures_boxes_and_masks(masked):
    metrics = metrics_of(masked.run / "eval")
    assert {"AP", "AP50", "segm_AP", "segm_AP50", "segm_AR100", "val_loss"} <= set(metrics)
    lines = [json.loads(line) for line in (masked.run / "metrics.jsonl").read_text().splitlines()]
    assert any("loss_mask" in json.dumps(line) for line in lines)
    entries = json.loads((masked.run / "eval/predictions.json").read_text())
    sizes = {image["id"]: [image["height"], image["width"]] for image in masked.tree.val["images"]}
    assert len(entries) > 8 and all(entry["segmentation"]["size"] == sizes[entry["image_id"]] for entry in entries)
    assert (masked.run / "samples/training.jpg").exists() and (masked.run / "samples/detections.jpg").exists()


def test_evaluate_repeats_training_and_takes_one_type(tool, masked, tmp_path):
    arguments = [f"checkpoint={masked.best}", "workers=0"]
    assert tool("evaluate", *arguments, f"output={tmp_path / 'both'}").code == 0
    for name in ("metrics.json", "predictions.json"):
        assert (tmp_path / "both" / name).read_bytes() == (masked.run / "eval" / name).read_bytes()
    both = metrics_of(tmp_path / "both")
    for iou_type, prefix in (("bbox", ""), ("segm", "segm_")):
        assert tool("evaluate", *arguments, f"iou_type={iou_type}", f"output={tmp_path / iou_type}").code == 0
        one = metrics_of(tmp_path / iou_type)
        assert [one[name] for name in NUMBERS] == [both[prefix + name] for name in NUMBERS]


def test_demo_draws_masks_and_writes_those_of_the_evaluation(tool, masked, tmp_path):
    pictures = masked.tree.root / "val2017"
    arguments = [f"checkpoint={masked.best}", f"source={pictures}", f"output={tmp_path}", "threshold=0.01"]
    assert tool("demo", *arguments).code == 0
    evaluated = json.loads((masked.run / "eval/predictions.json").read_text())
    for image in (11, 12, 13, 14):
        found = json.loads((tmp_path / f"{image}.json").read_text())["detections"]
        wanted = [entry["segmentation"] for entry in evaluated if entry["image_id"] == image]
        assert [entry["mask"] for entry in found] == wanted
        height, width = SCENES[14 - image][0]
        for entry in found:
            assert mask_tools.decode(entry["mask"]).shape == (height, width)
    with Image.open(tmp_path / "11.jpg") as drawn:
        assert drawn.size[0] >= SCENES[3][0][1]


def test_data_without_masks_end_with_a_sentence(tool, coco_tree, tmp_path):
    outcome = tool("train", *MASKS, *coco_tree.arguments, f"output={tmp_path / 'run'}")
    outcome.sentence(3, "instances_train2017.json", "hold no masks")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_is_not_measured_on_data_without_masks(tool, masked, coco_tree, tmp_path):
    outcome = tool("evaluate", f"checkpoint={masked.best}", *coco_tree.arguments, f"output={tmp_path / 'eval'}")
    outcome.sentence(3, "instances_val2017.json", "hold no masks")


def test_fine_tuning_on_other_classes_keeps_all_but_the_last_layer(tool, masked, tmp_path):
    tree = with_masks(CocoTree(tmp_path / "other", names=("kreuz", "kreis", "quadrat")))
    run = tmp_path / "run"
    outcome = tool(
        "train", *MASKS, *tree.arguments, f"start_from={masked.best}", "trainer.max_steps=1", "seed=1", "optim.lr=1e-9",
        f"output={run}",
    )  # fmt: skip
    assert outcome.code == 0 and "begin afresh" in outcome.out
    old, new = (torch.load(path, weights_only=True)["model"] for path in (masked.best, run / "checkpoints/last.pt"))
    kept = ("mask.convs.0.0.weight", "mask.conv5_mask.weight")
    assert all(torch.allclose(old[key], new[key], atol=1e-6) for key in kept)
    assert not torch.allclose(old["mask.mask_fcn_logits.weight"], new["mask.mask_fcn_logits.weight"], atol=1e-3)


# Results files


def pycocotools_numbers(truth: Path, results: list[dict[str, Any]]) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        measured = COCOeval(coco, coco.loadRes(results), "segm")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return measured.stats.tolist()


def imperfect_results(truth: Path, seed: int = 0) -> list[dict[str, Any]]:
    """What a fair detector might find: most objects moved by a pixel or four, some missed, some of another class;
    parts of crowds; every score its own."""
    random = np.random.default_rng(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
    categories = [category["id"] for category in coco.dataset["categories"]]
    results: list[dict[str, Any]] = []
    for annotation in coco.dataset["annotations"]:
        mask = coco.annToMask(annotation).astype(bool)
        for _ in range(random.choice([0, 1, 1, 1, 2])):
            moved = np.roll(mask, random.integers(-4, 5, 2), axis=(0, 1))
            category = annotation["category_id"] if random.random() < 0.8 else random.choice(categories)
            results.append(
                {"image_id": annotation["image_id"], "category_id": int(category), "segmentation": encode_mask(moved)}
            )
    scores = random.permutation(len(results)) / len(results)
    return [result | {"score": float(score)} for result, score in zip(results, scores, strict=True)]


def assert_equals_pycocotools(tool: Any, truth: Path, folder: Path) -> dict[str, Any]:
    results = imperfect_results(truth)
    (folder / "results.json").write_text(json.dumps(results))
    outcome = tool(
        "evaluate", f"predictions={folder / 'results.json'}", f"truth={truth}", "iou_type=segm",
        f"output={folder / 'eval'}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    metrics = metrics_of(folder / "eval")
    expected = pycocotools_numbers(truth, results)
    assert [-1 if metrics[name] is None else metrics[name] for name in NUMBERS] == pytest.approx(expected, abs=1e-12)
    return metrics


def test_a_results_file_scores_as_in_pycocotools(tool, coco_tree, tmp_path):
    metrics = assert_equals_pycocotools(tool, with_masks(coco_tree).annotations("val"), tmp_path)
    assert 0 < metrics["AP50"] <= 1


def test_a_results_file_of_real_photographs_scores_as_in_pycocotools(tool, datasets_root, tmp_path):
    """Polygons, polygons of several parts and crowds in run lengths."""
    metrics = assert_equals_pycocotools(tool, datasets_root / "coco_mini/annotations/instances_val2017.json", tmp_path)
    assert 0.2 < metrics["AP"] < 0.9 and None not in metrics.values()
