"""The table's fields and strides against gradients: which pixels really reach a cell of the output."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visionkit.analysis.receptive_field import Axis, Field
from visionkit.analysis.trace import Trace, traced
from visionkit.backbones.densenet import DenseNet
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.inception import Inception
from visionkit.backbones.nasnet import NASNet
from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.shufflenet_v2 import ShuffleNetV2
from visionkit.backbones.squeeze_excite import SqueezeExcite


class Lambda(nn.Module):
    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x):
        return self.function(x, *self.parts)


def conv(size, stride=1, padding=0, dilation=1, channels=2, **more):
    return nn.Conv2d(channels, channels, size, stride, padding, dilation, **more)


def residual(stride):
    branch = nn.Sequential(conv(3, stride, 1), nn.BatchNorm2d(2), nn.ReLU(inplace=True), conv(3, 1, 1))
    return Lambda(lambda x, a, b: F.relu(a(x) + b(x)), branch, conv(1, stride))


def dense(layers):
    def run(x, *convs):
        maps = [x]
        for one in convs:
            maps.append(one(torch.cat(maps, 1)))
        return torch.cat(maps, 1)[:, -2:]

    return Lambda(run, *(nn.Conv2d(2 * (i + 1), 2, 3, padding=1) for i in range(layers)))


def factorized_reduction(x, one, two):
    """NASNet's: two strided paths, the second shifted by one pixel."""
    shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
    return torch.cat([one(F.avg_pool2d(x, 1, 2)), two(F.avg_pool2d(shifted, 1, 2))], 1)


def pyramid(x, down, lateral, smooth):
    return smooth(lateral(x) + F.interpolate(down(x), size=x.shape[-2:], mode="nearest"))


def shuffle(x):
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def channels_last(x, norm, linear):
    return linear(norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


NETWORKS = {
    "one filter": conv(5),
    "three 3x3": nn.Sequential(*(conv(3, 1, 1) for _ in range(3))),
    "one 7x7": conv(7, 1, 3),
    "strides": nn.Sequential(conv(3, 2, 1), conv(5, 3, 2), conv(3, 2)),
    "filter smaller than its stride": nn.Sequential(conv(3), conv(1, 3), conv(3)),
    "dilation": nn.Sequential(conv(3, 1, 2, 2), conv(3, 2, 4, 4), conv(3, 1, 1, 2)),
    "groups and rectangles": nn.Sequential(conv((1, 5), (1, 2), (0, 2), groups=2), conv((3, 1), (2, 1), (1, 0))),
    "pools": nn.Sequential(conv(3), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.MaxPool2d(2, 2, dilation=2), conv(3)),
    "ceil mode": nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), conv(3)),
    "norms": nn.Sequential(conv(3), nn.LocalResponseNorm(2), nn.BatchNorm2d(2), nn.Hardswish(), conv(3)),
    "residual": nn.Sequential(residual(1), residual(2), residual(2), residual(1)),
    "inception": nn.Sequential(conv(3, 2), Inception(2, 2, 1, 2, 1, 2, 2, norm="none"), nn.Conv2d(8, 2, 3)),
    "dense": nn.Sequential(dense(3), nn.AvgPool2d(2), dense(2)),
    "shifted paths": Lambda(factorized_reduction, conv(1), conv(1)),
    "shifted paths, further on": nn.Sequential(conv(3, 2, 1), Lambda(factorized_reduction, conv(3), conv(3))),
    "negative padding": Lambda(lambda x, a: a(F.pad(x, (0, 1, 0, 1))) + F.pad(x, (-2, 2, -3, 3)), conv(2)),
    "every second cell": nn.Sequential(conv(3), Lambda(lambda x: x[:, :, ::2, 1::2]), conv(3)),
    "channel shuffle": nn.Sequential(conv(3, groups=2), Lambda(shuffle), conv(3, groups=2)),
    "split and joined": Lambda(lambda x, a: torch.cat([x.chunk(2, 1)[0], a(x.chunk(2, 1)[1])], 1), conv(3, 1, 1, 1, 1)),
    "transposed": nn.Sequential(conv(3, 2, 1), nn.ConvTranspose2d(2, 2, 4, 2, 1), conv(3)),
    "transposed by three": nn.Sequential(conv(3, 2), nn.ConvTranspose2d(2, 2, 5, 3, 1), conv(2)),
    "pyramid": Lambda(pyramid, nn.Sequential(conv(3, 2, 1), conv(3, 1, 1)), conv(1), conv(3, 1, 1)),
    "up by four": nn.Sequential(conv(3, 4, 1), conv(3, 1, 1), nn.Upsample(scale_factor=4), conv(3), conv(3, 2)),
    "bilinear": nn.Sequential(conv(3, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear"), conv(3)),
    "channels last": nn.Sequential(conv(3), Lambda(channels_last, nn.LayerNorm(2), nn.Linear(2, 2)), conv(3, 2)),
}


def positive(net: nn.Module) -> nn.Module:
    """A copy with the same fields in which nothing cancels: positive weights, means in the place of maxima (a gradient
    takes one way only through a maximum), statistics that do not subtract."""
    net = copy.deepcopy(net).double().eval()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d) and child.dilation == 1:
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
            elif isinstance(child, nn.MaxPool2d):
                mean = nn.Conv2d(2, 2, child.kernel_size, child.stride, child.padding, child.dilation).double()
                nn.init.ones_(mean.weight)
                setattr(module, name, mean)
            elif isinstance(child, (nn.LayerNorm, nn.ReLU, nn.Hardswish)):
                setattr(module, name, nn.Identity())
    return net


