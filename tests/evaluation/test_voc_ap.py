"""VOC AP against a plain loop over the kit's whole-pixel boxes, written from the rules and apart from our code."""

from fractions import Fraction

import numpy as np
import pytest

from visionkit.evaluation.predictions import pack_predictions
from visionkit.evaluation.truth import TruthTable
from visionkit.evaluation.voc_ap import _iou, average_precision_11, average_precision_area, voc_evaluate


def table(images: int, objects: list[tuple[int, int, list[int], bool]], classes: int = 2) -> TruthTable:
    """Objects (image, class, whole-pixel VOC box, difficult), read as the VOC reader does."""
    boxes = np.array([[b[0] - 1, b[1] - 1, b[2], b[3]] for _, _, b, _ in objects], dtype=float).reshape(-1, 4)
    return TruthTable(
        source="random",
        names=tuple(f"c{k}" for k in range(classes)),
        category_ids=np.arange(1, classes + 1),
        image_ids=np.arange(images),
        sizes=np.full((images, 2), 100),
        image_index=np.array([o[0] for o in objects], dtype=np.int64),
        labels=np.array([o[1] for o in objects], dtype=np.int64),
        boxes=boxes,
        areas=np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
        crowd=np.zeros(len(objects), dtype=bool),
        difficult=np.array([o[3] for o in objects], dtype=bool),
    )


def entry(image: int, label: int, box: list[int], score: float) -> dict:
    x1, y1, x2, y2 = box
    xywh = [x1 - 1.0, y1 - 1.0, x2 - x1 + 1.0, y2 - y1 + 1.0]
    return {"image_id": image, "category_id": label + 1, "bbox": xywh, "score": score}


