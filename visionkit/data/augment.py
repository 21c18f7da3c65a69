"""The one room of albumentations. It is imported when an `Augment` is made, never with this module."""

import difflib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visionkit.errors import ConfigError
from visionkit.ops.hashing import mix
from visionkit.structures import Sample, Truth

_STREAM = 3  # see visionkit.data.transforms


class Augment:
    """Applies albumentations' transforms to image, boxes, masks, semantic mask and proposals together.

    Boxes are clipped to the image; those left without extent, or with less than `min_visibility` of their area, go,
    and their labels and masks with them. Randomness is a function of `Sample.seed`: albumentations' own generators,
    which repeat from worker to worker, are seeded anew for every sample (about 0.5 ms). Semantic pixels that come
    from outside the image become 255 = ignore.

    Args:
        transforms: mappings of `name` (a class of albumentations) and its arguments, in order; OneOf, SomeOf and
            Sequential take a list `transforms` of the same kind.
        min_visibility: least share of a box's area that must stay inside, 0 ... 1.
    Raises:
        ConfigError: an unknown name (near ones are listed) or argument, or a transform that does not give uint8 RGB.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]], min_visibility: float = 0.0) -> None:
        library = _albumentations()
        boxes = library.BboxParams(
            format="pascal_voc",
            label_fields=["rows"],
            min_visibility=min_visibility,
            clip=True,
            filter_invalid_bboxes=True,
        )
        self._compose = library.Compose([_build(library, spec) for spec in transforms], bbox_params=boxes)

    def __call__(self, sample: Sample) -> Sample:
        truth, count = sample.truth, len(sample.truth.boxes)
        proposals = np.zeros((0, 4), np.float32) if sample.proposals is None else sample.proposals
        boxes = np.concatenate([truth.boxes, proposals])  # (G + P, 4)
        boxes, rows = _inside(boxes, sample.image.shape[:2])
        inputs: dict[str, Any] = {"image": sample.image, "bboxes": boxes, "rows": rows}
        if truth.masks is not None and count:
            inputs["masks"] = truth.masks.astype(np.uint8)
        if truth.semantic is not None:  # shifted by one, so that the library's fill of 0 is "ignore" (255 + 1 = 0)
            inputs["mask"] = (truth.semantic + 1).astype(np.uint8)

        self._compose.set_random_seed(mix(sample.seed, _STREAM))
        outputs = self._compose(**inputs)

        image = outputs["image"]
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ConfigError("augment: the transforms must give uint8 RGB; normalising is the model's part.")
        moved = np.asarray(outputs["bboxes"], np.float32).reshape(-1, 4)
        moved, kept = _inside(moved, image.shape[:2])
        rows = np.asarray(outputs["rows"], np.int64).reshape(-1)[kept]
        own = rows < count
        changed = Truth(
            boxes=moved[own],
            labels=truth.labels[rows[own]],
            crowd=truth.crowd[rows[own]],
            masks=None if truth.masks is None else _masks(outputs.get("masks"), rows[own], image.shape[:2]),
            semantic=None if truth.semantic is None else outputs["mask"].astype(np.uint8).astype(np.int64),
            image_label=truth.image_label,
        )
        if changed.semantic is not None:
            changed = replace(changed, semantic=(changed.semantic + 255) % 256)  # the shift back
        given = None if sample.proposals is None else moved[~own]
        return replace(sample, image=np.ascontiguousarray(image), truth=changed, proposals=given)


def _inside(boxes: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (N, 4) clipped to (height, width), less those without extent; and the rows that stayed."""
    limit = np.array([size[1], size[0]] * 2, np.float32)
    boxes = np.clip(boxes, 0, limit)
    rows = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    return boxes[rows], rows


def _masks(masks: Any, rows: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if masks is None or len(rows) == 0:
        return np.zeros((0, size[0], size[1]), bool)
    return np.stack([np.asarray(masks[row]) for row in rows]).astype(bool)  # (G, H, W)


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import asks the network for a newer version
    import albumentations

    return albumentations


def _is_transform(library: Any, kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, library.BasicTransform | library.BaseCompose)


def _build(library: Any, spec: Mapping[str, Any]) -> Any:
    arguments = {str(key): value for key, value in spec.items()}
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"augment: each transform needs a name, which {dict(spec)} lacks.")
    known = {n: kind for n, kind in vars(library).items() if _is_transform(library, kind)}
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise ConfigError(f"augment: albumentations has no transform '{name}'{hint}")
    if "transforms" in arguments:
        arguments["transforms"] = [_build(library, inner) for inner in arguments["transforms"]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # it only warns of a mistyped argument, and goes on without
            return known[name](**arguments)
    except (UserWarning, TypeError, ValueError) as error:
        raise ConfigError(f"augment: {name}: {_first_line(error)}.") from None


def _first_line(error: Exception) -> str:
    """The library checks arguments with pydantic, whose text is a page: a count, then argument, problem and links."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1].strip()}: {lines[2].partition(' [type=')[0].strip()}"
    return lines[0].rstrip(".")
