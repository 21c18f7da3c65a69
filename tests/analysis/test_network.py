"""Counts against three others: torch's flop counter, torchvision's published figures, and arithmetic by hand."""

import math
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from visionkit.analysis.network import GATED, analyze_detector, analyze_network, default_classes
from visionkit.analysis.published import published
from visionkit.analysis.trace import BYTES, Trace, traced
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError
from visionkit.instantiate import build
from visionkit.models.build import faster_rcnn, rcnn, sliding_window

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "backbone"
NAMES = sorted(file.stem for file in CONFIGS.glob("*.yaml"))
PUBLISHED = [name for name in published() if name in NAMES]


def network(name: str) -> Backbone:
    with torch.device("meta"):
        return build(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()), weights=None)


def analysis(name: str, size: tuple[int, int] | None = None):
    """At its own size by default; made once."""
    return counted(name, size or own_size(name))[0]


@lru_cache
def own_size(name: str) -> tuple[int, int]:
    return (network(name).resolution,) * 2


@lru_cache
def counted(name: str, size: tuple[int, int]):
    """The analysis, and what torch's own counter finds while it runs."""
    net = network(name)
    classes = default_classes(net)
    with FlopCounterMode(display=False) as counter:
        return analyze_network(net, name, size, classes), counter.get_total_flops()


@pytest.mark.parametrize("name", NAMES)
def test_counts_of_every_network(name):
    """Multiply-adds are half of what torch's own counter finds; nothing is left over or unknown."""
    (found, flops), net = counted(name, own_size(name)), network(name)
    with torch.device("meta"):
        head = net.new_classifier(found.classes)
    assert flops == 2 * (found.multiply_adds + found.auxiliary.multiply_adds) > 0
    assert found.parameters == sum(p.numel() for module in (net, head) for p in module.parameters())
    assert sum(layer.parameters for layer in found.layers) == found.parameters
    assert sum(part.multiply_adds for part in found.parts) == found.multiply_adds
    assert len({layer.name for layer in found.layers}) == len(found.layers)
    assert found.layers[-1].output_shape == (1, found.classes)
    assert all(layer.receptive_field for layer in found.layers)
    assert all(layer.activation_bytes for layer in found.layers if layer.multiply_adds)
    assert {net.stages[stage].stride for stage in net.region_stages} <= {layer.stride for layer in found.layers}
    assert set(found.notes) <= {GATED}


def test_a_plain_run_costs_the_same():
    """The wiring of an analysis is that of a network."""
    found, net = analysis("se_resnet18"), network("se_resnet18").eval()
    with torch.device("meta"), torch.no_grad():
        head = net.new_classifier(1000).eval()
        with FlopCounterMode(display=False) as counter:
            head(net.tail_maps(net.pool(net(torch.empty(1, 3, 224, 224), ("c4",))["c4"])))
    assert counter.get_total_flops() == 2 * found.multiply_adds


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_torchvisions(name):
    """Its metadata give billions of multiply-adds to three places, at the weights' own crop."""
    row = published()[name]
    found = analysis(name, (row.crop, row.crop))
    assert found.parameters == row.parameters
    assert found.multiply_adds / 1e9 == pytest.approx(row.multiply_adds_g, rel=1e-3, abs=0.000501)


def test_the_published_table_is_torchvisions():
    from torchvision import models

    assert len(PUBLISHED) >= 20
    for row in published().values():
        weights = models.get_model_weights(row.name).IMAGENET1K_V1
        accuracy = weights.meta["_metrics"]["ImageNet-1K"]
        theirs = (accuracy["acc@1"], accuracy["acc@5"], weights.meta["num_params"], weights.meta["_ops"])
        assert row[1:5] == theirs, row.name
        assert [row.crop] == weights.transforms().crop_size, row.name


@pytest.mark.parametrize(
    "name,image,classes",
    [
        ("lenet", (1, 32, 32), 10),
        ("alexnet_2012", (3, 227, 227), 1000),
        ("resnet20", (3, 32, 32), 10),
        ("resnet18", (3, 224, 224), 1000),
        ("resnet18_fpn", (3, 224, 224), 1000),
        ("efficientnet_b1", (3, 240, 240), 1000),
    ],
)
def test_a_network_is_counted_at_its_own_size(name, image, classes):
    found = analysis(name)
    assert (found.image, found.classes) == (image, classes)


