"""Proposals of several pictures, found at the files' sizes, as one padded noun in pixels of a batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from visionkit.ops.boxes import scale
from visionkit.structures import Proposals

Found = tuple[np.ndarray, np.ndarray]  # boxes (P, 4) float32 in pixels of the file, scores (P,) float32; best first
Size = tuple[int, int]  # (height, width)


def pad_proposals(found: Sequence[Found], originals: Sequence[Size], sizes: Sequence[Size]) -> Proposals:
    """What was found in B images of the sizes `originals` -> (B, P) where these have become `sizes`.

    P is the largest count and may be 0. Evaluation and `predict` both come this way, so their boxes are the same bits.
    """
    boxes = [
        scale(torch.from_numpy(rows).reshape(-1, 4), (size[0] / original[0], size[1] / original[1]))
        for (rows, _), original, size in zip(found, originals, sizes, strict=True)
    ]
    scores = [torch.from_numpy(values).reshape(-1) for _, values in found]
    counts = torch.tensor([len(rows) for rows in boxes])  # (B,)
    padded = nn.utils.rnn.pad_sequence(boxes, batch_first=True)  # (B, P, 4)
    return Proposals(
        padded,
        nn.utils.rnn.pad_sequence(scores, batch_first=True),  # (B, P)
        torch.arange(padded.shape[1])[None] < counts[:, None],
    )
