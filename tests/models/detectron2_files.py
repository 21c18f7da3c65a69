"""detectron2's Faster and Mask R-CNN as defined there: the names and shapes of a file, and what it computes.

Written from its documentation and configuration files, independently of the importer.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
SIZES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)
MEAN = (103.53, 116.28, 123.675)  # blue, green, red


def shapes(
    arch: str,
    depth: int = 50,
    masks: bool = False,
    classes: int = 80,
    stem: int = 64,
    pyramid: int = 256,
    fc: int = 1024,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of C4, DC5 or FPN; narrower than published where `stem`, `pyramid`, `fc` are less."""
    table: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, channels: int, size: int, bias: bool = True) -> None:
        table[f"{name}.weight"] = (out, channels, size, size)
        if bias:
            table[f"{name}.bias"] = (out,)
        else:
            table.update({f"{name}.norm.{part}": (out,) for part in ("weight", "bias", "running_mean", "running_var")})

    def linear(name: str, out: int, channels: int) -> None:
        table[f"{name}.weight"], table[f"{name}.bias"] = (out, channels), (out,)

    trunk = "backbone.bottom_up." if arch == "FPN" else "backbone."
    conv(f"{trunk}stem.conv1", stem, 3, 7, bias=False)
    for stage, blocks in enumerate(BLOCKS[depth]):
        width = stem << stage
        out, before = 4 * width, stem if stage == 0 else 2 * width
        place = "roi_heads." if arch == "C4" and stage == 3 else trunk
        for block in range(blocks):
            name = f"{place}res{stage + 2}.{block}"
            channels = before if block == 0 else out
            if block == 0:
                conv(f"{name}.shortcut", out, channels, 1, bias=False)
            conv(f"{name}.conv1", width, channels, 1, bias=False)
            conv(f"{name}.conv2", width, width, 3, bias=False)
            conv(f"{name}.conv3", out, width, 1, bias=False)
    deepest = 32 * stem
    for level in range(2, 6) if arch == "FPN" else ():
        conv(f"backbone.fpn_lateral{level}", pyramid, stem << level, 1)
        conv(f"backbone.fpn_output{level}", pyramid, pyramid, 3)
    channels = {"C4": 16 * stem, "DC5": deepest, "FPN": pyramid}[arch]
    anchors = len(RATIOS) * (1 if arch == "FPN" else len(SIZES))
    conv("proposal_generator.rpn_head.conv", channels, channels, 3)
    conv("proposal_generator.rpn_head.objectness_logits", anchors, channels, 1)
    conv("proposal_generator.rpn_head.anchor_deltas", 4 * anchors, channels, 1)
    if arch != "C4":
        linear("roi_heads.box_head.fc1", fc, 49 * channels)
        linear("roi_heads.box_head.fc2", fc, fc)
    linear("roi_heads.box_predictor.cls_score", classes + 1, deepest if arch == "C4" else fc)
    linear("roi_heads.box_predictor.bbox_pred", 4 * classes, deepest if arch == "C4" else fc)
    if masks:
        seen = deepest if arch == "C4" else channels
        for number in range(0 if arch == "C4" else 4):
            conv(f"roi_heads.mask_head.mask_fcn{number + 1}", 256, seen, 3)
            seen = 256
        table["roi_heads.mask_head.deconv.weight"] = (seen, 256, 2, 2)
        table["roi_heads.mask_head.deconv.bias"] = (256,)
        conv("roi_heads.mask_head.predictor", classes, 256, 1)
    return table


