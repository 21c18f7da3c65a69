"""Inputs on which evaluators give a wrong number without a word, or crash; each with what we do instead."""

import contextlib
import copy
import io
import json
import math
import random

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visionkit.errors import ConfigError, DataError
from visionkit.evaluation.coco_map import NUMBERS, coco_evaluate
from visionkit.evaluation.evaluate import evaluate_detections
from visionkit.evaluation.truth import TruthTable
from visionkit.evaluation.voc_ap import voc_evaluate

ENGINES = ["pycocotools", "faster"]


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    if request.param == "faster":
        pytest.importorskip("faster_coco_eval")
    return request.param


def dataset(objects: int = 4) -> dict:
    return {
        "images": [{"id": 7, "height": 100, "width": 400}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {
                "id": i + 1,
                "image_id": 7,
                "category_id": 3,
                "bbox": [40.0 * i, 10.0, 30.0, 30.0],
                "area": 900.0,
                "iscrowd": 0,
            }
            for i in range(objects)
        ],
    }


def perfect(content: dict) -> list[dict]:
    return [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": list(a["bbox"]), "score": 0.9 - 0.01 * i}
        for i, a in enumerate(content["annotations"])
    ]


def plain(content: dict, results: list[dict]) -> float:
    """AP by pycocotools as one would call it."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(content)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return float(evaluator.stats[0])


def ap(content: dict, results: list[dict], engine: str = "auto") -> float | None:
    return coco_evaluate(TruthTable.from_coco_json(content), results, engine=engine).numbers["AP"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("place", range(4))
def test_a_box_that_is_no_box_is_refused(value, place):
    results = perfect(dataset())
    results[2]["bbox"][place] = value
    with pytest.raises(DataError, match=r"entry 2 \(image 7\) has a box"):
        ap(dataset(), results)
    content = dataset()
    content["annotations"][1]["bbox"][place] = value
    with pytest.raises(DataError, match="annotation 2 has a box"):
        TruthTable.from_coco_json(content)


def test_all_boxes_nan_is_not_a_perfect_score():
    """pycocotools alone gives 1.000 for this."""
    results = [r | {"bbox": [math.nan] * 4} for r in perfect(dataset())]
    assert plain(dataset(), results) == pytest.approx(1.0)
    with pytest.raises(DataError, match="entry 0"):
        evaluate_detections(TruthTable.from_coco_json(dataset()), results)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(score):
    results = perfect(dataset())
    results[1]["score"] = score
    with pytest.raises(DataError, match=r"entry 1 \(image 7\) has a score"):
        ap(dataset(), results)


def test_annotation_ids_do_not_matter(engine):
    """Id 0 and doubled ids lower AP in pycocotools."""
    zero, double = dataset(), dataset()
    for i, annotation in enumerate(zero["annotations"]):
        annotation["id"] = i
    for annotation in double["annotations"]:
        annotation["id"] = 1
    assert plain(zero, perfect(zero)) < 0.9 and plain(double, perfect(double)) < 0.9
    assert ap(zero, perfect(zero), engine) == pytest.approx(1.0)
    assert ap(double, perfect(double), engine) == pytest.approx(1.0)
    for annotation in zero["annotations"]:
        del annotation["id"]
    assert ap(zero, perfect(zero), engine) == pytest.approx(1.0)


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_annotations_of_nothing_are_refused_not_dropped(key):
    content = dataset()
    content["annotations"][3][key] = 555
    with pytest.raises(DataError, match=f"annotation 4 has the {key} 555"):
        TruthTable.from_coco_json(content)
    results = perfect(dataset())
    results[3][key] = 555
    with pytest.raises(DataError, match=f"entry 3 has the {key} 555"):
        ap(dataset(), results)


def test_ties_do_not_move_ap(engine):
    content = dataset(12)
    wrong = [[500.0 + 40 * i, 60.0, 30.0, 30.0 - i] for i in range(24)]
    results = [r | {"score": 0.5} for r in perfect(content)]
    results += [{"image_id": 7, "category_id": 3, "bbox": box, "score": 0.5} for box in wrong]
    ours, theirs, voc = set(), set(), set()
    for seed in range(6):
        random.Random(seed).shuffle(results)
        ours.add(ap(content, results, engine))
        theirs.add(plain(content, results))
        voc.add(voc_evaluate(TruthTable.from_coco_json(content), results).map10)
    assert len(theirs) > 1  # the trap is real
    assert len(ours) == 1 and len(voc) == 1


def test_no_detections_at_all_is_zero(engine):
    scores = coco_evaluate(TruthTable.from_coco_json(dataset()), [], engine=engine)
    assert scores.numbers["AP"] == 0.0 and scores.numbers["AR100"] == 0.0
    assert scores.class_ap == [0.0, None]


def test_missing_area_and_iscrowd(engine):
    content = dataset()
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    scores = coco_evaluate(TruthTable.from_coco_json(content), perfect(content), engine=engine)
    assert scores.numbers["AP"] == pytest.approx(1.0)
    assert scores.numbers["AP_small"] == pytest.approx(1.0)  # the box's area: 30 x 30
    assert scores.numbers["AP_large"] is None


def test_nothing_to_find_is_none_never_minus_one(engine):
    """No objects; only crowds; no classes; no images: with and without detections."""
    empty = dataset(0)
    crowds = dataset()
    for annotation in crowds["annotations"]:
        annotation["iscrowd"] = 1
    nothing = {"images": [], "annotations": [], "categories": []}
    results = perfect(dataset())
    for content, found in ((empty, []), (empty, results), (crowds, results), (crowds, []), (nothing, [])):
        scores = coco_evaluate(TruthTable.from_coco_json(content), found, engine=engine)
        assert list(scores.numbers) == list(NUMBERS)
        assert set(scores.numbers.values()) == {None}
        assert set(scores.class_ap) <= {None} and len(scores.class_ap) == len(content["categories"])
        report = evaluate_detections(TruthTable.from_coco_json(content), found, voc=True, engine=engine)
        assert set(report.metrics.values()) == {None}
        assert "-1" not in str(report)
    assert "n/a (0 objects)" in str(evaluate_detections(TruthTable.from_coco_json(empty), results, engine=engine))


def test_scores_are_not_rounded_before_ranking(engine):
    """Ten wrong boxes a hair below the right one; rounding would mix them."""
    content = dataset(1)
    results = [r | {"score": 0.5 + 1e-9} for r in perfect(content)]
    # larger than the right one, so that the rule for ties would put them first
    results += [{"image_id": 7, "category_id": 3, "bbox": [60.0 + i, 0.0, 90.0, 90.0], "score": 0.5} for i in range(10)]
    assert ap(content, results, engine) == pytest.approx(1.0)
    assert voc_evaluate(TruthTable.from_coco_json(content), results).map10 == pytest.approx(1.0)
    rounded = [r | {"score": round(r["score"], 3)} for r in results]
    assert ap(content, rounded, engine) < 0.2


def test_python_reads_nan_from_a_file_and_we_refuse_it(tmp_path):
    from visionkit.evaluation.predictions import read_predictions

    path = tmp_path / "results.json"
    path.write_text(json.dumps(perfect(dataset())).replace("30.0", "NaN", 1))
    with pytest.raises(DataError, match=r"results\.json: entry 0 \(image 7\)"):
        read_predictions(path, TruthTable.from_coco_json(dataset()))


def test_standard_output_stays_silent(capfd, engine):
    ap(dataset(), perfect(dataset()), engine)
    assert capfd.readouterr().out == ""


def test_inputs_are_left_as_they_were(engine):
    content, results = dataset(), perfect(dataset())
    before = copy.deepcopy((content, results))
    ap(content, results, engine)
    assert (content, results) == before


def test_unknown_engine_and_type_are_named():
    truth = TruthTable.from_coco_json(dataset())
    with pytest.raises(ConfigError, match="fastest"):
        coco_evaluate(truth, [], engine="fastest")
    with pytest.raises(ConfigError, match="keypoints"):
        coco_evaluate(truth, [], iou_type="keypoints")


def test_area_edges_belong_to_both_sides(engine):
    """COCO's ranges include both ends: 32 x 32 is small and medium, 96 x 96 medium and large."""
    content = dataset(2)
    content["annotations"][0] |= {"bbox": [0.0, 0.0, 32.0, 32.0], "area": 1024.0}
    content["annotations"][1] |= {"bbox": [100.0, 0.0, 96.0, 96.0], "area": 9216.0}
    scores = coco_evaluate(TruthTable.from_coco_json(content), perfect(content)[:1], engine=engine).numbers
    assert scores["AR_small"] == pytest.approx(1.0)
    assert scores["AR_medium"] == pytest.approx(0.5)
    assert scores["AR_large"] == pytest.approx(0.0)


