"""detectron2's configurations: names, shapes and counts by a table of their own; what they compute, trap by trap."""

import math

import pytest
import torch

from tests.models.detectron2_files import Reference, random_state, shapes
from visionkit.assemble import build_model
from visionkit.backbones.box_tails import TwoLayerTail
from visionkit.backbones.dilated import DilatedC5
from visionkit.backbones.fpn import FPN
from visionkit.backbones.resnet import ResNet
from visionkit.backbones.resnet_blocks import Bottleneck
from visionkit.config import compose
from visionkit.errors import ConfigError
from visionkit.models.build import mask_rcnn
from visionkit.models.import_detectron2 import by_ratio_then_size, from_detectron2
from visionkit.ops.anchors import cell_anchors
from visionkit.structures import Batch, Targets

ARCHS = ("C4", "DC5", "FPN")
CLASSES, STEM, PYRAMID, FC = 3, 4, 8, 16


def meta(table):
    return {name: torch.empty(shape, device="meta") for name, shape in table.items()}


@pytest.mark.parametrize("masks", [False, True], ids=["faster", "mask"])
@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("arch", ARCHS)
def test_shapes_and_parameter_counts(arch, depth, masks):
    table = shapes(arch, depth, masks)
    found = from_detectron2(meta(table))
    assert found.backbone == f"resnet{depth}_msra{ {'C4': '', 'DC5': '_dc5', 'FPN': '_fpn'}[arch] }"
    assert found.task == ("mask_rcnn" if masks else "faster_rcnn") and found.num_classes == 80
    settings = [f"{key}={value}" for key, value in found.settings.items()]
    config = compose("train", [f"task={found.task}", f"backbone={found.backbone}", *settings])
    with torch.device("meta"):
        model = build_model(config, found.num_classes, pretrained=False)
    ours = {key: value.shape for key, value in model.state_dict().items() if not key.startswith("encode.normalize.")}
    assert {key: value.shape for key, value in found.weights.items()} == ours
    trained = sum(math.prod(shape) for name, shape in table.items() if ".norm." not in name)
    assert sum(p.numel() for p in model.parameters()) == trained
    assert masks or trained == by_hand(arch, depth)


def by_hand(arch, depth):
    """Faster R-CNN's weights and biases, without norms: the trunk as ResNet has it, then head by head."""
    trunk = {50: 25_557_032 - 2_049_000 - 53_120, 101: 44_549_160 - 2_049_000 - 105_344}[depth]
    if arch == "C4":  # RPN: 3x3, 15 logits, 60 deltas on 1024; the tail is the trunk's last group; 81 + 320 outputs
        return trunk + 1024 * (1024 * 9 + 1) + 75 * (1024 + 1) + 401 * (2048 + 1)
    if arch == "DC5":  # two layers on 7 x 7 x 2048
        return trunk + 2048 * (2048 * 9 + 1) + 75 * (2048 + 1) + 1024 * (2048 * 49 + 1 + 1024 + 1) + 401 * (1024 + 1)
    pyramid = 256 * (256 + 512 + 1024 + 2048 + 4) + 4 * 256 * (256 * 9 + 1)
    return trunk + pyramid + 256 * (256 * 9 + 1) + 15 * (256 + 1) + 1024 * (256 * 49 + 1 + 1024 + 1) + 401 * (1024 + 1)


def narrow_pair(arch, seed=0, **settings):
    """The reference, and ours with its weights through the importer; the same networks, some channels wide."""
    state = random_state(shapes(arch, 50, True, CLASSES, STEM, PYRAMID, FC), seed)
    found = from_detectron2(state)
    body = ResNet(
        Bottleneck,
        (3, 4, 6, 3),
        tuple(STEM << i for i in range(4)),
        "frozen",
        dilation=2 if arch == "DC5" else 1,
        stride_in_1x1=True,
        std=(1 / 255,) * 3,
    )
    if arch == "FPN":
        body = FPN(body, ("c2", "c3", "c4", "c5"), PYRAMID, tail=TwoLayerTail(PYRAMID, 7, FC))
    elif arch == "DC5":
        body = DilatedC5(body, tail=TwoLayerTail(32 * STEM, 7, FC))
    chosen = {key.removeprefix("task."): value for key, value in found.settings.items() if key.startswith("task.")}
    ours = mask_rcnn(body, CLASSES, short=96, long=160, **(chosen | settings))
    result = ours.load_state_dict(found.weights, strict=False)
    assert not result.unexpected_keys and set(result.missing_keys) == {"encode.normalize.mean", "encode.normalize.std"}
    return ours.eval(), Reference(state, arch)


