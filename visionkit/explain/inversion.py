"""Images made to order: what a class looks like to a network, and what a layer still knows of a picture.

Pixels are changed until a score is high (Simonyan et al., "Deep Inside Convolutional Networks", 2014, sec. 2) or until
a layer answers as it did to a photograph (Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting
Them", 2015). Most images that a network takes for the same thing look like noise, so priors (`explain.priors`) say what
pictures look like: small differences between neighbours (total variation), no extreme pixels (the alpha-norm), nothing
that depends on the exact place of a pixel (jitter), now and then a blur (Yosinski et al., "Understanding Neural
Networks Through Deep Visualization", 2015, sec. 4).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from visionkit.errors import ConfigError, NonFiniteLossError
from visionkit.explain.blur import gaussian_blur
from visionkit.explain.layer_maps import layer_maps
from visionkit.explain.priors import FOR_CLASSES, FOR_LAYERS, Priors, penalties
from visionkit.explain.score import Score

CELL = 1024  # pixels to a cell, at stride 32


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        images: (B, C, H, W) float32, normalised.
        losses: of each step, what was asked for and the priors together.
        errors: of an inversion, each image's distance in the layer, as a share: |f(x) - f(x0)| / |f(x0)|; else none.
    """

    images: Tensor
    losses: tuple[float, ...]
    errors: tuple[float, ...] = ()


def class_image(
    score: Score,
    shape: Sequence[int],
    priors: Priors = FOR_CLASSES,
    limits: tuple[Tensor, Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> Made:
    """An image for which a score is high: of a class, of a unit (Simonyan et al. 2014, eq. 1).

    Args:
        score: (B, C, H, W) -> (B,). A logit: a probability also rises when other classes fall.
        shape: (B, C, H, W) of the images; those of a batch start from different noise.
        limits: (C, 1, 1) each, the smallest and the largest value of a normalised pixel; None = unbounded.
        device: where the network is.
    Raises:
        NonFiniteLossError: the search left the numbers; a smaller rate helps.
    """
    return _search(lambda images: -score(images), tuple(shape), priors, limits, torch.device(device))


def invert(
    model: nn.Module,
    layer: str,
    images: Tensor,
    priors: Priors = FOR_LAYERS,
    limits: tuple[Tensor, Tensor] | None = None,
) -> Made:
    """Images to which a layer answers as to the given ones, found from noise (Mahendran and Vedaldi 2015, eq. 6).

    The total variation counts as many times as there are pixels to a cell of the layer, up to `CELL`: the fewer cells,
    the less they say of each pixel. The paper chooses a weight for each layer.

    Args:
        model: in eval mode.
        layer: "tail", a stage or the path of a module.
        images: (B, C, H, W) float, normalised.
        limits: as in `class_image`.
    Raises:
        ConfigError: no such layer, or one that answers nothing but 0 to an image.
        NonFiniteLossError: as in `class_image`.
    """
    with torch.no_grad():
        wanted = layer_maps(model, layer, images).float().clone()  # (B, C', h, w)
    sizes = wanted.square().sum(dim=(1, 2, 3))  # (B,)
    if not (sizes > 0).all():
        raise ConfigError(f"layer={layer} answers 0 everywhere to this image: there is nothing to find again.")

    def distance(found: Tensor) -> Tensor:
        return (layer_maps(model, layer, found).float() - wanted).square().sum(dim=(1, 2, 3)) / sizes  # (B,)

    pixels = min(CELL, images.shape[2] * images.shape[3] / (wanted.shape[2] * wanted.shape[3]))
    priors = replace(priors, variation=priors.variation * pixels)
    made = _search(distance, tuple(images.shape), priors, limits, images.device)
    with torch.no_grad():
        errors = tuple(distance(made.images).sqrt().tolist())
    return replace(made, errors=errors)


def _search(
    objective: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    priors: Priors,
    limits: tuple[Tensor, Tensor] | None,
    device: torch.device,
) -> Made:
    """Adam on the pixels, from noise; `objective` (B, C, H, W) -> (B,) and the priors are to be small."""
    generator = torch.Generator().manual_seed(priors.seed)
    images = (priors.start * torch.randn(shape, generator=generator)).to(device).requires_grad_()  # (B, C, H, W)
    optimizer = torch.optim.Adam([images], priors.rate)
    losses = []
    for step in range(priors.steps):
        for group in optimizer.param_groups:
            group["lr"] = priors.rate * (1 + math.cos(math.pi * step / priors.steps)) / 2
        shifts = torch.randint(-priors.jitter, priors.jitter + 1, (2,), generator=generator).tolist()
        with torch.enable_grad():
            shifted = images.roll(shifts, dims=(2, 3)) if priors.jitter else images
            loss = (objective(shifted) + penalties(images, priors)).sum()
            (images.grad,) = torch.autograd.grad(loss, images)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise NonFiniteLossError(f"the image has a loss of {losses[-1]} at step {step}: choose a smaller rate.")
        optimizer.step()
        with torch.no_grad():
            if priors.blur_every and (step + 1) % priors.blur_every == 0 and step < 0.9 * priors.steps:
                images.copy_(gaussian_blur(images, priors.blur))
            if limits is not None:
                images.copy_(images.clamp(*(limit.to(device) for limit in limits)))
    return Made(images.detach(), tuple(losses))