def test_classes_in_any_order_of_ids(engine):
    """The evaluators go by category id, the table by position: the columns must not be swapped."""
    content = dataset(2)
    content["annotations"][1]["category_id"] = 9
    table = TruthTable.from_coco_json(content)
    turned = TruthTable(
        **{
            **vars(table),
            "names": table.names[::-1],
            "category_ids": table.category_ids[::-1],
            "labels": 1 - table.labels,
        }
    )
    results = perfect(content)[:1]  # only the cat is found
    assert coco_evaluate(table, results, engine=engine).class_ap == pytest.approx([1.0, 0.0])
    assert coco_evaluate(turned, results, engine=engine).class_ap == pytest.approx([0.0, 1.0])
    assert np.nanmean(coco_evaluate(turned, results, engine=engine).precision50, axis=1) == pytest.approx([0.0, 1.0])


def test_difficult_objects_are_neither_found_nor_missed_in_coco_numbers(engine):
    """VOC's flag has no place in COCO's evaluator; counted as an ordinary object it would lower recall here."""
    content = dataset(2)
    content["annotations"][1]["difficult"] = 1
    table = TruthTable.from_coco_json(content)
    for found in (perfect(content), perfect(content)[:1]):
        scores = coco_evaluate(table, found, engine=engine)
        assert scores.numbers["AP"] == pytest.approx(1.0) and scores.objects.tolist() == [1, 0]
    only = coco_evaluate(table, perfect(content)[1:], engine=engine)
    assert only.numbers["AP"] == 0.0 and only.numbers["AR100"] == 0.0
