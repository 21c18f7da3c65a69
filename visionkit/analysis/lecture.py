"""The figures that lectures on convolutional networks print (Stanford's CS231n and its kin), each computed again here.

Where code and slide differ, both are printed, and a sentence says why.
"""

import json
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from visionkit.analysis.network import analyze_network
from visionkit.analysis.report import aligned, csv_text
from visionkit.analysis.trace import BYTES, Layer, traced
from visionkit.backbones.alexnet import alexnet_2012
from visionkit.backbones.base import Backbone
from visionkit.backbones.depthwise import depthwise_separable
from visionkit.backbones.googlenet import googlenet_2014
from visionkit.backbones.inception import Inception, NaiveInception
from visionkit.backbones.vgg import vgg16
from visionkit.backbones.zfnet import zfnet

ROUNDING = 0.01  # a slide's "800K" stands for anything so near


@dataclass(frozen=True)
class Figure:
    """One number or shape of a lecture, beside what the code gives."""

    topic: str
    what: str
    lecture: str
    computed: str
    verdict: str  # equal, rounded or differs
    remark: str = ""


def lecture_figures() -> list[Figure]:
    """All of them, by topic."""
    topics: Sequence[Callable[[], list[Figure]]] = (
        output_sizes,
        alexnet,
        zfnet_layers,
        vgg_layers,
        vgg_memory,
        stacked_filters,
        inception,
        googlenet,
        cheaper_filters,
    )
    return [figure for topic in topics for figure in topic()]


def report() -> dict[str, str]:
    """The figures as a table, JSON and CSV."""
    figures = lecture_figures()
    rows: list[Sequence[str]] = [("", "lecture", "computed", "")]
    for topic in dict.fromkeys(figure.topic for figure in figures):
        rows += [(), (f"[{topic}]",)]
        rows += [(f.what, f.lecture, f.computed, f.verdict) for f in figures if f.topic == topic]
    remarks = [textwrap.fill(f"{f.topic}; {f.what}: {f.remark}", 110) for f in figures if f.remark]
    records: list[dict[str, Any]] = [vars(figure) for figure in figures]
    return {
        "table": "\n\n".join([aligned(rows, left=1), *remarks]),
        "json": json.dumps({"figures": records}, indent=1),
        "csv": csv_text(records),
    }


def output_size(length: int, size: int, stride: int = 1, padding: int = 0) -> int:
    """Cells along one side of what a filter of `size` makes of `length` cells."""
    return (length - size + 2 * padding) // stride + 1


def output_sizes() -> list[Figure]:
    topic = "Output sizes: floor((n - k + 2p) / s) + 1"
    ten = traced(_conv(3, 10, 5, padding=2), 3, 32, 32)[0]
    return [
        number(topic, "7 cells, filter of 3, stride 1", "5", output_size(7, 3)),
        number(topic, "7 cells, filter of 3, stride 2", "3", output_size(7, 3, 2)),
        shape(topic, "32x32x3, ten 5x5 filters, padding 2", "32x32x10", ten),
        number(topic, "their parameters, 10 (75 + 1)", "760", ten.parameters),
    ]


def alexnet() -> list[Figure]:
    topic = "AlexNet, image of 227x227x3"
    net, layers = _layers(alexnet_2012, 227)
    convs, pools = _of_kind(layers, "Conv2d"), _of_kind(layers, "MaxPool2d", "max_pool2d")
    linear = _of_kind(layers, "Linear")
    modules = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    norm = next(module for module in net.modules() if isinstance(module, nn.LocalResponseNorm))
    found = []
    for i, wanted in enumerate(("55x55x96", "27x27x256", "13x13x384", "13x13x384", "13x13x256")):
        found.append(shape(topic, f"CONV{i + 1}: {_filters(modules[i])}", wanted, convs[i]))
        if i == 0:
            found.append(number(topic, "CONV1 weights, 11*11*3*96", "34,848", modules[0].weight.numel()))
            found.append(number(topic, "the same, as the slide rounds it", "35K", modules[0].weight.numel()))
    for i, wanted in enumerate(("27x27x96", "13x13x256", "6x6x256")):
        found.append(shape(topic, f"POOL{i + 1}: 3x3, stride 2", wanted, pools[i]))
    for layer, wanted in zip(linear, ("4096", "4096", "1000"), strict=True):
        found.append(number(topic, f"FC of {layer.output_shape[-1]}", wanted, layer.output_shape[-1]))
    streams = ", ".join(str(i + 1) for i, module in enumerate(modules) if module.groups == 2)
    constants = f"k {norm.k:g}, n {norm.size}, alpha {norm.alpha / norm.size:g}, beta {norm.beta:g}"
    return [
        *found,
        words(topic, "layers split into two streams", "2, 4, 5", streams),
        words(topic, "response norm a / (k + alpha sum a^2)^beta", "k 2, n 5, alpha 0.0001, beta 0.75", constants),
    ]