def test_auxiliary_heads_are_counted_apart():
    from torchvision.models import googlenet

    with torch.device("meta"):
        theirs = googlenet(weights=None, aux_logits=True, init_weights=False)
    found = analysis("googlenet")
    heads = [theirs.aux1, theirs.aux2]
    assert found.auxiliary.parameters == sum(p.numel() for head in heads for p in head.parameters())
    # A 1x1 convolution on 4 x 4 cells and two linear layers each, on the maps of 4a and 4d.
    expected = sum(channels * 128 * 16 + 2048 * 1024 + 1024 * 1000 for channels in (512, 528))
    assert found.auxiliary.multiply_adds == expected
    assert found.parameters == sum(p.numel() for p in theirs.parameters()) - found.auxiliary.parameters
    assert analysis("vgg16").auxiliary.parameters == 0


def test_layers_of_resnet18_by_hand():
    layers = {layer.name: layer for layer in analysis("resnet18", (320, 416)).layers}
    first = layers["conv1"]
    assert (first.kind, first.part, first.output_shape) == ("Conv2d", "trunk", (1, 64, 160, 208))
    assert first.parameters == 64 * 3 * 49 and first.multiply_adds == 64 * 3 * 49 * 160 * 208
    assert first.activation_bytes == BYTES * 64 * 160 * 208
    assert (first.receptive_field, first.stride) == (7, 2)
    assert layers["bn1"].parameters == 128 and layers["bn1"].activation_bytes == first.activation_bytes
    assert layers["relu"].activation_bytes == 0  # in place
    assert layers["maxpool"].receptive_field == 11 and layers["maxpool"].stride == 4
    assert layers["layer1.0.add"].kind == "add" and layers["layer1.0.add"].receptive_field == 27
    assert layers["layer2.0.downsample.0"].receptive_field == 43  # of 1x1 after layer1
    assert layers["layer4.1.relu2"].output_shape == (1, 512, 10, 13)
    last = layers["head.linear"]
    assert (last.part, last.output_shape, last.parameters) == ("head", (1, 1000), 513_000)
    assert last.field.size == (435 + 9 * 32, 435 + 12 * 32) and last.receptive_field == 435 + 12 * 32


def test_parts_of_vgg16():
    parts = {part.name: part for part in analysis("vgg16").parts}
    assert list(parts) == ["trunk", "pool", "tail", "head"]
    assert parts["trunk"].parameters == 14_714_688 and parts["head"].parameters == 4_097_000
    assert parts["tail"].multiply_adds == 25088 * 4096 + 4096 * 4096


class Tied(nn.Module):
    """One layer used twice, one never, and one only in training."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.shared = nn.Conv2d(2, 2, 3, padding=1)
        self.unused = nn.Linear(7, 7)
        self.relu = nn.ReLU(inplace=inplace)
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.relu(self.shared(self.shared(x)))) * 2


@pytest.mark.parametrize("inplace", [True, False])
def test_a_layer_that_runs_twice_costs_twice_and_has_its_parameters_once(inplace):
    layers = traced(Tied(inplace).to("meta"), 2, 5, 5)
    names = ["shared", "shared (2)", "relu", "module.mul"]
    assert [layer.name for layer in layers] == names
    assert [layer.parameters for layer in layers] == [2 * 2 * 9 + 2, 0, 0, 0]
    assert [layer.multiply_adds for layer in layers] == [900, 900, 0, 0]
    assert [layer.receptive_field for layer in layers] == [3, 5, 5, 5]
    assert [layer.activation_bytes for layer in layers] == [200, 200, 0 if inplace else 200, 200]


def test_a_network_with_a_layer_that_never_runs_says_so():
    with torch.device("meta"):
        net = basic_resnet()
        net.extra = nn.Linear(10, 10)
    found = analyze_network(net, "mine", (64, 64), 10)
    assert found.notes == ("110 parameters are in layers that did not run",)
    assert found.parameters == sum(layer.parameters for layer in found.layers) + 110


def test_nothing_of_a_trace_stays_in_the_network():
    net = basic_resnet().to("meta")
    first, second = (analyze_network(net, "mine", (64, 64), 10) for _ in range(2))
    assert [vars(layer) for layer in first.layers] == [vars(layer) for layer in second.layers]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_matrix_products_and_transposed_convolutions():
    x = torch.empty(4, 6, 8, device="meta")
    linear, up = nn.Linear(8, 3, device="meta"), nn.ConvTranspose2d(6, 5, 4, 2, device="meta")
    with Trace() as trace, torch.no_grad():
        for module in (linear, up):
            trace.watch(module, type(module).__name__)
        trace.start(x, None)
        x @ x.transpose(1, 2)
        torch.baddbmm(x @ torch.empty(8, 6, device="meta"), x, x.transpose(1, 2))
        linear(x)
        up(x[None].squeeze(0)[:, None].transpose(1, 2))
    assert [layer.multiply_adds for layer in trace.layers if layer.multiply_adds] == [
        4 * 6 * 8 * 6,
        4 * 6 * 8 * 6,
        4 * 6 * 8 * 6,
        4 * 6 * 8 * 3,
        4 * 6 * 5 * 16 * 1 * 8,
    ]


def test_small_images_are_refused():
    with pytest.raises(ConfigError, match="at least 32 x 32 pixels, not 31 x 40"):
        analyze_network(network("resnet18"), "resnet18", (31, 40))


class Fussy(Backbone):
    """Takes any size, it says; its tail does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2)
        self.tail_conv = nn.Conv2d(4, 8, 5)
        self.stages, self.paths = {"c1": Stage(4, 2)}, {"c1": ("conv",)}
        self.region_stages = self.proposal_stages = ("c1",)
        self.window, self.out_channels, self.color, self.min_size, self.resolution = 15, 8, "gray", 3, 32

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.tail_conv(windows)

    def new_classifier(self, num_classes: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))


