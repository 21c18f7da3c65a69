"""What `tools/explain.py` does once settings and pictures are known."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visionkit.data.image import read_image
from visionkit.data.progress import Progress
from visionkit.engine.precision import precision_lines
from visionkit.errors import ConfigError, VisionKitError
from visionkit.explain.layers import require_layer
from visionkit.explain_wholes import WHOLES
from visionkit.explanation_page import page
from visionkit.explanations import Settings, View, explained, header, no_gradients_needed, target_of, view_of
from visionkit.occlusion_panels import OcclusionSettings
from visionkit.pictures import write_image
from visionkit.predictor import Predictor, load, published
from visionkit.proposal_pictures import proposal_panels
from visionkit.viz.panels import Panel, sheet

Pictures = Sequence[tuple[str, Path]]

NOTES = {
    "Grad-CAM": "where a layer's maps speak for the score: each weighted by its mean gradient, negative sums cut.",
    "HiResCAM": "maps times gradients, place by place: 0 where the score does not look, as outside of a detection.",
    "CAM": "Grad-CAM read off the last linear layer, for networks that end in a mean over places.",
    "occlusion": "how much the score falls when a square there is covered; and the score by the place of the square.",
    "saliency": "how fast the score changes with each pixel, either way.",
    "SmoothGrad": "saliency averaged over noisy copies of the picture.",
    "guided backpropagation": "the backward pass with negative signals cut at every ReLU: edges that matter to the "
    "layers, but hardly different from class to class.",
    "deconvnet": "the backward pass that cuts negative signals and ignores which ReLUs were open.",
    "Guided Grad-CAM": "guided backpropagation where Grad-CAM is high.",
    "bars": "the range of the colours, each panel on its own scale; gray in colour pictures is 0.",
}


def chosen_model(config: Any, device: torch.device) -> Predictor:
    """A checkpoint's model, or a classifier with published weights; its weights take no gradient."""
    if (config.checkpoint is None) == (config.get("backbone") is None):
        raise ConfigError("give either checkpoint=... or task=classify backbone=... backbone.weights=..., not both.")
    predictor = load(config.checkpoint, device) if config.checkpoint is not None else published(config, device)
    no_gradients_needed(predictor.model)
    return predictor


def sheets(config: Any, predictor: Predictor, pictures: Pictures, methods: Sequence[str], folder: Path) -> None:
    """A sheet for each picture, explain.json, and of several pictures a page."""
    settings = _settings(config)
    if settings.layer != "auto":
        require_layer(predictor.model, settings.layer)  # a mistyped one is no reason to leave a method out

    if "occlusion" in methods:
        for line in precision_lines(settings.occlusion.precision, next(predictor.model.parameters()).device):
            print(line)

    def drawn(view: View) -> tuple[list[Panel], list[str], dict[str, Any]]:
        target = target_of(predictor, view, str(config.target))
        panels = explained(predictor, view, target, methods, settings)
        height, width = view.picture.shape[:2]
        record = {"target": target.title, "box": target.corners, "size": [width, height]}
        return panels, header(view, target, predictor), record

    kind = methods[0] if len(methods) == 1 else "sheet"
    _write_each(config, predictor, pictures, kind, folder, drawn, NOTES)


def proposals(config: Any, predictor: Predictor, pictures: Pictures, folder: Path) -> None:
    """The road of the proposals for each picture."""

    def drawn(view: View) -> tuple[list[Panel], list[str], dict[str, Any]]:
        panels, lines = proposal_panels(predictor, view)
        return panels, ["the road of the proposals", *lines], {"steps": lines[0]}

    _write_each(config, predictor, pictures, "proposals", folder, drawn, {})


def _write_each(
    config: Any,
    predictor: Predictor,
    pictures: Pictures,
    kind: str,
    folder: Path,
    drawn: Callable[[View], tuple[list[Panel], list[str], dict[str, Any]]],
    notes: dict[str, str],
) -> None:
    """A sheet for each picture. Of several, those that cannot be explained are told in explain.json, on the page and
    here; where that are all of them, the first one's error is raised."""
    records: list[dict[str, Any]] = []
    failed: list[VisionKitError] = []

    def one(name: str, path: Path) -> tuple[list[str], np.ndarray]:
        try:
            panels, lines, record = drawn(view_of(predictor.model, read_image(str(path)), name))
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        picture, target = sheet(panels, lines, config.columns), folder / f"{name}.{kind}.jpg"
        write_image(target, picture)
        records.append({"image": str(path), "sheet": str(target), **record})
        return lines, picture

    if len(pictures) == 1:
        lines, _ = one(*pictures[0])
        print(f"{pictures[0][0]}: {lines[0]}")
    else:
        model = f"{config.checkpoint or config.backbone.get('weights')}, {len(predictor.names)} classes"
        with (
            page(folder / "index.html", f"{len(pictures)} pictures, {kind}", [model], notes) as found,
            Progress(f"explaining by {kind}", len(pictures), "pictures") as progress,
        ):
            for name, path in pictures:
                try:
                    found.add(name, *one(name, path))
                except VisionKitError as error:
                    failed.append(error)
                    records.append({"image": str(path), "error": str(error)})
                    found.tell(name, str(error))
                progress.advance()
            if len(failed) == len(pictures):
                raise failed[0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "explain.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    for reason in failed:
        print(f"not explained: {reason}")
    if len(pictures) == 1:
        print(f"{records[-1]['sheet']} is written")
    else:
        print(f"{folder / 'index.html'} holds {len(pictures) - len(failed)} pictures, each also a file beside it")


def _settings(config: Any) -> Settings:
    occlusion = OcclusionSettings(
        config.window, config.stride, config.filler, config.precision, config.batch_size, config.seed
    )
    return Settings(config.layer, config.samples, config.noise, config.batch_size, config.seed, occlusion)


def whole(config: Any, predictor: Predictor, pictures: Pictures, method: str, folder: Path) -> None:
    """A method that makes pictures of its own."""
    if method == "proposals":
        proposals(config, predictor, pictures, folder)
        return
    for path in WHOLES[method](config, predictor, pictures, folder):
        print(f"{path} is written")