def zfnet_layers() -> list[Figure]:
    topic = "ZFNet: AlexNet, but"
    net, _ = _layers(zfnet, 224)
    modules = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    return [
        words(topic, "CONV1", "96 7x7, stride 2", _filters(modules[0])),
        words(topic, "CONV2", "256 5x5, stride 2", _filters(modules[1])),
        words(topic, "filters of CONV3, 4, 5", "512, 1024, 512", ", ".join(str(m.out_channels) for m in modules[2:])),
    ]


VGG_SLIDE = (  # values and weights of each row, as the slide has them
    ("CONV3-64", "3.2M", "1,728"), ("CONV3-64", "3.2M", "36,864"), ("POOL2", "800K", "0"),
    ("CONV3-128", "1.6M", "73,728"), ("CONV3-128", "1.6M", "147,456"), ("POOL2", "400K", "0"),
    ("CONV3-256", "800K", "294,912"), ("CONV3-256", "800K", "589,824"), ("CONV3-256", "800K", "589,824"),
    ("POOL2", "200K", "0"),
    ("CONV3-512", "400K", "1,179,648"), ("CONV3-512", "400K", "2,359,296"), ("CONV3-512", "400K", "2,359,296"),
    ("POOL2", "100K", "0"),
    ("CONV3-512", "100K", "2,359,296"), ("CONV3-512", "100K", "2,359,296"), ("CONV3-512", "100K", "2,359,296"),
    ("POOL2", "25K", "0"),
    ("FC", "4096", "102,760,448"), ("FC", "4096", "16,777,216"), ("FC", "1000", "4,096,000"),
)  # fmt: skip
VGG_KINDS = ("Conv2d", "MaxPool2d", "max_pool2d", "Linear")


def vgg_layers() -> list[Figure]:
    topic = "VGG-16, image of 224x224x3"
    _, layers = _layers(vgg16, 224)
    found = [number(topic, "INPUT, values", "150K", 3 * 224 * 224)]
    for (row, values, weights), layer in zip(VGG_SLIDE, _of_kind(layers, *VGG_KINDS), strict=True):
        found.append(number(topic, f"{row} {_shape(layer)}, values", values, math.prod(layer.output_shape)))
        if layer.parameters:
            bias = layer.output_shape[1]
            found.append(number(topic, f"{row} {_shape(layer)}, weights", weights, layer.parameters - bias))
    found.append(number(topic, "parameters, biases too", "138M", sum(layer.parameters for layer in layers)))
    return found


def vgg_memory() -> list[Figure]:
    topic = "VGG-16, memory of a forward pass"
    _, layers = _layers(vgg16, 224)
    column = 3 * 224 * 224 + sum(math.prod(layer.output_shape) for layer in _of_kind(layers, *VGG_KINDS))
    relus = sum(math.prod(layer.output_shape) for layer in _of_kind(layers, "ReLU"))
    remark = (
        f"the slide says 24M values and 96 MB, but its own column (image, convolutions, pools, fully connected layers) "
        f"has {column:,} values, which are {_megabytes(column)}; with every ReLU's output kept as well there are "
        f"{column + relus:,}, {_megabytes(column + relus)}."
    )
    return [
        number(topic, "24M values at 4 bytes, the slide's arithmetic", "96 MB", 24_000_000 * BYTES, "MB"),
        number(topic, "sum of the slide's column, values", "24M", column, remark=remark),
        number(topic, "the same with every ReLU's output, values", "24M", column + relus),
        number(topic, "sum of the slide's column", "96 MB", column * BYTES, "MB"),
        number(topic, "the same with every ReLU's output", "96 MB", (column + relus) * BYTES, "MB"),
    ]


def stacked_filters(channels: int = 64) -> list[Figure]:
    topic = f"Three 3x3 filters for one 7x7, C = {channels} channels"
    three = nn.Sequential(*(_conv(channels, channels, 3, padding=1, bias=False) for _ in range(3)))
    stacked = traced(three, channels, 32, 32)
    one = traced(_conv(channels, channels, 7, padding=3, bias=False), channels, 32, 32)
    ours, theirs = sum(layer.parameters for layer in stacked), one[0].parameters
    return [
        number(topic, "receptive field of three 3x3", "7", stacked[-1].receptive_field or 0),
        number(topic, "receptive field of one 7x7", "7", one[-1].receptive_field or 0),
        number(topic, "weights of three 3x3, 3 (9 C^2)", f"{27 * channels**2:,}", ours),
        number(topic, "weights of one 7x7, 49 C^2", f"{49 * channels**2:,}", theirs),
    ]


def inception() -> list[Figure]:
    topic = "Inception module on 28x28x256: 128 1x1, 192 3x3, 96 5x5, pool"
    with torch.device("meta"):
        naive, slim = NaiveInception(256, 128, 192, 96), Inception(256, 128, 64, 192, 64, 96, 64, norm="none")
    plain, bottlenecks = (traced(module, 256, 28, 28) for module in (naive, slim))
    cost = sum(layer.multiply_adds for layer in bottlenecks)
    threes = next(layer.multiply_adds for layer in bottlenecks if layer.name == "branch2.1.conv")
    remark = (
        f"the slide lists six convolutions, and they sum to {cost:,}; its total of 358M is reached when the 3x3 one, "
        f"{threes:,}, is added a second time."
    )
    return [
        shape(topic, "naive, output", "28x28x672", plain[-1]),
        number(topic, "naive, multiply-adds", "854M", sum(layer.multiply_adds for layer in plain)),
        shape(topic, "with 1x1 bottlenecks of 64, output", "28x28x480", bottlenecks[-1]),
        number(topic, "with 1x1 bottlenecks of 64, multiply-adds", "358M", cost, remark=remark),
        number(topic, "the same with its 3x3 convolution twice", "358M", cost + threes),
    ]


