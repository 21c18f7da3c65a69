"""Occlusion: what the model answers while a window slides over the image and hides it (Zeiler and Fergus, "Visualizing
and Understanding Convolutional Networks", 2014, sec. 4.2, fig. 7)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.fillers import Filler, mean_filler

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
Place = tuple[int, int]  # of a window: its first row and column
Answers = Callable[[Sequence[Place]], Tensor]  # n places -> (n,) or (n, K)


@dataclass(frozen=True)
class Occluded:
    """What was answered for each position of the window.

    Attributes:
        answers: (rows, columns) or (rows, columns, K) float32.
        whole: () or (K,) float32, the answer to the image as it is.
        tops: first image row of the window, for each of `rows`, pixels.
        lefts: first image column, for each of `columns`.
        window: (height, width) of the window, pixels.
        size: (height, width) of the image, pixels.
    """

    answers: Tensor
    whole: Tensor
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    window: tuple[int, int]
    size: tuple[int, int]


def occlusion(
    scores: Callable[[Tensor], Tensor],
    images: Tensor,
    window: int,
    stride: int,
    filler: Filler = mean_filler,
    batch_size: int = 16,
    precision: str = "fp32",
) -> Occluded:
    """Slide a square over an image, and ask for the answer at each place (Zeiler and Fergus 2014, sec. 4.2).

    Windows lie inside the image: where the stride does not end at the border, the last one is moved back to it, so
    every pixel is hidden by at least one. Hidden images exist one batch at a time. Models answer faster with
    `fold_norms.folded` and in channels_last; `local_occlusion` leaves out what windows do not change.

    Args:
        scores: images (B, C, H, W) -> (B,) or (B, K): a probability, all logits ...
        images: (1, C, H, W) float, normalised; one image.
        window: side of the square, pixels.
        stride: from one place to the next, pixels, at most the window.
        filler: what stands in the window, see `fillers`.
        batch_size: images that are in memory at a time.
        precision: "fp32" for the model's own, "bf16" for autocast: faster where the processor computes in bf16, and
            slower by far where it does not.
    Raises:
        ConfigError: more or less than one image, one that is smaller than the window, a setting out of its range.
    """
    return slide(partial(_plain, scores, window), images, window, stride, filler, batch_size, precision)


def slide(
    prepare: Callable[[Tensor, Tensor], tuple[Tensor, Answers]],
    images: Tensor,
    window: int,
    stride: int,
    filler: Filler,
    batch_size: int,
    precision: str,
) -> Occluded:
    """What `occlusion` does around the answers.

    `prepare` is given the image and what hides it, both (1, C, H, W), once; it returns the answer to the image as it
    is, (1,) or (1, K), and the function that answers for places.
    """
    if len(images) != 1:
        raise ConfigError(f"occlusion looks at one image at a time, not at {len(images)}.")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision}: {' or '.join(PRECISIONS)} is wanted.")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} has to be at least 1.")
    size = (images.shape[-2], images.shape[-1])
    tops, lefts = (starts(side, window, stride) for side in size)
    places = [(top, left) for top in tops for left in lefts]
    with torch.no_grad(), torch.autocast(images.device.type, PRECISIONS[precision], enabled=precision != "fp32"):
        images = images.contiguous(memory_format=torch.channels_last)
        whole, answers = prepare(images, filler(images))
        found = [whole.float()]
        for first in range(0, len(places), batch_size):
            found.append(answers(places[first : first + batch_size]).float())
    together = torch.cat(found)  # (1 + rows * columns,) or (1 + rows * columns, K)
    return Occluded(
        together[1:].unflatten(0, (len(tops), len(lefts))), together[0], tops, lefts, (window, window), size
    )


def starts(side: int, window: int, stride: int) -> tuple[int, ...]:
    """Where windows begin along a side, so that they cover it. ConfigError for settings that cannot."""
    if not 1 <= window <= side:
        raise ConfigError(f"window={window} has to be at least 1 and at most the image's side, {side} pixels.")
    if not 1 <= stride <= window:
        raise ConfigError(f"stride={stride} has to be at least 1 and at most window={window}, or pixels are left out.")
    last = side - window
    return (*range(0, last, stride), last)


def class_probability_map(found: Occluded, label: int) -> Occluded:
    """Logits (rows, columns, K) -> the probability of a class (rows, columns), 0 ... 1: fig. 7d of the paper."""
    return replace(found, answers=found.answers.softmax(-1)[..., label], whole=found.whole.softmax(-1)[label])


def most_probable_map(found: Occluded) -> Tensor:
    """Scores (rows, columns, K) -> the best class at each place (rows, columns) int64, the first of equals: fig. 7e."""
    return found.answers.argmax(dim=-1)


def heat(found: Occluded) -> Tensor:
    """How much the score (rows, columns) falls where a pixel is hidden: (H, W) float32, the mean over all windows that
    cover it; below 0 where the score rises."""
    rows = _covers(found.tops, found.window[0], found.size[0]).to(found.answers.device)  # (rows, H)
    columns = _covers(found.lefts, found.window[1], found.size[1]).to(found.answers.device)  # (columns, W)
    drops = rows.T @ (found.whole - found.answers) @ columns  # (H, W), sums
    return drops / (rows.sum(dim=0)[:, None] * columns.sum(dim=0))


def _plain(scores: Callable[[Tensor], Tensor], window: int, images: Tensor, hidden: Tensor) -> tuple[Tensor, Answers]:
    return scores(images), lambda places: scores(_covered(images, hidden, places, window))


def _covered(images: Tensor, hidden: Tensor, places: Sequence[Place], window: int) -> Tensor:
    """One copy of the image for each place (top, left), with the filler there: (len(places), C, H, W)."""
    copies = images.expand(len(places), -1, -1, -1).clone(memory_format=torch.channels_last)
    for copy, (top, left) in zip(copies, places, strict=True):
        there = (..., slice(top, top + window), slice(left, left + window))
        copy[there] = hidden[0][there]
    return copies


def _covers(begins: tuple[int, ...], window: int, side: int) -> Tensor:
    """(len(begins), side) float32: 1 where a window covers."""
    offset = torch.arange(side) - torch.tensor(begins)[:, None]  # (n, side)
    return ((offset >= 0) & (offset < window)).float()
