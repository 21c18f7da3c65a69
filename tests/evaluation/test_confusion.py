import numpy as np

from visionkit.evaluation.confusion import confusion_lines, confusion_matrix, most_confused

NAMES = ["cat", "dog", "horse"]


def test_rows_are_the_truth():
    counts = confusion_matrix(np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 0, 2]), 3)
    assert counts.tolist() == [[1, 2, 0], [1, 0, 0], [0, 0, 1]]


def test_random_cases_equal_counting():
    rng = np.random.default_rng(0)
    labels, found = rng.integers(0, 5, (2, 200))
    counts = confusion_matrix(labels.astype(np.int32), found, 5)
    for i in range(5):
        for j in range(5):
            assert counts[i, j] == ((labels == i) & (found == j)).sum()


def test_the_worst_pairs_first():
    counts = np.array([[90, 3, 7], [3, 7, 0], [5, 2, 3]])
    pairs = [(pair.truth, pair.found, pair.pictures) for pair in most_confused(counts)]
    # 3 of 10 dogs before 3 of 100 cats; what is right is in no pair
    assert pairs == [(0, 2, 7), (2, 0, 5), (1, 0, 3), (0, 1, 3), (2, 1, 2)]
    assert most_confused(counts)[0].share == 0.07
    assert len(most_confused(counts, 2)) == 2
    assert confusion_lines(NAMES, counts, 2) == ["cat -> horse  7 of 100", "horse -> cat  5 of 10"]


def test_nothing_confused_and_nothing_at_all():
    assert most_confused(np.diag([3, 0, 2])) == [] and confusion_lines(NAMES, np.zeros((3, 3), int)) == []
    none = np.zeros(0, np.int64)
    assert confusion_matrix(none, none, 3).tolist() == [[0] * 3] * 3
