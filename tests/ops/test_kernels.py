import subprocess
import sys

import pytest

from visionkit.ops.kernels import torchvision_ops

CHEAP = """
import sys
import torch
from visionkit.ops import anchors, boxes, deltas, hashing, kernels, losses
from visionkit.ops import matching, nms, reduce, resize, roi_pool, sampling
roi_pool.roi_align([torch.zeros(1, 2, 4, 4)], torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64), [4], 2)
nms.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
assert "torchvision" not in sys.modules
"""


def test_finds_torchvisions_kernels_once():
    ops = torchvision_ops()
    assert ops is not None and ops.__name__ == "torchvision.ops"
    assert torchvision_ops() is ops


def test_none_without_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)  # makes the import raise ImportError
    assert torchvision_ops.__wrapped__() is None


@pytest.mark.parametrize("built", [True, False])
def test_none_when_the_compiled_part_does_not_load(monkeypatch, built):
    import torchvision.extension

    monkeypatch.setattr(torchvision.extension, "_has_ops", lambda: built)
    assert (torchvision_ops.__wrapped__() is None) is not built


def test_importing_the_ops_does_not_import_torchvision():
    run = subprocess.run([sys.executable, "-c", CHEAP], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
