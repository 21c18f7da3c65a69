"""Which windows can be learned from."""

import torch

from visionkit.models.window_sampler import WindowSampler
from visionkit.structures import Batch, Proposals, Targets

K = 3


def batch(count: int) -> Batch:
    sizes = torch.tensor([[64, 64]] * count)
    return Batch(torch.zeros(count, 3, 64, 64, dtype=torch.uint8), sizes, torch.arange(count), torch.arange(count) + 7)


def windows(boxes: list, valid: list | None = None, count: int = 1) -> Proposals:
    tensor = torch.tensor(boxes, dtype=torch.float32).expand(count, -1, -1)
    flags = torch.ones(tensor.shape[:2], dtype=torch.bool) if valid is None else torch.tensor(valid)
    return Proposals(tensor, torch.ones(tensor.shape[:2]), flags)


def truth(boxes: list, labels: list, crowd: bool = False) -> Targets:
    tensor = torch.tensor(boxes, dtype=torch.float32)
    valid = tensor.sum(dim=2) > 0
    return Targets(tensor, torch.tensor(labels), valid, valid & crowd)


FOUR = [[0, 0, 20, 20], [0, 0, 20, 30], [0, 0, 20, 45], [40, 40, 60, 60]]  # IoU 1, 0.67, 0.44 and 0 with the object


def by_box(regions) -> dict[tuple, tuple[int, float]]:
    rows = zip(regions.boxes.tolist(), regions.labels.tolist(), regions.weights.tolist(), strict=True)
    return {tuple(box): label for box, label, weight in rows if weight > 0}


def test_positive_negative_and_neither():
    regions = WindowSampler(K)(batch(1), windows(FOUR), truth([[[0, 0, 20, 20]]], [[2]]))
    assert by_box(regions) == {(0, 0, 20, 20): 2, (0, 0, 20, 30): 2, (40, 40, 60, 60): K}
    foreground = regions.labels < K
    assert (regions.matched[foreground] == torch.tensor([0.0, 0, 20, 20])).all()


def test_every_object_has_its_best_window():
    regions = WindowSampler(K)(batch(1), windows(FOUR), truth([[[40, 40, 48, 48]]], [[1]]))  # IoU 0.16 at best
    assert by_box(regions)[40, 40, 60, 60] == 1


def test_windows_that_do_not_count_are_not_learned_from():
    valid = [[True, False, True, False]]
    regions = WindowSampler(K)(batch(1), windows(FOUR, valid), truth([[[0, 0, 20, 20]]], [[2]]))
    assert by_box(regions) == {(0, 0, 20, 20): 2}


def test_a_crowd_is_neither_positive_nor_negative():
    regions = WindowSampler(K)(batch(1), windows(FOUR), truth([[[0, 0, 30, 50]]], [[2]], crowd=True))
    assert by_box(regions) == {(40, 40, 60, 60): K}


def test_no_objects():
    regions = WindowSampler(K)(batch(2), windows(FOUR, count=2), truth([[[0, 0, 0, 0]]] * 2, [[0]] * 2))
    assert (regions.labels == K).all() and regions.weights.sum() == 8
    assert regions.image_index.tolist() == [0] * 4 + [1] * 4


def test_counts_and_random_draws():
    many = [[x, y, x + 8, y + 8] for y in range(0, 56, 4) for x in range(0, 56, 4)]
    sampler = WindowSampler(K, positives=3, negatives=20, high=0.1, low=0.05)
    targets = truth([[[0, 0, 30, 30]]] * 2, [[0]] * 2)
    both = sampler(batch(2), windows(many, count=2), targets)
    assert len(both.boxes) == 46 and both.weights.all()
    assert (both.labels[:23] < K).sum() == 3
    assert not torch.equal(both.boxes[:23], both.boxes[23:]), "images draw by their seeds"
    again = sampler(batch(1), windows(many), truth([[[0, 0, 30, 30]]], [[0]]))
    assert torch.equal(again.boxes, both.boxes[:23]), "and independently of the others in the batch"
