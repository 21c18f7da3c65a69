"""Random evaluations: both engines equal, pycocotools used plainly equal, and an own slow implementation equal."""

import contextlib
import copy
import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visionkit.evaluation.coco_map import NUMBERS, coco_evaluate
from visionkit.evaluation.truth import TruthTable

_EDGES = ((32.0, 32.0), (64.0, 16.0), (96.0, 96.0), (192.0, 48.0), (32.0, 33.0), (95.0, 96.0))


def random_case(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ties, crowds, empty images, classes without objects, area edges, now and then over 100 detections an image."""
    rng = np.random.default_rng(seed)
    images = [{"id": int(i), "height": 400, "width": 400} for i in rng.permutation(50)[: rng.integers(1, 6)]]
    categories = [{"id": int(c), "name": f"c{c}"} for c in rng.permutation(20)[: rng.integers(1, 4)] + 1]
    whole, shared = rng.random() < 0.5, rng.random() < 0.5  # whole pixels make IoU land on thresholds

    def box() -> list[float]:
        if rng.random() < 0.3:
            w, h = _EDGES[rng.integers(len(_EDGES))]
        else:
            w, h = np.exp(rng.uniform(np.log(4), np.log(200), 2))
        values = np.array([rng.uniform(0, 200), rng.uniform(0, 200), w, h])
        return [float(v) for v in (np.round(values) if whole else values)]

    annotations, results = [], []
    for image in images:
        for _ in range(rng.integers(0, 8)):
            b = box()
            area = b[2] * b[3] * (1.0 if rng.random() < 0.6 else rng.uniform(0.3, 1.0))
            area = float(rng.choice([1024.0, 9216.0])) if rng.random() < 0.1 else area
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image["id"], "bbox": b, "area": area,
                 "category_id": categories[rng.integers(len(categories))]["id"], "iscrowd": int(rng.random() < 0.2)}
            )  # fmt: skip
        mine = [a for a in annotations if a["image_id"] == image["id"]]
        many = rng.random() < 0.08
        for _ in range(rng.integers(101, 140) if many else rng.integers(0, 12)):
            b = box()
            category = categories[0 if many else rng.integers(len(categories))]["id"]
            if mine and rng.random() < 0.7:
                near = mine[rng.integers(len(mine))]
                jitter = rng.normal(0, rng.choice([0.0, 1.0, 4.0, 15.0]), 4)
                b = [float(v) for v in np.array(near["bbox"]) + (np.round(jitter) if whole else jitter)]
                b[2:] = [max(v, 0.0) for v in b[2:]]
                category = near["category_id"] if not many and rng.random() < 0.9 else category
            score = float(rng.integers(0, 5) / 4) if shared else float(rng.random())
            results.append({"image_id": image["id"], "category_id": category, "bbox": b, "score": score})
    return {"images": images, "categories": categories, "annotations": annotations}, results


def in_our_order(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The documented rule, in plain Python."""
    return sorted(
        results,
        key=lambda r: (-r["score"], r["image_id"], r["category_id"], -r["bbox"][2] * r["bbox"][3], r["bbox"]),
    )


def plain_pycocotools(dataset: dict[str, Any], results: list[dict[str, Any]]) -> list[float] | None:
    """As a user would call it, on input without its traps; None where it cannot run."""
    if not results or not dataset["annotations"]:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(in_our_order(results))), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(x) for x in evaluator.stats]