def overlap(a: list[int], b: list[int]) -> Fraction:
    """The kit's: both ends included, so every side is one longer."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return Fraction(0)
    sizes = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return Fraction(w * h, sum(sizes) - w * h)


def loop(objects, detections, label: int) -> tuple[Fraction, Fraction] | None:
    """(11-point, area) of one class in exact arithmetic; detections are in ranking order."""
    mine = [o for o in objects if o[1] == label]
    count = sum(not o[3] for o in mine)
    if count == 0:
        return None
    taken: set[int] = set()
    curve, right, wrong = [], 0, 0
    for image, k, box, _ in detections:
        if k != label:
            continue
        best, which = Fraction(-1), -1
        for i, (other_image, _, other, _) in enumerate(mine):
            if other_image == image and overlap(box, other) > best:
                best, which = overlap(box, other), i
        if best >= Fraction(1, 2) and mine[which][3]:
            continue
        if best >= Fraction(1, 2) and which not in taken:
            taken.add(which)
            right += 1
        else:
            wrong += 1
        curve.append((Fraction(right, count), Fraction(right, right + wrong)))
    levels = [Fraction(i, 10) for i in range(11)]
    eleven = sum((max((p for r, p in curve if r >= t), default=Fraction(0)) for t in levels), Fraction(0)) / 11
    area, before = Fraction(0), Fraction(0)
    for i, (r, _) in enumerate(curve):
        area += (r - before) * max(p for _, p in curve[i:])
        before = r
    return eleven, area


def random_case(seed: int):
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 5)), 2

    def box() -> list[int]:
        x, y = rng.integers(1, 60, 2)
        w, h = rng.integers(0, 40, 2)
        return [int(x), int(y), int(x + w), int(y + h)]

    objects = [
        (int(rng.integers(images)), int(rng.integers(classes)), box(), bool(rng.random() < 0.3))
        for _ in range(rng.integers(0, 15))
    ]
    detections = []
    for _ in range(rng.integers(0, 40)):
        image, label, b = int(rng.integers(images)), int(rng.integers(classes)), box()
        if objects and rng.random() < 0.8:
            image, label, b, _ = objects[rng.integers(len(objects))]
            b = [int(v) for v in np.array(b) + rng.integers(-4, 5, 4)]
            b = [max(b[0], 1), max(b[1], 1), max(b[2], b[0], 1), max(b[3], b[1], 1)]
        detections.append((image, label, b, float(rng.integers(0, 6) / 5)))
    rng.shuffle(detections)
    detections = [(int(i), int(k), [int(v) for v in b], float(s)) for i, k, b, s in detections]
    return images, objects, detections


def ranked(detections):
    """The documented rule for ties: image, then larger, then box (x, y, w, h)."""

    def key(d):
        b = d[2]
        w, h = b[2] - b[0] + 1, b[3] - b[1] + 1
        return (-d[3], d[0], -w * h, b[0], b[1], w, h)

    return sorted(detections, key=key)


def test_300_random_cases_equal_the_plain_loop():
    kinds = {"difficult": 0, "none": 0, "partial": 0}
    for seed in range(300):
        images, objects, detections = random_case(seed)
        scores = voc_evaluate(table(images, objects), [entry(*d) for d in detections])
        for k in range(2):
            expected = loop(objects, ranked(detections), k)
            if expected is None:
                assert scores.class_ap07[k] is None and scores.class_ap10[k] is None
                kinds["none"] += 1
                continue
            assert scores.class_ap07[k] == pytest.approx(float(expected[0]), abs=1e-12), (seed, k)
            assert scores.class_ap10[k] == pytest.approx(float(expected[1]), abs=1e-12), (seed, k)
            kinds["partial"] += 0 < expected[1] < 1
            kinds["difficult"] += any(o[3] for o in objects if o[1] == k)
        present = [a for a in scores.class_ap10 if a is not None]
        assert scores.map10 == (pytest.approx(np.mean(present)) if present else None)
    assert min(kinds.values()) > 20, kinds


def test_continuous_overlap_is_the_kits_plus_one_overlap():
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = ([int(x), int(y), int(x + w), int(y + h)] for x, y, w, h in rng.integers(1, 20, (2, 4)))
        ours = _iou(*(np.array([[c[0] - 1, c[1] - 1, c[2], c[3]]], dtype=float) for c in (a, b)))[0, 0]
        assert ours == float(overlap(a, b))  # exactly: both are quotients of whole numbers


def test_overlap_of_exactly_one_half_is_enough():
    truth = table(1, [(0, 0, [1, 1, 10, 20], False)])
    assert voc_evaluate(truth, [entry(0, 0, [1, 1, 10, 10], 0.5)]).map10 == 1.0
    assert voc_evaluate(truth, [entry(0, 0, [1, 1, 10, 9], 0.5)]).map10 == 0.0


def test_second_detection_of_an_object_is_wrong_even_next_to_a_free_one():
    """The kit gives a detection to the object it overlaps most, taken or not; COCO would give it the free one."""
    objects = [(0, 0, [1, 1, 20, 20], False), (0, 0, [3, 1, 22, 20], False)]
    results = [entry(0, 0, [1, 1, 20, 20], 0.9), entry(0, 0, [1, 1, 20, 21], 0.8)]
    assert voc_evaluate(table(1, objects), results).class_ap10[0] == pytest.approx(0.5)


def test_difficult_objects_count_for_nothing():
    """Not to be found, and any number of detections of one is excused."""
    objects = [(0, 0, [1, 1, 20, 20], True), (0, 0, [50, 50, 70, 70], False)]
    hits = [entry(0, 0, [1, 1, 20, 20], 0.9), entry(0, 0, [1, 1, 20, 19], 0.8)]
    scores = voc_evaluate(table(1, objects), [*hits, entry(0, 0, [50, 50, 70, 70], 0.7)])
    assert scores.map10 == 1.0 and scores.map07 == 1.0 and scores.objects.tolist() == [1, 0]
    assert voc_evaluate(table(1, objects), hits).map10 == 0.0
    assert voc_evaluate(table(1, objects[:1]), hits).map10 is None


def test_eleven_points_compare_recall_exactly():
    """3 of 10 is recall 0.3, but 3 * 0.1 > 0.3 in floating point: the fourth point must be reached."""
    assert average_precision_11(np.array([True, True, True]), 10) == pytest.approx(4 / 11)
    assert average_precision_area(np.array([True, False, True]), 4) == pytest.approx((1 + 2 / 3) / 4)


def test_empty_everything():
    nothing = table(0, [], classes=0)
    assert voc_evaluate(nothing, []).map07 is None
    only_truth = table(1, [(0, 0, [1, 1, 5, 5], False)])
    scores = voc_evaluate(only_truth, [])
    assert (scores.map07, scores.map10, scores.class_ap10) == (0.0, 0.0, [0.0, None])
    assert voc_evaluate(table(2, []), [entry(1, 0, [1, 1, 5, 5], 1.0)]).map10 is None


def test_order_of_the_list_does_not_count():
    images, objects, detections = random_case(5)
    truth, entries = table(images, objects), [entry(*d) for d in detections]
    a, b = voc_evaluate(truth, entries), voc_evaluate(truth, pack_predictions(entries[::-1], truth))
    assert a.class_ap07 == b.class_ap07 and a.class_ap10 == b.class_ap10