def test_a_tail_that_finds_no_room_is_the_sizes_fault():
    with torch.device("meta"):
        net = Fussy()
    found = analyze_network(net, "fussy")
    assert found.image == (1, 32, 32) and found.classes == 10
    with pytest.raises(ConfigError, match=r"fussy cannot take images of 9 x 9 pixels \(.*[Kk]ernel size"):
        analyze_network(net, "fussy", (9, 9))


# Detectors


@pytest.fixture(scope="module")
def detector():
    with torch.device("meta"):
        return faster_rcnn(network("resnet50_fpn"), 90)


def test_a_detector_is_torchvisions_but_for_the_boxes_of_background(detector):
    """Its metadata: 41,755,286 parameters and 134.38 billion multiply-adds, of an image that becomes 800 x 800 and
    1000 regions. It also predicts a box for background, which nothing ever uses: 4 of 4 * 91 outputs."""
    from torchvision.models import detection as models

    meta = models.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta
    found = analyze_detector(detector, "faster_rcnn", (800, 800))
    assert found.parameters + 4 * 1025 == meta["num_params"] == 41_755_286
    ours = (found.multiply_adds + 1000 * 4 * 1024) / 1e9
    assert meta["_ops"] == 134.38 and ours == pytest.approx(meta["_ops"], abs=0.0005)
    assert found.parameters == sum(part.parameters for part in found.parts)


def test_parts_of_a_detector(detector):
    found = analyze_detector(detector, "faster_rcnn", (640, 800), regions=10)
    parts = {part.name: part for part in found.parts}
    assert list(parts) == ["trunk", "neck", "rpn", "regions", "tail", "head"]
    cells = sum(-(-640 // s) * -(-800 // s) for s in (4, 8, 16, 32)) + 10 * 13
    assert parts["rpn"].parameters == 593_935
    assert parts["rpn"].multiply_adds == cells * 256 * (9 * 256 + 15)
    assert parts["tail"].multiply_adds == 10 * (256 * 49 * 1024 + 1024 * 1024)
    assert parts["head"].multiply_adds == 10 * 1024 * (91 + 360)
    assert parts["regions"].activation_bytes == BYTES * 10 * 256 * 49
    assert (found.image, found.classes) == ((3, 640, 800), 90)
    assert found.last_map.name.startswith("neck.") and found.last_map.stride == 64
    assert any("10 regions" in note for note in found.notes)
    assert analyze_detector(detector, "faster_rcnn").image == (3, 800, 1344)  # its own resize


def test_a_detector_without_a_pyramid():
    with torch.device("meta"):
        model = faster_rcnn(basic_resnet(), 3, short=64, long=96)
    found = analyze_detector(model, "c4", (64, 96), regions=7)
    parts = {part.name: part for part in found.parts}
    assert list(parts) == ["trunk", "rpn", "regions", "tail", "head"]
    net = basic_resnet()
    assert parts["tail"].parameters == sum(p.numel() for p in net.layer4.parameters())
    assert parts["trunk"].parameters + parts["tail"].parameters == sum(p.numel() for p in net.parameters())
    assert found.parameters == sum(p.numel() for p in model.parameters())
    windows = next(layer for layer in found.layers if layer.part == "regions")
    assert windows.output_shape == (7, 128, 14, 14) and windows.field is None
    assert math.prod(windows.output_shape) * BYTES == windows.activation_bytes


@pytest.mark.parametrize("builder", [rcnn, sliding_window])
def test_regions_that_share_no_maps_are_not_counted_as_if_they_did(builder):
    model = builder(vgg11_bn_narrow(), 4)
    with pytest.raises(ConfigError, match="count the backbone"):
        analyze_detector(model, builder.__name__)