def iou(d: list[float], g: list[float], crowd: bool) -> float:
    w = min(d[0] + d[2], g[0] + g[2]) - max(d[0], g[0])
    h = min(d[1] + d[3], g[1] + g[3]) - max(d[1], g[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (d[2] * d[3] if crowd else d[2] * d[3] + g[2] * g[3] - w * h)


def slow_class(dataset, results, category, threshold, low, high, limit) -> tuple[float, float] | None:
    """(AP, final recall) of one class, written from COCO's description, with no library."""
    rows, positives = [], 0  # rows: (score, +1 right, -1 wrong, 0 does not count)
    for image in sorted(i["id"] for i in dataset["images"]):
        objects = [a for a in dataset["annotations"] if (a["image_id"], a["category_id"]) == (image, category)]
        ignored = [bool(a["iscrowd"]) or not low <= a["area"] <= high for a in objects]
        positives += ignored.count(False)
        free = set(range(len(objects)))
        for r in [r for r in in_our_order(results) if (r["image_id"], r["category_id"]) == (image, category)][:limit]:
            best: dict[bool, tuple[float, int] | None] = {False: None, True: None}
            for g, a in enumerate(objects):
                overlap = iou(r["bbox"], a["bbox"], bool(a["iscrowd"]))
                allowed = g in free or a["iscrowd"]
                current = best[ignored[g]]
                # the last of equals wins, as in COCO's loop
                if allowed and overlap >= threshold and (current is None or overlap >= current[0]):
                    best[ignored[g]] = (overlap, g)
            chosen = best[False] or best[True]  # a real object before any ignored one
            if chosen is None:
                outside = not low <= r["bbox"][2] * r["bbox"][3] <= high
                rows.append((r["score"], 0 if outside else -1))
            else:
                free.discard(chosen[1])
                rows.append((r["score"], 0 if ignored[chosen[1]] else 1))
    if positives == 0:
        return None
    rows.sort(key=lambda row: -row[0])
    points, right, wrong = [], 0, 0
    for _, kind in rows:
        right, wrong = right + (kind == 1), wrong + (kind == -1)
        points.append((right / positives, right / (right + wrong) if right + wrong else 0.0))
    ap = [max([p for r, p in points if r >= level], default=0.0) for level in np.linspace(0, 1, 101)]
    return float(np.mean(ap)), right / positives


def slow_coco(dataset, results) -> list[float | None]:
    ranges = {"all": (0, 1e10), "small": (0, 1024), "medium": (1024, 9216), "large": (9216, 1e10)}

    def mean(which: int, thresholds, area: str, limit: int) -> float | None:
        values = [
            slow_class(dataset, results, c["id"], t, *ranges[area], limit)
            for t in thresholds
            for c in dataset["categories"]
        ]
        present = [v[which] for v in values if v is not None]
        return float(np.mean(present)) if present else None

    ten = np.linspace(0.5, 0.95, 10)
    return [
        mean(0, ten, "all", 100), mean(0, ten[:1], "all", 100), mean(0, ten[5:6], "all", 100),
        *(mean(0, ten, area, 100) for area in ("small", "medium", "large")),
        *(mean(1, ten, "all", limit) for limit in (1, 10, 100)),
        *(mean(1, ten, area, 100) for area in ("small", "medium", "large")),
    ]  # fmt: skip


def compare(seeds: range) -> dict[str, int]:
    """All cases through our path with both engines and through plain pycocotools; how many had what."""
    seen = dict.fromkeys(("cases", "ties", "crowds", "no results", "no objects", "over 100", "n/a"), 0)
    for seed in seeds:
        dataset, results = random_case(seed)
        truth = TruthTable.from_coco_json(copy.deepcopy(dataset))
        ours = coco_evaluate(truth, results, engine="pycocotools")
        fast = coco_evaluate(truth, results, engine="faster")
        for a, b in ((ours.numbers, fast.numbers), (vars_of(ours), vars_of(fast))):
            assert a.keys() == b.keys()
            for key in a:
                assert (a[key] is None) == (b[key] is None), (seed, key)
                assert a[key] is None or abs(a[key] - b[key]) < 1e-12, (seed, key, a[key], b[key])
        oracle = plain_pycocotools(dataset, results)
        if oracle is not None:
            expected = [None if x == -1 else x for x in oracle]
            got = [ours.numbers[n] for n in NUMBERS]
            assert [x is None for x in got] == [x is None for x in expected], seed
            assert [x for x in got if x is not None] == pytest.approx(
                [x for x in expected if x is not None], abs=1e-12
            ), seed
        keys = [(r["image_id"], r["category_id"], r["score"]) for r in results]
        seen["cases"] += 1
        seen["ties"] += len(set(keys)) < len(keys)
        seen["crowds"] += any(a["iscrowd"] for a in dataset["annotations"])
        seen["no results"] += not results
        seen["no objects"] += not any(not a["iscrowd"] for a in dataset["annotations"])
        groups = Counter((r["image_id"], r["category_id"]) for r in results)
        seen["over 100"] += max(groups.values(), default=0) > 100  # in one image and class: where COCO cuts
        seen["n/a"] += None in ours.numbers.values()
    return seen


def vars_of(scores) -> dict[str, float | None]:
    return dict(enumerate([*scores.class_ap, *scores.class_ap50]))


def test_150_random_cases():
    pytest.importorskip("faster_coco_eval")
    seen = compare(range(150))
    assert all(count > 0 for count in seen.values()), seen  # every kind of case was there


@pytest.mark.slow
def test_2000_random_cases():
    pytest.importorskip("faster_coco_eval")
    seen = compare(range(10_000, 12_000))
    print(seen)
    assert all(count > 10 for count in seen.values()), seen


def test_an_independent_implementation_gives_the_same():
    for seed in range(500, 530):
        dataset, results = random_case(seed)
        numbers = coco_evaluate(TruthTable.from_coco_json(copy.deepcopy(dataset)), results).numbers
        for name, expected in zip(NUMBERS, slow_coco(dataset, results), strict=True):
            assert numbers[name] == (None if expected is None else pytest.approx(expected, abs=1e-9)), (seed, name)
