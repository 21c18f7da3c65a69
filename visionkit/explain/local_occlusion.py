"""Occlusion maps of classes in less time: of the first maps only the part that the square can change is computed anew.

The answers are those of `occlusion.occlusion`, to rounding.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from visionkit.explain.fillers import Filler, mean_filler
from visionkit.explain.layers import classifier_of
from visionkit.explain.local_steps import Step, chain, local_steps
from visionkit.explain.occlusion import Answers, Occluded, Place, occlusion, slide, starts
from visionkit.explain.targets import class_logits
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer


def local_occlusion(
    model: Classifier | Localizer,
    images: Tensor,
    window: int,
    stride: int,
    filler: Filler = mean_filler,
    batch_size: int = 16,
    precision: str = "fp32",
) -> Occluded:
    """The logits of all classes with a square over the image, at each place (Zeiler and Fergus 2014, sec. 4.2).

    Where `local_steps` finds nothing to save, the whole network answers for each place. The settings, what they raise,
    and what makes models faster are those of `occlusion`.

    Args:
        model: in eval mode.
        images: (1, C, H, W) float, normalised; one image.
    Returns:
        Answers (rows, columns, K).
    """
    size = (images.shape[-2], images.shape[-1])
    steps = local_steps(model, size, window, *(starts(side, window, stride) for side in size))
    if not steps:
        return occlusion(class_logits(model), images, window, stride, filler, batch_size, precision)
    return slide(partial(_answers, model, steps, window), images, window, stride, filler, batch_size, precision)


def _answers(
    model: Classifier | Localizer, steps: Sequence[Step], window: int, images: Tensor, hidden: Tensor
) -> tuple[Tensor, Answers]:
    """The logits (1, K) of the image as it is, and those (n, K) with the square at n places."""
    modules = chain(model.backbone)
    parts = [nn.Sequential(*modules[step.first : step.end]) for step in steps]
    rest = _rest(model, modules[steps[-1].end :])
    bases = [images]  # of the image as it is: what each step reads, at last what the rest does
    for part in parts:
        bases.append(part(bases[-1].clone()))  # a layer may write over what it reads

    def answers(places: Sequence[Place]) -> Tensor:
        patches = [hidden[0, :, top : top + window, left : left + window] for top, left in places]
        corners = list(places)
        for base, step, part in zip(bases, steps, parts, strict=False):
            cuts = [(step.rows.at[top], step.columns.at[left]) for top, left in places]
            begins = [(y.start, x.start) for y, x in cuts]
            maps = part(_patched(base, patches, corners, begins, (step.rows.length, step.columns.length)))
            patches = [
                one[:, y.first - y.origin : y.end - y.origin, x.first - x.origin : x.end - x.origin]
                for one, (y, x) in zip(maps, cuts, strict=True)
            ]
            corners = [(y.first, x.first) for y, x in cuts]
        height, width = bases[-1].shape[-2:]
        return rest(_patched(bases[-1], patches, corners, [(0, 0)] * len(places), (height, width)))

    return rest(bases[-1].clone()), answers


def _rest(model: Classifier | Localizer, modules: Sequence[nn.Module]) -> Callable[[Tensor], Tensor]:
    """From the maps after the steps to the logits."""
    net, head, trunk = model.backbone, classifier_of(model), nn.Sequential(*modules)
    assert head is not None
    return lambda maps: head(net.tail_maps(net.pool(trunk(maps))))


def _patched(
    base: Tensor,
    patches: Sequence[Tensor],
    corners: Sequence[Place],
    begins: Sequence[Place],
    size: tuple[int, int],
) -> Tensor:
    """Crops of a map (1, C, h, w), one for each patch, with the patch (C, p, q) in it: (len(patches), C, *size).

    Patches lie at `corners` of the map, in the crops that begin at `begins`.
    """
    shape = (len(patches), base.shape[1], *size)
    crops = torch.empty(shape, dtype=base.dtype, device=base.device, memory_format=torch.channels_last)
    for crop, patch, corner, begin in zip(crops, patches, corners, begins, strict=True):
        crop.copy_(base[0, :, begin[0] : begin[0] + size[0], begin[1] : begin[1] + size[1]])
        top, left = corner[0] - begin[0], corner[1] - begin[1]
        crop[:, top : top + patch.shape[1], left : left + patch.shape[2]] = patch
    return crops
