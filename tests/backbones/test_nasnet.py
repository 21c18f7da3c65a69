import re
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.torchvision_parity import lively_, logits_of, relative
from visionkit.backbones import nasnet
from visionkit.backbones.base import Stage
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.drop_path import DropPath
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.freeze import freeze
from visionkit.backbones.nasnet import NORMAL, REDUCTION, NASNet
from visionkit.backbones.nasnet_cell import CURRENT, OPERATIONS, PREVIOUS, Cell, CellPlan, HalvedMap
from visionkit.backbones.pretrained import initialise, load_weights
from visionkit.errors import ConfigError


def narrow(weights: str | None = None, norm: str = "batch", **options) -> NASNet:
    return initialise(NASNet(**{"cells": 2, "filters": 12, "width": 8, "norm": norm} | options), weights)


@pytest.mark.parametrize(
    ("name", "size", "parameters", "million_multiply_adds"),
    [  # tables 3 and 2: 5.3M and 564M, 88.9M and 23.8B; the exact counts are those of the public ports
        ("nasnet_mobile", 224, 5_289_978, 564),
        ("nasnet_large", 331, 88_753_150, 23_800),
    ],
)
def test_parameters_and_cost_are_the_papers(name, size, parameters, million_multiply_adds):
    with torch.device("meta"), torch.no_grad():
        net = getattr(nasnet, name)()
        whole = nn.ModuleList([net, net.new_classifier(1000)]).eval()
        with FlopCounterMode(display=False) as counter:
            logits_of(*whole, torch.rand(1, 3, size, size))
    assert sum(p.numel() for p in whole.parameters()) == parameters
    assert net.resolution == size
    assert counter.get_total_flops() / 2e6 == pytest.approx(million_multiply_adds, rel=2e-3)


def timms_keys(net: NASNet) -> dict[str, str]:
    """Our keys -> timm's for the same network with two stem cells and three groups of N + 1."""
    rows = [["cell_stem_0"], ["cell_stem_1"], ["reduction_cell_0"], ["reduction_cell_1"]]
    cells = len(net.get_submodule("cells5").cells) - 1
    for i in range(3 * cells):
        rows[1 + i // cells].append(f"cell_{i}")
    renamed = (
        (r"^stem\.(conv|norm)\.", lambda m: f"conv0.{'bn' if m[1] == 'norm' else 'conv'}."),
        (r"^cells(\d)\.cells\.(\d+)\.", lambda m: f"{rows[int(m[1]) - 2][int(m[2])]}."),
        (r"squeeze_current\.", "conv_1x1."),
        (r"squeeze_previous\.even\.", "path_1.conv."),
        (r"squeeze_previous\.odd\.", "path_2.conv."),
        (r"squeeze_previous\.norm\.(?=.*HALVED)", "final_path_bn."),
        (r"squeeze_previous\.", "conv_prev_1x1."),
        (r"(left|right)\.(\d)\.", r"comb_iter_\2_\1."),
        (r"\.(depthwise|pointwise)(\d)\.", r".separable_\2.\1_conv2d."),
        (r"\.norm(\d)\.", r".bn_sep_\1."),
        (r"\.norm\.", ".bn."),
        ("HALVED", ""),
    )
    found = {}
    for key in net.state_dict():
        theirs = key
        if re.search(r"squeeze_previous\.norm\.", key):
            parent = key.split(".squeeze_previous")[0]
            if isinstance(net.get_submodule(f"{parent}.squeeze_previous"), HalvedMap):
                theirs += "HALVED"
        for pattern, replacement in renamed:
            theirs = re.sub(pattern, replacement, theirs)
        found[key] = theirs
    return found


def timms_logits(theirs: nn.Module, images: Tensor, skips: bool) -> Tensor:
    """Timm's cells in the order of the larger network (its own) or of the smaller."""
    if skips:
        return theirs(images)
    previous = current = theirs.conv0(images)
    for name in theirs.layer_names[1:]:
        cell = getattr(theirs, name)
        maps = (current,) if name == "cell_stem_0" else (previous, current)
        previous, current = current, cell(*(maps if name.startswith("cell_stem") else maps[::-1]))
    return theirs.forward_head(theirs.act(current))


@torch.no_grad()
@pytest.mark.parametrize("skips", [True, False])
def test_logits_equal_timms(skips):
    """A narrow one with the cells of the large: all of timm's code, a hundredth of the weights."""
    from timm.models import nasnet as timm_nasnet

    theirs = lively_(timm_nasnet.NASNetALarge(num_features=24 * 12, stem_size=8)).eval()
    for cell in theirs.modules():  # unlike TensorFlow's, timm's average over the padding, which it asks itself about
        for name, module in cell.named_children():
            if isinstance(module, nn.AvgPool2d) and module.kernel_size in (3, (3, 3)):
                setattr(cell, name, nn.AvgPool2d(3, module.stride, padding=1, count_include_pad=False))
    ours = narrow(cells=6, skips=skips).eval()
    classifier = ours.new_classifier(1000).eval()
    state = theirs.state_dict()
    classifier.linear.load_state_dict({key: state.pop(f"last_linear.{key}") for key in ("weight", "bias")})
    keys = timms_keys(ours)
    assert sorted(keys.values()) == sorted(state)
    ours.load_state_dict({key: state[name] for key, name in keys.items()})
    images = torch.rand(2, 3, 67, 67)  # 64 k + 3: no layer pads more on one side than on the other
    expected = timms_logits(theirs, images, skips)
    assert expected.std() > 1e-3
    assert relative(logits_of(ours, classifier, images), expected) < 1e-5
    other = timms_logits(theirs, images, not skips)
    assert relative(other, expected) > 1e-2, "the two orders are not the same network"


def test_shapes_of_the_large_one_are_timms():
    from timm.models import nasnet as timm_nasnet

    with torch.device("meta"):
        ours, theirs = nasnet.nasnet_large(), timm_nasnet.NASNetALarge()
    published = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("last_linear.")}
    state, keys = ours.state_dict(), timms_keys(ours)
    assert {keys[key]: value.shape for key, value in state.items()} == published


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
def test_contract_of_a_narrow_one(norm):
    assert_is_backbone(narrow(norm=norm, skips=norm == "batch", drop_path=0.1))