def one_image(height=96, width=160, seed=1):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 10, generator=generator)
    pixels = (torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") * 255).to(torch.uint8)
    zero = torch.zeros(1, dtype=torch.int64)
    return Batch(pixels, torch.tensor([[height, width]]), zero, zero)


BOXES = torch.tensor([[3.0, 5.0, 60.5, 80.0], [0, 0, 160, 96], [100, 20, 118, 33], [31.5, 2.2, 155.0, 20.0]])


@torch.no_grad()
@pytest.mark.parametrize("arch", ARCHS)
def test_computes_what_detectron2_computes(arch):
    ours, theirs = narrow_pair(arch)
    batch = one_image()
    maps, expected = ours.encode.maps(batch), theirs.maps(batch.pixels)
    levels = [maps[name] for name in ours.propose.stages]
    for mine, other in zip(levels, expected.values(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)

    logits, deltas = ours.propose.head(levels)
    anchors = ours.propose.anchors(levels, batch.pixels.shape[-2:])
    for score, move, anchor, level in zip(logits, deltas, anchors, theirs.anchors_with_outputs(expected), strict=True):
        order, wanted = score[0].argsort(stable=True), level[1].argsort(stable=True)
        torch.testing.assert_close(score[0][order], level[1][wanted], rtol=1e-4, atol=1e-4)
        apart = level[1][wanted].diff() > 1e-3  # of those that score alike the order is open
        clear = torch.cat((apart, apart[:1])) & torch.cat((apart[:1], apart))
        assert clear.sum() > len(clear) / 3
        torch.testing.assert_close(anchor[order][clear], level[0][wanted][clear], rtol=0, atol=1e-3)
        torch.testing.assert_close(move[0][order][clear], level[2][wanted][clear], rtol=1e-3, atol=1e-3)

    index = torch.zeros(len(BOXES), dtype=torch.int64)
    classes, moves = ours.head(ours.encode(batch, maps, BOXES, index))
    other_classes, other_moves = theirs.head(expected, BOXES)
    torch.testing.assert_close(classes, other_classes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moves.flatten(1), other_moves, rtol=1e-4, atol=1e-4)
    assert other_classes.std(dim=0).min() > 1e-3  # regions differ, or nothing was compared
    masks = ours.mask(ours._mask_windows(ours.mask, maps, BOXES, index))
    torch.testing.assert_close(masks, theirs.masks(expected, BOXES), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("arch", "trap", "undone"),
    [
        ("C4", "the stride", lambda m: [swap_strides(block) for block in m.backbone.modules()]),
        ("C4", "the order of the channels", lambda m: flip(m.backbone.conv1.weight)),
        ("C4", "the std", lambda m: m.encode.normalize.std.copy_(torch.tensor([0.229, 0.224, 0.225])[:, None, None])),
        ("DC5", "the dilation", lambda m: undilate(m.backbone.body.layer4)),
        ("C4", "adaptive sampling", lambda m: setattr(m.encode, "sampling", 2)),
        ("FPN", "the half cell", lambda m: setattr(m.encode, "aligned", False)),
    ],
)
def test_each_trap_would_be_seen(arch, trap, undone):
    ours, theirs = narrow_pair(arch)
    batch = one_image()
    index = torch.zeros(len(BOXES), dtype=torch.int64)
    expected, _ = theirs.head(theirs.maps(batch.pixels), BOXES)

    def error():
        return (ours.head(ours.encode(batch, ours.encode.maps(batch), BOXES, index))[0] - expected).abs().max()

    assert error() < 1e-4
    undone(ours)
    assert error() > 1e-2, trap


def swap_strides(block):
    if isinstance(block, Bottleneck):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def flip(weight):
    weight.copy_(weight.flip(1))


def undilate(group):
    for block in group:
        block.conv2.dilation = block.conv2.padding = (1, 1)


def test_anchors_are_not_rounded_and_a_stride_apart():
    ours, _ = narrow_pair("FPN")
    maps = ours.encode.maps(one_image())
    p6 = ours.propose.anchors([maps[name] for name in ours.propose.stages], (96, 160))[-1]
    assert maps["p6"].shape[-2:] == (2, 3)
    assert p6[3:6].sub(p6[:3]).tolist() == [[64.0, 0.0, 64.0, 0.0]] * 3  # 160 // 3 by torchvision's rule
    assert not torch.equal(p6, p6.round())


def test_anchors_of_several_sizes_change_places():
    sizes, ratios = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)
    theirs = torch.cat([cell_anchors([size], ratios, "none") for size in sizes])  # sizes outside
    ours = by_ratio_then_size(theirs.flatten(), len(sizes), len(ratios), 4).unflatten(0, (-1, 4))
    assert torch.equal(ours, cell_anchors(sizes, ratios, "none")) and not torch.equal(ours, theirs)


def test_losses_are_l1_and_settings_detectron2s():
    ours, _ = narrow_pair("C4")
    assert ours.propose.beta == 0 and ours.head.beta == 0
    assert ours.propose.train_top == (12000, 2000) and ours.propose.test_top == (6000, 1000)
    fpn, _ = narrow_pair("FPN")
    assert fpn.propose.train_top == (2000, 1000) and fpn.propose.test_top == (1000, 1000)


def test_background_is_last_in_both():
    state = random_state(shapes("C4", 50, False, CLASSES, STEM))
    found = from_detectron2(state)
    for part in ("weight", "bias"):
        assert torch.equal(found.weights[f"head.cls_score.{part}"], state[f"roi_heads.box_predictor.cls_score.{part}"])
        assert torch.equal(found.weights[f"head.bbox_pred.{part}"], state[f"roi_heads.box_predictor.bbox_pred.{part}"])


def test_the_other_form_of_the_trunk():
    state = random_state(shapes("C4", 50, False, CLASSES, STEM))
    found = from_detectron2(state, "torchvision")
    assert found.backbone == "resnet50"
    assert torch.equal(found.weights["encode.backbone.conv1.weight"], state["backbone.stem.conv1.weight"])
    msra = from_detectron2(state).weights["encode.backbone.conv1.weight"]
    assert torch.equal(msra[:, 0], state["backbone.stem.conv1.weight"][:, 2])


def anchors_of_older_files(sizes):
    return torch.cat([cell_anchors([size], (0.5, 1.0, 2.0), "none") for size in sizes])


def test_what_older_files_hold_beside_the_weights():
    state = random_state(shapes("C4", 50, False, CLASSES, STEM))
    extras = {
        "pixel_mean": torch.tensor([103.53, 116.28, 123.675])[:, None, None],
        "pixel_std": torch.ones(3, 1, 1),
        "proposal_generator.anchor_generator.cell_anchors.0": anchors_of_older_files((32, 64, 128, 256, 512)),
    }
    assert set(from_detectron2(state | extras).weights) == set(from_detectron2(state).weights)
    with pytest.raises(ConfigError, match="pixel_std is 57.375, 57.12, 58.395, which is not that of form=msra"):
        from_detectron2(state | extras | {"pixel_std": torch.tensor([57.375, 57.12, 58.395])})
    other = {"proposal_generator.anchor_generator.cell_anchors.0": anchors_of_older_files((16, 64, 128, 256, 512))}
    with pytest.raises(ConfigError, match="its anchors are not detectron2's defaults.*16.0 pixels a side"):
        from_detectron2(state | extras | other)


def test_norms_without_statistics():
    state = {k: v for k, v in random_state(shapes("C4", 50, False, CLASSES, STEM)).items() if "running" not in k}
    found = from_detectron2(state)
    assert "53 norms hold no statistics" in found.notes[1]
    assert (found.weights["encode.backbone.bn1.running_var"] == 1).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("roi_heads.box_predictor.cls_score.weight"), "no roi_heads.box_predictor.cls_score.weight"),
        (
            lambda s: s.update({"roi_heads.keypoint_head.conv_fcn1.weight": torch.ones(1)}),
            "has roi_heads.keypoint_head",
        ),
        (lambda s: s.update({"backbone.fpn_lateral2.norm.weight": torch.ones(1)}), "has backbone.fpn_lateral2.norm"),
        (lambda s: [s.pop(k) for k in list(s) if ".res4.5." in k], "no ResNet-50, 101 or 152: 5 blocks"),
        (lambda s: [s.pop(k) for k in list(s) if ".fpn" in k or ".res5." in k], "neither C4 nor DC5 nor FPN"),
        (
            lambda s: s.update({"proposal_generator.rpn_head.objectness_logits.weight": torch.ones(9, 8, 1, 1)}),
            "9 anchors in a cell; R50-FPN has 3",
        ),
    ],
)
def test_other_models_are_refused(change, sentence):
    state = random_state(shapes("FPN", 50, False, CLASSES, STEM, PYRAMID, FC))
    change(state)
    with pytest.raises(ConfigError, match=sentence):
        from_detectron2(state)


def test_training_on_imported_weights_has_finite_losses_with_and_without_objects():
    ours, _ = narrow_pair("C4", rpn_train_top=[200, 50], regions=16)
    batch = one_image()
    for count in (1, 0):
        valid = torch.tensor([[bool(count)]])
        masks = torch.ones(1, 1, 96, 160, dtype=torch.bool) & valid[..., None, None]
        boxes = torch.tensor([[[10.0, 10.0, 90.0, 70.0]]]) * valid[..., None]
        targets = Targets(boxes, torch.zeros(1, 1, dtype=torch.int64), valid, torch.zeros_like(valid), masks=masks)
        losses = ours(batch, targets)
        assert set(losses) == set(ours.loss_names) and all(loss.isfinite() for loss in losses.values())
