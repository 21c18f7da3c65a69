"""What of a whole picture's answer is explained: the score of a class, an edge of a localizer's box, a count."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from visionkit.explain.score import Score
from visionkit.models.classifier import Classifier
from visionkit.models.counter import Counter
from visionkit.models.localizer import Localizer
from visionkit.ops.deltas import decode

EDGES = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Target:
    """One number of a model's answer to one picture.

    Attributes:
        score: the number as gradients want it: a logit, an edge in pixels of the network's image.
        title: what a person calls it, with its value: "tabby 0.83".
        probability: the same in 0 ... 1, for curves and occlusion; None where there is none (edges, counts).
        box: (4,) in pixels of the network's image, to be drawn; None where the whole picture is meant.
        point: (x, y) of a pixel, likewise.
        layer: the layer whose maps decide, where it is not the model's last one: the level of a pyramid.
        label: the class, where the score is that of a class of the whole picture.
    """

    score: Score
    title: str
    probability: Score | None = None
    box: Tensor | None = None
    point: tuple[int, int] | None = None
    layer: str | None = None
    label: int | None = None

    @property
    def corners(self) -> list[float] | None:
        """The box as four numbers."""
        return None if self.box is None else self.box.tolist()


def class_logits(model: Classifier | Localizer) -> Callable[[Tensor], Tensor]:
    """Normalised images (B, C, H, W) -> logits (B, K) float32."""
    return model.scores if isinstance(model, Classifier) else lambda images: model.outputs(images)[0]


def class_score(model: Classifier | Localizer, label: int) -> Score:
    """The logit of a class, before the softmax: a probability also rises when others fall (Simonyan et al. 2014,
    sec. 2)."""
    logits = class_logits(model)
    return lambda images: logits(images)[:, label]


def class_probability(model: Classifier | Localizer, label: int) -> Score:
    """The probability of a class, 0 ... 1."""
    logits = class_logits(model)
    return lambda images: logits(images).softmax(dim=1)[:, label]


def class_target(model: Classifier | Localizer, label: int, name: str, images: Tensor) -> Target:
    """A class's score, titled with its probability on the image (1, C, H, W)."""
    probability = class_probability(model, label)
    title = f"{name} {_value(probability, images):.2f}"
    return Target(class_score(model, label), title, probability, label=label)


def edge_target(model: Localizer, label: int, name: str, edge: str, images: Tensor) -> Target:
    """An edge of the box that a localizer gives a class, in pixels of the network's image, before the box is cut to it:
    beyond the border it has a gradient still."""
    side = EDGES.index(edge)

    def box(given: Tensor) -> Tensor:
        boxes = decode(model.box_head.mean_box, model.outputs(given)[1])  # (B, 1 or K, 4) in units of the picture
        height, width = given.shape[-2:]
        return boxes[:, min(label, boxes.shape[1] - 1)] * boxes.new_tensor([width, height, width, height])  # (B, 4)

    def score(given: Tensor) -> Tensor:
        return box(given)[:, side]

    return Target(score, f"{edge} of {name} at {_value(score, images):.0f} px", box=box(images).detach()[0])


def count_target(model: Counter, name: str, images: Tensor, size: tuple[int, int]) -> Target:
    """The number of objects that a counter finds in a picture of (height, width) without padding."""
    rows, columns = (-(-side // model.head.stride) for side in size)

    def score(given: Tensor) -> Tensor:
        return model.scores(given)[:, :rows, :columns].sum(dim=(1, 2))  # (B,)

    return Target(score, f"{_value(score, images):.1f} {name}")


def _value(score: Score, images: Tensor) -> float:
    return float(score(images).detach()[0])
