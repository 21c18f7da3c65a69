"""Slots in reading order: who gets which, losses against plain loops, detections, and nothing at all."""

import torch
import torch.nn.functional as F

from visionkit.heads.fixed_boxes import FixedBoxesHead, reading_order
from visionkit.heads.localize import FlattenMaps
from visionkit.structures import Targets

K, SLOTS = 3, 3
SIZES = torch.tensor([[20, 40], [20, 40]])  # height, width
BOXES = [  # the second picture's truths lie from right to left; its last is padding
    [[20, 2, 30, 10], [0, 0, 10, 20], [30, 0, 40, 8], [12, 0, 16, 8]],
    [[32, 4, 36, 8], [8, 4, 12, 8], [0, 0, 40, 20], [0, 0, 0, 0]],
]


def targets(crowd_at: tuple[int, int] | None = (1, 2)) -> Targets:
    boxes = torch.tensor(BOXES, dtype=torch.float32)
    crowd = torch.zeros(2, 4, dtype=torch.bool)
    if crowd_at:
        crowd[crowd_at] = True
    labels = torch.tensor([[0, 1, 2, 1], [2, 0, 1, 0]])
    return Targets(boxes, labels, boxes.sum(dim=2) > 0, crowd)


def nothing() -> Targets:
    flags = torch.zeros(2, 1, dtype=torch.bool)
    return Targets(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.int64), flags, flags)


def head() -> FixedBoxesHead:
    torch.manual_seed(0)
    return FixedBoxesHead(FlattenMaps(4, 2, 5), K, SLOTS, box_weight=2.0, score_threshold=0.2)


def test_truths_go_from_left_to_right_and_those_beyond_the_last_slot_are_left_out():
    labels, boxes, used = reading_order(targets(), SIZES, SLOTS, K)
    assert labels.tolist() == [[1, 1, 0], [0, 2, K]]
    assert used.tolist() == [[True] * 3, [True, True, False]]
    expected = [[5 / 40, 0.5, 0.25, 1.0], [14 / 40, 0.2, 0.1, 0.4], [25 / 40, 0.3, 0.25, 0.4]]
    torch.testing.assert_close(boxes[0], torch.tensor(expected))
    torch.testing.assert_close(boxes[1], torch.tensor([[0.25, 0.3, 0.1, 0.2], [0.85, 0.3, 0.1, 0.2], [0.0] * 4]))


def test_one_object_more_at_the_left_moves_all_others():
    """Why it fails: the same object in the same place has to be answered by another output."""
    fewer = targets((0, 1))
    assert reading_order(targets(None), SIZES, SLOTS, K)[0][0].tolist() == [1, 1, 0]
    assert reading_order(fewer, SIZES, SLOTS, K)[0][0].tolist() == [1, 0, 2]


def test_more_slots_than_truths():
    labels, boxes, used = reading_order(targets(), SIZES, 6, K)
    assert labels.shape == (2, 6) and boxes.shape == (2, 6, 4)
    assert used.sum(dim=1).tolist() == [4, 2] and (labels[~used] == K).all() and (boxes[~used] == 0).all()


def test_losses_equal_plain_loops():
    made, maps, truth = head(), torch.randn(2, 4, 2, 2), targets()
    logits, boxes = made(maps)
    assert logits.shape == (2, SLOTS, K + 1) and boxes.shape == (2, SLOTS, 4)
    labels, wanted, used = reading_order(truth, SIZES, SLOTS, K)
    classes, places = [], []
    for b in range(2):
        for slot in range(SLOTS):
            classes.append(F.cross_entropy(logits[b, slot][None], labels[b, slot][None]))
            if used[b, slot]:
                places.append(((boxes[b, slot] - wanted[b, slot]) ** 2).sum())
    losses = made.losses(maps, truth, SIZES)
    torch.testing.assert_close(losses["loss_class"], torch.stack(classes).mean())
    torch.testing.assert_close(losses["loss_box"], 2.0 * torch.stack(places).mean())


def test_detections_are_the_slots_above_the_threshold_best_first():
    made, maps = head(), torch.randn(2, 4, 2, 2)
    with torch.no_grad():
        made.cls_score.weight.normal_()
        found = made.detect(maps, [(200, 400), (20, 40)])
        logits, boxes = made(maps)
    for b, (height, width) in enumerate(((200, 400), (20, 40))):
        expected = []
        for slot in range(SLOTS):
            cx, cy, w, h = boxes[b, slot].tolist()
            w, h = max(w, 0.0), max(h, 0.0)  # regression may well give a negative side
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            box = [min(max(v, 0.0), 1.0) * side for v, side in zip(box, (width, height) * 2, strict=True)]
            for label, score in enumerate(logits[b, slot].softmax(dim=0)[:K].tolist()):
                if score > 0.2:
                    expected.append((score, label, box))
        expected.sort(key=lambda row: -row[0])
        assert len(expected) > 0
        assert found[b].labels.tolist() == [row[1] for row in expected]
        torch.testing.assert_close(found[b].scores, torch.tensor([row[0] for row in expected]))
        torch.testing.assert_close(found[b].boxes, torch.tensor([row[2] for row in expected]), atol=1e-4, rtol=1e-4)


def test_no_objects_and_no_pictures():
    made = head()
    losses = made.losses(torch.randn(2, 4, 2, 2), nothing(), SIZES)
    assert losses["loss_box"] == 0 and losses["loss_class"].isfinite()
    sum(losses.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in made.parameters())
    assert made.detect(torch.zeros(0, 4, 2, 2), []) == []