@pytest.mark.slow
def test_contract():
    assert_is_backbone(nasnet.nasnet_mobile())


def test_stages_of_the_mobile_one():
    with torch.device("meta"):
        net = nasnet.nasnet_mobile()
        maps = net(torch.rand(1, 3, 67, 67), tuple(net.stages))
    assert [tuple(stage) for stage in net.stages.values()] == [(32, 2), (44, 4), (264, 8), (1056, 16), (1056, 32)]
    assert [tuple(x.shape[1:]) for x in maps.values()] == [
        (32, 33, 33),
        (44, 17, 17),
        (264, 9, 9),
        (1056, 5, 5),
        (1056, 3, 3),
    ]


@pytest.mark.parametrize("takes", [assert_compiles, assert_exports])
def test_compiles_and_exports(takes):
    plan = CellPlan(
        blocks=((("sep3", CURRENT), ("avg3", PREVIOUS)), (("max3", CURRENT), ("identity", 2))), output=(2, 3)
    )
    takes(narrow(cells=1, normal=plan, reduction=plan))


def test_an_image_of_224_has_one_window():
    with torch.device("meta"):
        net = narrow()
        assert net(torch.rand(1, 3, 224, 224), ("c4",))["c4"].shape == (1, 2 * 6 * 24, net.window, net.window)
    assert net.mean == net.std == (0.5, 0.5, 0.5)


def test_c4_is_the_maps_of_two_cells_and_the_tail_splits_them():
    net = narrow().eval()
    images = torch.rand(1, 3, 96, 96)
    seen: list[Tensor] = []
    for cell in net.cells4.cells[-2:]:
        cell.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    maps = net(images, ("c4", "c5"))
    assert torch.equal(maps["c4"], torch.cat(seen, dim=1))
    torch.testing.assert_close(net.dense_tail(maps["c4"]), maps["c5"])
    assert (maps["c4"] < 0).any() and not (maps["c5"] < 0).any(), "only the last map comes after a ReLU"


def test_a_single_cell_a_group():
    """Then c4 is a reduction cell's map and a normal cell's, which differ in channels."""
    net = narrow(cells=1)
    assert net.stages["c4"].channels == (4 + 6) * 24
    assert_is_backbone(net)


def test_a_plan_by_hand():
    """The cell computes its plan: two blocks, the second on the first's sum."""
    plan = CellPlan(
        blocks=((("max3", CURRENT), ("identity", PREVIOUS)), (("conv1", 2), ("avg3", PREVIOUS))), output=(3,)
    )
    cell = Cell(plan, Stage(5, 8), Stage(6, 8), filters=4, stride=1, norm="batch").eval()
    previous, current = torch.rand(2, 5, 7, 7), torch.rand(2, 6, 7, 7)
    a, b = cell.squeeze_previous(previous), cell.squeeze_current(current)
    first = nn.functional.max_pool2d(b, 3, 1, 1) + a
    second = cell.left[1](first) + nn.functional.avg_pool2d(a, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(cell(previous, current), second)
    assert cell.stage == (4, 8)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (4, 2), (6, 1), (6, 2)])
