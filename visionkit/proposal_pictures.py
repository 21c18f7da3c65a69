"""What `tools/explain.py method=proposals` draws: objectness by level, and the road from anchors to final boxes."""

from typing import Any

import numpy as np

from visionkit.errors import ConfigError
from visionkit.explain.proposal_road import Road, proposal_road
from visionkit.explanations import View
from visionkit.models.region_detector import RegionDetector
from visionkit.predictor import Predictor
from visionkit.viz.panels import Panel, picture_panel
from visionkit.viz.proposal_road import DRAWN, detections_panel, objectness_panels, step_panel


def proposal_panels(predictor: Predictor, view: View, threshold: float = 0.5) -> tuple[list[Panel], list[str]]:
    """The panels of a picture, in the order of the road, and lines with the numbers of boxes at each step; of the final
    boxes those with scores above the threshold are drawn."""
    model = predictor.model
    if not isinstance(model, RegionDetector):
        raise ConfigError(f"method=proposals is for detectors, and this is a {type(model).__name__}.")
    road = proposal_road(model, view.batch)
    canvas = (view.images.shape[-2], view.images.shape[-1])
    objectness = {name: _array(values) for name, values in road.objectness.items()}
    found = road.detections
    kept = found.scores >= threshold
    panels = [picture_panel(view.picture, "the picture"), *objectness_panels(view.picture, objectness, canvas)]
    panels += [
        step_panel(view.picture, _array(road.top), f"1. the best of {_count(sum(road.anchors.values()))} anchors"),
        step_panel(view.picture, _array(road.moved), "2. moved by their deltas", _array(road.top_scores)),
        step_panel(view.picture, _array(road.proposals), "3. after NMS: proposals", _array(road.proposal_scores)),
        step_panel(view.picture, _array(road.regions), "4. regions of detections"),
        detections_panel(
            view.picture,
            _array(found.boxes[kept]),
            _array(found.labels[kept]),
            _array(found.scores[kept]),
            predictor.names,
            f"5. detections above {threshold:g}",
        ),
    ]
    return panels, steps(road)


def steps(road: Road) -> list[str]:
    """How many boxes there are at each step, in words."""
    levels = ", ".join(f"{name} {_count(count)}" for name, count in road.anchors.items())
    return [
        f"{_count(sum(road.anchors.values()))} anchors ({levels}), {_count(len(road.top))} with the best scores of "
        f"their level, {_count(len(road.proposals))} proposals after NMS, {len(road.detections.boxes)} detections",
        f"of each step the best {DRAWN} are drawn, weak ones violet, strong ones yellow",
    ]


def _count(number: int) -> str:
    return f"{number:,}"


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().float().cpu() if values.is_floating_point() else values.cpu())