def googlenet() -> list[Figure]:
    topic = "GoogLeNet"
    net, layers = _layers(googlenet_2014, 224)
    blocks = [module for module in net.modules() if isinstance(module, Inception)]
    inside = {id(module) for block in blocks for module in block.modules()}
    single = [m for m in net.modules() if isinstance(m, nn.Conv2d) and id(m) not in inside]
    longest = [max(_weighted(branch) for branch in block.children()) for block in blocks]
    linear = _of_kind(layers, "Linear")
    every = sum(layer.parameters for layer in layers)
    own = every - sum(layer.parameters for layer in linear)
    remark = f"the convolutions have {own:,} parameters and the classifier {every - own:,}; slides round down to 5M."
    return [
        number(topic, "weighted layers, one after the other", "22", len(single) + sum(longest) + len(linear)),
        number(topic, "fully connected layers but the classifier", "0", len(linear) - 1),
        number(topic, "parameters without auxiliary heads", "5M", every, remark=remark),
    ]


def cheaper_filters(channels: int = 128, side: int = 28) -> list[Figure]:
    topic = "Cheaper filters"
    direct = traced(_conv(96, 256, 5, padding=2, bias=False), 96, 28, 28)[0].parameters
    after = traced(_conv(32, 256, 5, padding=2, bias=False), 32, 28, 28)[0].parameters
    with torch.device("meta"):
        separable = depthwise_separable(channels, channels, norm="none", activation=nn.ReLU)
    full = traced(_conv(channels, channels, 3, padding=1), channels, side, side)[0].multiply_adds
    cells = side * side
    cost = sum(layer.multiply_adds for layer in traced(separable, channels, side, side))
    name = f"C = {channels}, H = W = {side}"
    return [
        number(topic, "5x5x96 to 256, weights", "614,400", direct),
        number(topic, "the same after 32 1x1 filters, weights", "204,800", after),
        number(topic, "how many times fewer", "3", direct / after),
        number(topic, f"3x3 filters, {name}: 9 C^2 H W", f"{9 * channels**2 * cells:,}", full),
        number(topic, f"depthwise separable, {name}: 9 C H W + C^2 H W",
               f"{(9 * channels + channels**2) * cells:,}", cost),
    ]  # fmt: skip


def number(topic: str, what: str, lecture: str, computed: float, unit: str = "", remark: str = "") -> Figure:
    """A number of a lecture, such as "35K", beside the computed one (bytes, where the unit is MB)."""
    wanted = parsed(lecture)
    near = abs(computed - wanted) <= ROUNDING * abs(wanted)
    verdict = "equal" if computed == wanted else "rounded" if near else "differs"
    shown = f"{computed:,.10g}" if computed % 1 else f"{int(computed):,}"
    return Figure(topic, what, lecture, _megabytes(computed / BYTES) if unit == "MB" else shown, verdict, remark)


def shape(topic: str, what: str, lecture: str, layer: Layer) -> Figure:
    """A shape, height x width x channels."""
    return words(topic, what, lecture, _shape(layer))


def words(topic: str, what: str, lecture: str, computed: str) -> Figure:
    return Figure(topic, what, lecture, computed, "equal" if lecture == computed else "differs")


def parsed(text: str) -> float:
    """ "35K" -> 35000; "96 MB" -> 96000000."""
    digits = text.replace(",", "").removesuffix("B").strip()
    factor = {"K": 1e3, "M": 1e6}.get(digits[-1], 1)
    return float(digits.rstrip("KM")) * factor


def _layers(builder: Callable[[], Backbone], side: int) -> tuple[Backbone, tuple[Layer, ...]]:
    with torch.device("meta"):
        net = builder()
    return net, analyze_network(net, builder.__name__, (side, side), 1000).layers


def _of_kind(layers: Sequence[Layer], *kinds: str) -> list[Layer]:
    return [layer for layer in layers if layer.kind in kinds]


def _conv(channels: int, out: int, size: int, padding: int = 0, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, padding=padding, bias=bias, device="meta")


def _weighted(module: nn.Module) -> int:
    return sum(isinstance(inner, nn.Conv2d) for inner in module.modules())


def _filters(conv: nn.Conv2d) -> str:
    """96 11x11, stride 4."""
    size, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    text = f"{conv.out_channels} {size}x{size}, stride {stride}"
    return text + (f", padding {padding}" if padding and stride == 1 else "")


def _shape(layer: Layer) -> str:
    channels, *sides = layer.output_shape[1:]
    return "x".join(map(str, (*sides, channels)))


def _megabytes(values: float) -> str:
    return f"{BYTES * values / 1e6:.1f} MB"
