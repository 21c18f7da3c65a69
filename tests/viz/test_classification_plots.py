"""The matrix is readable for few classes and for many, and a single mistake can be seen in it."""

import numpy as np
import pytest
from PIL import Image

from visionkit.viz.classification_plots import CELLS, _coarse, plot_confusion, plot_reliability, short_name


def picture(path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("count", [2, 24, 100, 601])
def test_a_single_mistake_is_seen(tmp_path, count):
    names, right = [f"class {k}" for k in range(count)], 50 * np.eye(count, dtype=np.int64)
    wrong = right.copy()
    wrong[count - 1, 0] += 1
    pictures = [picture(plot_confusion(names, c, tmp_path / f"{i}.png")) for i, c in enumerate((right, wrong))]
    assert pictures[0].shape == pictures[1].shape and max(pictures[0].shape) < 2200
    changed = np.abs(pictures[0].astype(int) - pictures[1]).max(axis=2) > 15
    assert changed.sum() > 4
    below = changed[pictures[0].shape[0] // 3 :, : pictures[0].shape[1] // 2]
    assert below.any(), "the last class was taken for the first: below on the left"


def test_what_does_not_fit_as_names_stands_beside(tmp_path):
    names, counts = [f"class {k}" for k in range(60)], np.eye(60, dtype=np.int64)
    without = picture(plot_confusion(names, counts, tmp_path / "a.png"))
    beside = picture(plot_confusion(names, counts, tmp_path / "b.png", ["class 1 -> class 2  3 of 9"]))
    assert without.shape != beside.shape or (without != beside).any()
    few = [plot_confusion(names[:3], counts[:3, :3], tmp_path / f"{pairs}.png", pairs) for pairs in ((), ("text",))]
    assert (picture(few[0]) == picture(few[1])).all()


def test_long_names_and_no_pictures(tmp_path):
    long = ["x" * 300, "short"]
    assert len(short_name(long[0])) == 24 and short_name(long[0]).endswith("…") and short_name("short") == "short"
    found = picture(plot_confusion(long, np.zeros((2, 2), np.int64), tmp_path / "a.png"))
    assert (found == 0xDD).all(axis=2).mean() > 0.1, "grey: nothing is known"


def test_blocks_keep_the_largest_share():
    shares = np.full((CELLS + 3, CELLS + 3), 0.0)
    shares[0, CELLS + 2], shares[1, 4], shares[4] = 0.7, 0.3, np.nan
    coarse, block = _coarse(shares)
    assert block == 2 and coarse.shape == (127, 127)
    assert coarse[0, -1] == 0.7 and coarse[0, 2] == 0.3 and np.nansum(coarse) == 1.0
    assert coarse[2, 0] == 0.0, "a class with pictures beside one without"
    assert _coarse(shares[:4, :4])[1] == 1


def test_reliability(tmp_path):
    counts, trust = np.array([0, 4, 9]), np.array([np.nan, 0.5, 0.9])
    good = picture(plot_reliability(counts, trust, trust, tmp_path / "a.png", 0.0))
    bad = picture(plot_reliability(counts, trust, trust - 0.3, tmp_path / "b.png", 0.3))
    assert good.shape == bad.shape and (good != bad).any(axis=2).sum() > 1000
    empty = plot_reliability(np.zeros(3, int), np.full(3, np.nan), np.full(3, np.nan), tmp_path / "c.png", None)
    assert picture(empty).std() > 1
