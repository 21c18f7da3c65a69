"""How long a model takes for a picture, with the time for given proposals apart: the lecture's comparison."""

import statistics
import time
from typing import Any

import torch

from visionkit.data.index import DetectionIndex
from visionkit.data.loaders import test_batches
from visionkit.data.segmentation import SegmentationIndex
from visionkit.models.region_detector import RegionDetector

IMAGES = 20  # looked at, at most
SECONDS = 60.0  # after which no further one is begun


def test_seconds(model: Any, index: Any) -> dict[str, float | None]:
    """`test_seconds`: the median over the first pictures of one `detect` or `segment`, reading not counted; one goes
    before to warm up. `proposal_seconds`: of finding the given regions of a picture, where the model takes such (0
    else, None where nobody has measured it).

    Nothing for other models than detectors of regions and segmenters, or an empty set.
    """
    look = getattr(model, "detect" if isinstance(model, RegionDetector) else "segment", None)
    if look is None or len(index) == 0 or not isinstance(index, DetectionIndex | SegmentationIndex):
        return {}
    device = next(model.parameters()).device
    found: list[float] = []
    begun = time.perf_counter()
    some = index.select(range(min(IMAGES, len(index))))
    for _, batch, originals in test_batches(some, model.resize, 1):
        moved = batch.to(device)
        if not found:
            look(moved, originals)
            _wait(device)
        start = time.perf_counter()
        look(moved, originals)
        _wait(device)
        found.append(time.perf_counter() - start)
        if time.perf_counter() - begun > SECONDS:
            break
    if isinstance(index, SegmentationIndex):
        return {"test_seconds": statistics.median(found)}
    known = 0.0 if index.proposals is None else index.proposals.seconds_an_image()
    return {"test_seconds": statistics.median(found), "proposal_seconds": known}


test_seconds.__test__ = False  # type: ignore[attr-defined]  # the name is not a test's


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