def test_every_operation_makes_the_filters_and_the_stride(operation, channels, stride):
    x = torch.randn(2, channels, 7, 9)
    before = x.clone()
    y = OPERATIONS[operation](channels, 4, stride, "none")(x)
    assert y.shape == (2, 4, -(-7 // stride), -(-9 // stride))
    assert torch.equal(x, before), "other operations use the same map"


@pytest.mark.parametrize("source", [PREVIOUS, CURRENT])
def test_another_cell_makes_another_network(source):
    """One that does not look at the cell before the last, too: then nothing is left that never learns."""
    plan = CellPlan(blocks=((("conv3", CURRENT), ("identity", source)),), output=(2,))
    net = narrow(normal=plan, reduction=plan)
    assert net.stages["c5"].channels == 4 * 12
    assert_is_backbone(net)


@pytest.mark.parametrize(
    ("blocks", "output", "sentence"),
    [
        (((("sep9", 0), ("sep3", 1)),), (2,), "operations are identity, avg3, .*, not 'sep9'"),
        (((("sep3", 2), ("sep3", 1)),), (2,), "map 2 of a cell is made of maps 0 to 1, not of 2"),
        (((("sep3", 0), ("sep3", 1)),), (3,), r"one or more of its maps 0 to 2, not \(3,\)"),
        (((("sep3", 0), ("sep3", 1)),), (1,), "map 2 of a cell is in no block and not in its output"),
        (((("sep3", 0), ("sep3", 1)),), (), r"one or more of its maps 0 to 2, not \(\)"),
    ],
)
def test_impossible_plans(blocks, output, sentence):
    with pytest.raises(ConfigError, match=sentence):
        CellPlan(blocks, output)


def test_a_reduction_cell_cannot_put_out_what_it_reduces():
    with pytest.raises(ConfigError, match="a cell with stride 2 cannot put out its inputs"):
        Cell(NORMAL, None, Stage(6, 8), filters=4, stride=2, norm="batch")


def test_halving_keeps_every_position():
    """Row 0 and row 1 both reach the result: the even cells one half of the channels, the odd ones the other."""
    halved = HalvedMap(1, 2, "none")
    for conv in (halved.even, halved.odd):
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
    x = torch.arange(1.0, 26).view(1, 1, 5, 5)
    even, odd = halved(x)[0]
    assert torch.equal(even, x[0, 0, ::2, ::2])
    assert torch.equal(odd[:2, :2], x[0, 0, 1::2, 1::2])
    assert not odd[2].any() and not odd[:, 2].any()


def test_drop_path_is_on_operations_but_identities():
    operations = [name for plan in (NORMAL, REDUCTION) for block in plan.blocks for name, _ in block]
    assert operations.count("identity") == 3 and len(operations) == 20
    net = narrow(cells=1, drop_path=0.25)
    dropped = [m for m in net.modules() if isinstance(m, DropPath)]
    assert len(dropped) == 4 * (10 - 1) + 3 * (10 - 2)
    assert {m.probability for m in dropped} == {0.25}
    assert list(net.state_dict()) == list(narrow(cells=1).state_dict()), "weights load with and without"
    with pytest.raises(ConfigError, match="from 0 to 1, not 1.5"):
        narrow(drop_path=1.5)


def test_auxiliary_head_learns_from_the_last_cell():
    net = narrow()
    aux = net.new_aux_classifiers(5)
    images = torch.rand(2, 3, 96, 96)
    for training in (True, False):
        maps = net.train(training)(images, tuple(aux))
        logits = aux.train(training)["c4"](maps["c4"])
        assert logits.shape == (2, 5)
    (gradient,) = torch.autograd.grad(logits.square().sum(), maps["c4"])
    assert not gradient[:, : 6 * 24].any(), "of the cell before it nothing is used"
    assert gradient[:, 6 * 24 :].any()
    assert "dropout" in dict(net.new_classifier(5).named_children())


def test_freezing():
    frozen = freeze(narrow(), "c3")
    assert {name.split(".")[0] for name in frozen} == {"stem", "cells2", "cells3"}


@pytest.mark.parametrize("names", [("c2", "c3", "c4", "c5"), ("c3", "c4")])
def test_feature_pyramid(names):
    net = build_fpn(partial(narrow, cells=1), names=names, channels=8, hidden=16)
    assert any(key.startswith("body.cells5.") for key in net.state_dict()) == ("c5" in names)
    assert_is_backbone(net)


def test_own_weights_come_back(tmp_path):
    net, other = narrow(), narrow(norm="frozen")
    torch.save(net.state_dict(), tmp_path / "a.pth")
    load_weights(other, tmp_path / "a.pth")
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(other.eval()(images, ("c5",)), net.eval()(images, ("c5",)))
    with pytest.raises(ConfigError, match="no ImageNet weights are published for this NASNet"):
        narrow(weights="imagenet")
    with pytest.raises(ConfigError, match="one normal cell or more in each group, not 0"):
        narrow(cells=0)
    with pytest.raises(ConfigError, match="norm must be one of batch, frozen, group, none, not 'layer'"):
        nasnet.nasnet_mobile(norm="layer")


def test_auxiliary_head_with_one_image_is_refused():
    head = nasnet.AuxiliaryHead(4, 8, 5, "batch")
    with pytest.raises(ConfigError, match="two images a step: trainer.batch_size=2, or task.aux_weight=0"):
        head(torch.rand(1, 12, 6, 6))
    assert head.eval()(torch.rand(1, 12, 6, 6)).shape == (1, 5)