def random_state(table: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Weights that keep activations of order one, whatever the depth."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in table.items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            value = 1 + 0.2 * value.clamp(-2, 2)
        elif name.endswith("norm.weight"):
            value = (0.3 if ".conv3." in name else 1.0) + 0.1 * value
        elif len(shape) == 1:
            value = 0.1 * value
        else:
            value = value * (2 / value[0].numel()) ** 0.5
        state[name] = value
    state[next(name for name in state if name.endswith("stem.conv1.weight"))] /= 60  # pixels of 0 ... 255
    return state


class Reference:
    """What detectron2 computes with such a state, in plain functions."""

    def __init__(self, state: dict[str, Tensor], arch: str) -> None:
        self.state, self.arch = state, arch
        self.trunk = "backbone.bottom_up." if arch == "FPN" else "backbone."

    def conv(self, name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        x = F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, padding, dilation)
        if f"{name}.norm.weight" not in self.state:
            return x
        scale, bias, mean, var = (
            self.state[f"{name}.norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return F.batch_norm(x, mean, var, scale, bias, training=False, eps=1e-5)

    def stage(self, name: str, x: Tensor, stride: int, dilation: int = 1) -> Tensor:
        block = 0
        while f"{name}.{block}.conv1.weight" in self.state:
            step = stride if block == 0 else 1
            inner = F.relu(self.conv(f"{name}.{block}.conv1", x, step))  # the stride is here, in the 1x1
            inner = F.relu(self.conv(f"{name}.{block}.conv2", inner, 1, dilation))
            inner = self.conv(f"{name}.{block}.conv3", inner)
            short = x if block else self.conv(f"{name}.{block}.shortcut", x, step)
            x, block = F.relu(inner + short), block + 1
        return x

    def maps(self, rgb: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) uint8 -> the maps that regions and anchors are on, by name."""
        x = rgb.float().flip(1) - torch.tensor(MEAN)[:, None, None]
        x = F.max_pool2d(F.relu(self.conv(f"{self.trunk}stem.conv1", x, 2)), 3, 2, 1)
        found = {}
        for level in (2, 3, 4) if self.arch == "C4" else (2, 3, 4, 5):
            dilated = self.arch == "DC5" and level == 5
            x = self.stage(f"{self.trunk}res{level}", x, 1 if dilated or level == 2 else 2, 2 if dilated else 1)
            found[level] = x
        if self.arch != "FPN":
            return {"only": x}
        merged, pyramid = None, {}
        for level in (5, 4, 3, 2):
            lateral = self.conv(f"backbone.fpn_lateral{level}", found[level])
            merged = lateral if merged is None else lateral + F.interpolate(merged, scale_factor=2, mode="nearest")
            pyramid[f"p{level}"] = self.conv(f"backbone.fpn_output{level}", merged)
        return {name: pyramid[name] for name in ("p2", "p3", "p4", "p5")} | {"p6": pyramid["p5"][:, :, ::2, ::2]}

    def anchors_with_outputs(self, maps: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """By level: anchors (N, 4), logits (N,), deltas (N, 4) of the first image."""
        found = []
        for level, x in enumerate(maps.values()):
            stride, sizes = (4 << level, SIZES[level : level + 1]) if self.arch == "FPN" else (16, SIZES)
            hidden = F.relu(self.conv("proposal_generator.rpn_head.conv", x))
            logits = self.conv("proposal_generator.rpn_head.objectness_logits", hidden)[0]  # (A, h, w)
            deltas = self.conv("proposal_generator.rpn_head.anchor_deltas", hidden)[0]  # (4 A, h, w)
            boxes, scores, moves = [], [], []
            for y in range(x.shape[2]):
                for column in range(x.shape[3]):
                    number = 0
                    for size in sizes:
                        for ratio in RATIOS:
                            width = (size**2 / ratio) ** 0.5
                            height = ratio * width
                            at_x, at_y = column * stride, y * stride
                            corners = at_x - width / 2, at_y - height / 2, at_x + width / 2, at_y + height / 2
                            boxes.append(torch.tensor(corners))
                            scores.append(logits[number, y, column])
                            moves.append(deltas[4 * number : 4 * number + 4, y, column])
                            number += 1
            found.append((torch.stack(boxes), torch.stack(scores), torch.stack(moves)))
        return found

    def pooled(self, maps: dict[str, Tensor], boxes: Tensor, side: int) -> Tensor:
        from torchvision.ops import roi_align

        if self.arch != "FPN":
            return roi_align(maps["only"], [boxes], side, 1 / 16, 0, True)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        levels = torch.floor(4 + torch.log2(area.sqrt() / 224 + 1e-8)).clamp(2, 5).int().tolist()
        each = [
            roi_align(maps[f"p{level}"], [box[None]], side, 1 / 2**level, 0, True)
            for level, box in zip(levels, boxes, strict=True)
        ]
        return torch.cat(each)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def head(self, maps: dict[str, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (R, K + 1) and deltas (R, 4 K) of regions of one image."""
        if self.arch == "C4":
            vectors = self.stage("roi_heads.res5", self.pooled(maps, boxes, 14), 2).mean(dim=(2, 3))
        else:
            vectors = F.relu(self.linear("roi_heads.box_head.fc1", self.pooled(maps, boxes, 7).flatten(1)))
            vectors = F.relu(self.linear("roi_heads.box_head.fc2", vectors))
        predictor = "roi_heads.box_predictor."
        return self.linear(f"{predictor}cls_score", vectors), self.linear(f"{predictor}bbox_pred", vectors)

    def masks(self, maps: dict[str, Tensor], boxes: Tensor) -> Tensor:
        """Mask logits (R, K, M, M) of regions of one image."""
        x = self.pooled(maps, boxes, 14)
        if self.arch == "C4":
            x = self.stage("roi_heads.res5", x, 2)
        number = 1
        while f"roi_heads.mask_head.mask_fcn{number}.weight" in self.state:
            x, number = F.relu(self.conv(f"roi_heads.mask_head.mask_fcn{number}", x)), number + 1
        name = "roi_heads.mask_head.deconv"
        x = F.relu(F.conv_transpose2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], stride=2))
        return self.conv("roi_heads.mask_head.predictor", x)


def as_file(state: dict[str, Tensor]) -> dict[str, Any]:
    """What the model zoo pickles."""
    return {"model": {name: value.numpy() for name, value in state.items()}, "__author__": "Detectron2 Model Zoo"}
