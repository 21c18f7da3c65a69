"""Losses as sums. Whoever calls them divides, by a count that all processes agree on (`reduce.across_processes`).

A sum over nothing is 0 and still has a path to the parameters, so that a batch without objects trains like any other.
Weights are 1 for what takes part and 0 for padding; a padded entry must be finite, but has no further effect.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth_l1(prediction: Tensor, target: Tensor, beta: float) -> Tensor:
    """Elementwise Huber loss over beta: 0.5 d^2 / beta where |d| < beta, else |d| - 0.5 beta (Fast R-CNN, eq. 3).

    beta is 1 in Fast R-CNN, 1/9 in Faster R-CNN's code; 0 is plain L1. Same shape as the arguments, float32 or wider.
    """
    prediction, target = _wide(prediction), _wide(target)
    if beta == 0:
        return (prediction - target).abs()
    return F.smooth_l1_loss(prediction, target, reduction="none", beta=beta)


def weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Sum of values times weights, a scalar. Weights (R,) broadcast over the trailing dimensions of values (R, ...)."""
    weights = weights.reshape(weights.shape + (1,) * (values.dim() - weights.dim()))
    return (_wide(values) * weights).sum()


def binary_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of -log sigmoid(logit) where the target is 1 and of -log(1 - sigmoid(logit)) where it is 0.

    Args:
        logits: any shape.
        target: the same shape, 0 or 1 (or between), any type.
        weights: the same shape, or leading dimensions of it.
    """
    logits = _wide(logits)
    return weighted_sum(F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none"), weights)


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of -log softmax(logits)[label].

    Args:
        logits: (N, K + 1).
        labels: (N,) int64 in 0 ... K, K = background.
        weights: (N,).
    """
    return weighted_sum(F.cross_entropy(_wide(logits), labels, reduction="none"), weights)


def pixel_cross_entropy(scores: Tensor, semantic: Tensor, class_weights: Tensor) -> tuple[Tensor, Tensor]:
    """-log softmax(scores) at the class of every labelled pixel, times the weight of that class: its sum, and the sum
    of the weights, both scalars.

    Pixels are put in one row: the spatial form of the loss has no deterministic kernel on a GPU.

    Args:
        scores: (B, K, H, W).
        semantic: (B, H, W) int64 in 0 ... K-1, 255 = ignore.
        class_weights: (K,).
    """
    rows = _wide(scores).permute(0, 2, 3, 1).flatten(0, 2)  # (B * H * W, K)
    labels = semantic.flatten()  # (B * H * W,)
    total = F.cross_entropy(rows, labels, class_weights.to(rows.dtype), ignore_index=255, reduction="sum")
    labelled = labels != 255
    return total, (class_weights.to(rows.dtype)[labels * labelled] * labelled).sum()


def _wide(values: Tensor) -> Tensor:
    """Sums of thousands of terms are done in float32 at least, also for bf16 and fp16 predictions."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