def seen(net: nn.Module, size: int, channels: int = 2, reach: int = 8) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of the largest rectangle of pixels that a cell in the middle sees, and the strides, by gradient.

    All cells of a patch of `reach` x `reach` in the middle are looked at, since not all need to see as much.
    """
    image = torch.rand(1, channels, size, size, dtype=torch.double).add_(0.5).requires_grad_()
    out = net(image)
    sizes, firsts = [], {}
    height, width = out.shape[-2:]
    for y in range(height // 2 - reach // 2, height // 2 + reach // 2):
        for x in range(width // 2 - reach // 2, width // 2 + reach // 2):
            (gradient,) = torch.autograd.grad(out[0, :, y, x].sum(), image, retain_graph=True)
            rows, columns = (gradient[0].sum(0).sum(d).nonzero()[:, 0] for d in (1, 0))
            sizes.append([int(v[-1] - v[0]) + 1 for v in (rows, columns)])
            firsts[y, x] = (int(rows[0]), int(columns[0]))
            assert rows[0] > 0 and rows[-1] < size - 1, "the border cuts the field off: the image is too small"
    low, high = min(firsts), max(firsts)
    strides = [(firsts[high][i] - firsts[low][i]) / (high[i] - low[i]) for i in (0, 1)]
    return tuple(max(s[i] for s in sizes) for i in (0, 1)), tuple(strides)


@pytest.mark.parametrize("name", NETWORKS)
def test_field_and_stride_are_those_of_the_gradient(name):
    net = NETWORKS[name]
    field = traced(copy.deepcopy(net).to("meta"), 2, 120, 120)[-1].field
    periods = max(len(field.y.cells), len(field.x.cells))
    size, stride = seen(positive(net), 120, reach=2 * periods + 1 if periods > 1 else 3)
    assert field.size == size
    if periods == 1:
        assert tuple(map(float, field.stride)) == stride


REAL = {
    "resnet c2": (lambda: basic_resnet(widths=(2, 2, 2, 2)), 120),
    "resnet c3": (lambda: basic_resnet(widths=(2, 2, 2, 2)), 160),
    "densenet c3": (lambda: DenseNet(2, (2, 2, 1, 1), 4), 160),
    "shufflenet c3": (lambda: ShuffleNetV2((4, 4, 8, 16, 8)), 200),
    "nasnet c1": (lambda: NASNet(1, 8, 4), 60),
    "nasnet c2": (lambda: NASNet(1, 8, 4), 120),
    "nasnet c3": (lambda: NASNet(1, 8, 4), 320),
}


@pytest.mark.parametrize("name", REAL)
def test_field_of_a_real_network_is_that_of_the_gradient(name):
    (build, side), level = REAL[name], name.rpartition(" ")[2]
    net = build()
    with Trace() as trace, torch.no_grad():
        meta = copy.deepcopy(net).to("meta").eval()
        trace.watch(meta)
        meta(trace.start(torch.empty(1, 3, side, side, device="meta"), Field()), (level,))
    size, stride = seen(Lambda(lambda x, n: n(x, (level,))[level], positive(net)), side, 3, reach=2)
    assert trace.layers[-1].field.size == size
    assert trace.layers[-1].stride == stride[0] == net.stages[level].stride


def test_field_of_a_pyramid_is_that_of_the_gradient():
    """The finest map sees as far as the coarsest, and a little further where it touches two of its cells."""
    net = build_fpn(lambda **k: basic_resnet(widths=(2, 2, 2, 2), **k), norm="none", names=("c2", "c3"), channels=2)
    with Trace() as trace, torch.no_grad():
        meta = copy.deepcopy(net).to("meta").eval()
        trace.watch(meta)
        meta(trace.start(torch.empty(1, 3, 192, 192, device="meta"), Field()), ("p2",))
    field = trace.layers[-1].field
    size, _ = seen(Lambda(lambda x, n: n(x, ("p2",))["p2"], positive(net)), 192, 3, reach=5)
    assert field.size == size
    assert field.stride == (4, 4)


def test_the_classic_figures():
    """Simonyan and Zisserman, sec. 2.3: two 3x3 see 5x5, three see 7x7. Inherited by what works cell by cell."""
    layers = traced(nn.Sequential(conv(3), nn.ReLU(), conv(3), nn.BatchNorm2d(2), conv(3), nn.Dropout()).to("meta"),
                    2, 20, 20)  # fmt: skip
    assert [layer.receptive_field for layer in layers] == [3, 3, 5, 5, 7]
    assert [layer.kind for layer in layers] == ["Conv2d", "ReLU", "Conv2d", "BatchNorm2d", "Conv2d"]


def test_vectors_see_everything_and_keep_the_stride():
    for flat in (nn.Flatten(), Lambda(lambda x: x.mean((2, 3))), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())):
        net = nn.Sequential(conv(3, 2, 1), flat, nn.LazyLinear(4)).eval()
        net(torch.rand(1, 2, 12, 12))
        last = traced(net.to("meta"), 2, 12, 12)[-1]
        assert last.output_shape == (1, 4) and not last.field.is_map
        assert (last.receptive_field, last.stride) == (3 + 5 * 2, 2)  # six cells a side


def test_adaptive_pools():
    even = traced(nn.AdaptiveAvgPool2d(3), 2, 12, 12)[-1]
    assert (even.receptive_field, even.stride) == (4, 4)
    odd = traced(nn.Sequential(nn.AdaptiveMaxPool2d(3), conv(2).to("meta")), 2, 8, 8)  # cells 0-2, 2-5, 5-7
    assert odd[0].receptive_field == 4 and odd[0].stride == pytest.approx(8 / 3)
    assert odd[1].receptive_field == 6


def test_gates_are_left_out_and_told():
    net = nn.Sequential(conv(3, 2, 1, channels=4), SqueezeExcite(4, 2), conv(3, channels=4)).to("meta")
    with Trace() as trace, torch.no_grad():
        trace.watch(net)
        net(trace.start(torch.empty(1, 4, 32, 32, device="meta"), Field()))
    assert trace.layers[-1].receptive_field == 7
    assert trace.scaled
    gate = next(layer for layer in trace.layers if layer.name == "1.fc1")
    assert gate.receptive_field == 3 + 15 * 2 and not gate.field.is_map
    with Trace() as trace:
        trace.start(torch.empty(1, 4, 8, 8, device="meta"), Field()).relu()
    assert not trace.scaled


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x.flatten(2).transpose(1, 2) @ x.flatten(2),  # attention
        lambda x: x.transpose(2, 3).reshape(1, 2, 10, 40),
        lambda x: x.roll(3, 2),
        lambda x: x.flip(3),
        lambda x: x.cumsum(2),
        lambda x: x.softmax(3),
        lambda x: x.sum(3),
        lambda x: x[:, :, :10, :10] + F.interpolate(F.avg_pool2d(x, 4), scale_factor=2),  # different strides
    ],
)
def test_what_is_not_understood_is_not_claimed(mix):
    layer = traced(nn.Sequential(Lambda(lambda x: mix(x)), nn.ReLU()), 2, 20, 20)[-1]
    assert layer.receptive_field is None and layer.stride is None and layer.output_shape


def test_axes_that_do_not_lie_on_one_grid():
    one, two = Axis().window(3, 2), Axis().window(3, 3)
    assert one.joined(two) is None
    assert one.joined(one) == one
    assert one.nearest(2).stride == 1 and one.nearest(2).joined(Axis()) is not None
