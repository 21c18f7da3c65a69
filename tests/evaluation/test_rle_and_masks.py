"""Run lengths equal pycocotools' both ways; broken ones are named before its decoder sees them."""

import copy

import numpy as np
import pytest
from pycocotools import mask as mask_tools

from visionkit.errors import DataError
from visionkit.evaluation import rle
from visionkit.evaluation.coco_map import NUMBERS, coco_evaluate
from visionkit.evaluation.truth import TruthTable


def random_mask(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    h, w = rng.integers(1, 80, 2)
    density = rng.choice([0.0, 0.02, 0.5, 1.0])
    mask = rng.random((h, w)) < density
    if seed % 3 == 0:
        mask[: h // 2, : w // 2] = True
    return mask


def test_encoding_is_pycocotools_own():
    for seed in range(200):
        mask = random_mask(seed)
        expected = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
        ours = rle.encode_mask(mask)
        assert ours == {"size": expected["size"], "counts": expected["counts"].decode()}
        lengths = rle.decompress(ours["counts"])
        assert lengths.sum() == mask.size and lengths[1::2].sum() == mask.sum()
        assert rle.compress(lengths) == ours["counts"]
        assert rle.fault(ours, mask.shape, 1e5) is None


def test_large_runs():
    mask = np.zeros((3000, 2000), bool)
    mask[5, 1000] = mask[-1, -1] = True
    expected = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert rle.encode_mask(mask)["counts"] == expected
    assert rle.decompress(expected).tolist() == [3000005, 1, 2999993, 1]


def content(segmentation) -> dict:
    return {
        "images": [{"id": 1, "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 8], "area": 80, "iscrowd": 0,
             "segmentation": segmentation}
        ],
    }  # fmt: skip


GOOD = [[2, 3, 12, 3, 12, 11, 2, 11]]


def result(segmentation) -> list[dict]:
    return [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": segmentation}]


def encoded() -> dict:
    mask = np.zeros((20, 30), bool)
    mask[3:11, 2:12] = True
    return rle.encode_mask(mask)


@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
def test_masks_in_all_forms_score_the_same(engine):
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    plain = {"size": [20, 30], "counts": rle.decompress(encoded()["counts"]).tolist()}
    packed = {"size": [20, 30], "counts": encoded()["counts"].encode()}
    for truth in (GOOD, encoded(), plain):
        table = TruthTable.from_coco_json(content(truth))
        for found in (encoded(), plain, packed):
            scores = coco_evaluate(table, result(found), "segm", engine)
            assert scores.numbers["AP"] == pytest.approx(1.0)
            by_box = coco_evaluate(table, result(found), "bbox", engine)  # the box around the mask
            assert by_box.numbers["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "broken",
    [
        {"size": [20, 30]},
        {"size": [30, 20], "counts": encoded()["counts"]},
        {"size": [20, 30], "counts": encoded()["counts"][:-1]},
        {"size": [20, 30], "counts": encoded()["counts"] + "5"},
        {"size": [20, 30], "counts": "~~~"},
        {"size": [20, 30], "counts": "ooooooooooooooooooooo0"},
        {"size": [20, 30], "counts": "é"},
        {"size": [20, 30], "counts": [700, -100]},
        {"size": [20, 30], "counts": [1, 2, 3]},
        {"size": [20, 30], "counts": None},
    ],
)
def test_broken_run_lengths_are_named(broken):
    table = TruthTable.from_coco_json(content(GOOD))
    with pytest.raises(DataError, match="entry 0"):
        coco_evaluate(table, result(broken), "segm")
    with pytest.raises(DataError, match="entry 0"):
        coco_evaluate(table, [result(broken)[0] | {"bbox": [2, 3, 10, 8]}], "segm")
    with pytest.raises(DataError, match="truth: an object of image 1"):
        coco_evaluate(TruthTable.from_coco_json(content(broken)), [], "segm")


@pytest.mark.parametrize(
    "broken",
    [None, [], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [[1, 2, 3, 4, 5, float("nan")]], [["a"] * 6], "x", [3]],
)
def test_broken_polygons_are_named(broken):
    with pytest.raises(DataError, match="truth: an object of image 1"):
        coco_evaluate(TruthTable.from_coco_json(content(broken)), result(encoded()), "segm")


def test_a_box_without_mask_cannot_be_scored_as_mask():
    table = TruthTable.from_coco_json(content(GOOD))
    entry = {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [2, 3, 10, 8]}
    with pytest.raises(DataError, match="entry 0 has no 'segmentation'"):
        coco_evaluate(table, [entry], "segm")


def test_random_masks_both_engines():
    pytest.importorskip("faster_coco_eval")
    for seed in range(25):
        rng = np.random.default_rng(seed)
        images = [{"id": i, "height": 60, "width": 50} for i in range(1, 4)]
        annotations, results = [], []
        for image in images:
            for _ in range(rng.integers(0, 5)):
                mask = np.zeros((60, 50), bool)
                x, y, w, h = rng.integers(0, 20, 4)
                mask[y : y + h + 1, x : x + w + 5] = True
                crowd = int(rng.random() < 0.2)
                common = {"image_id": image["id"], "category_id": int(rng.integers(1, 3))}
                annotations.append(
                    common | {"id": len(annotations), "bbox": [int(x), int(y), int(w) + 5, int(h) + 1],
                              "iscrowd": crowd, "area": int(mask.sum()), "segmentation": rle.encode_mask(mask)}
                )  # fmt: skip
                for _ in range(rng.integers(0, 3)):
                    moved = np.roll(mask, rng.integers(-2, 3, 2), axis=(0, 1))
                    results.append(
                        common | {"score": float(rng.integers(4) / 4), "segmentation": rle.encode_mask(moved)}
                    )
        data = {"images": images, "annotations": annotations, "categories": [{"id": k, "name": str(k)} for k in (1, 2)]}
        table = TruthTable.from_coco_json(copy.deepcopy(data))
        for iou_type in ("segm", "bbox"):
            a, b = (coco_evaluate(table, results, iou_type, engine).numbers for engine in ("pycocotools", "faster"))
            for name in NUMBERS:
                assert a[name] == (None if b[name] is None else pytest.approx(b[name], abs=1e-12)), (
                    seed,
                    iou_type,
                    name,
                )
