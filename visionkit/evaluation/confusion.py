"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Confused(NamedTuple):
    """Pictures of one class that were taken for another."""

    truth: int
    found: int
    pictures: int
    share: float  # of the pictures of `truth`, 0 ... 1


def confusion_matrix(labels: np.ndarray, found: np.ndarray, num_classes: int) -> np.ndarray:
    """(K, K) int64: how many pictures of class i were taken for class j. `labels`, `found`: (N,) in 0 ... K-1."""
    cells = labels.astype(np.int64) * num_classes + found  # (N,)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def most_confused(counts: np.ndarray, most: int = 10) -> list[Confused]:
    """The pairs with the most mistakes, the worst first; of equal ones the larger share of its class, then the order.

    `counts`: (K, K) as `confusion_matrix` gives. Classes without mistakes are in no pair: the list may be empty.
    """
    wrong = counts - np.diag(np.diag(counts))  # (K, K)
    truth, found = np.nonzero(wrong)
    number = wrong[truth, found]
    share = number / counts.sum(axis=1)[truth]
    order = np.lexsort((found, truth, -share, -number))[:most]
    return [Confused(int(truth[i]), int(found[i]), int(number[i]), float(share[i])) for i in order]


def confusion_lines(names: Sequence[str], counts: np.ndarray, most: int = 10) -> list[str]:
    """The most confused pairs as text: `cat -> dog  12 of 100`, aligned."""
    pairs = most_confused(counts, most)
    texts = [f"{names[pair.truth]} -> {names[pair.found]}" for pair in pairs]
    width = max(map(len, texts), default=0)
    totals = counts.sum(axis=1)
    return [
        f"{text:<{width}}  {pair.pictures} of {totals[pair.truth]}" for text, pair in zip(texts, pairs, strict=True)
    ]
