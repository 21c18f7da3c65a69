"""Mask R-CNN as a whole: golden losses, empty truth, crowds, overfitting, masks in the picture's own pixels."""

import numpy as np
import pytest
import torch
from torch import Tensor

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.vgg import vgg11
from visionkit.data.collate import collate
from visionkit.data.scene_picture import draw
from visionkit.data.scene_settings import SceneSettings
from visionkit.errors import ConfigError
from visionkit.models.build import mask_rcnn
from visionkit.models.region_detector import RegionDetector
from visionkit.ops.boxes import iou
from visionkit.structures import Batch, Sample, Targets, Truth

LOSSES = ("loss_objectness", "loss_proposal", "loss_class", "loss_box", "loss_mask")
SMALL = {
    "short": 96,
    "long": 128,
    "rpn_train_top": (200, 100),
    "rpn_test_top": (200, 50),
    "rpn_samples": 64,
    "regions": 32,
    "mask_hidden": 32,
}


def tiny(fpn: bool = True, **settings: object) -> RegionDetector:
    torch.manual_seed(0)
    if not fpn:
        return mask_rcnn(basic_resnet(norm="group"), 3, anchor_sizes=[[16, 32, 64]], **SMALL | settings)
    backbone = build_fpn(basic_resnet, norm="group", names=["c3", "c4", "c5"], channels=32, hidden=64, extra=None)
    return mask_rcnn(backbone, 3, **SMALL | {"anchor_sizes": [[16], [32], [64]], "mask_layers": (32, 32)} | settings)


def fixed_weights(model: torch.nn.Module) -> None:
    """Weights without random numbers, so that the golden losses survive changes of any generator."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + len(name)).float()
            fan = max(1, parameter[0].numel() if parameter.ndim > 1 else 1)
            base = 1.0 if parameter.ndim == 1 and "weight" in name else 0.0
            parameter.copy_((base + values * (fan**-0.5 if parameter.ndim > 1 else 0.01)).view_as(parameter))


def pictures(count: int = 2, height: int = 96, width: int = 128) -> Batch:
    y, x = np.mgrid[:height, :width]
    planes = np.stack([(np.sin(x / (5 + c)) + np.cos(y / (7 + c))) * 60 + 127 for c in range(3)])
    pixels = torch.from_numpy(np.stack([np.roll(planes, 9 * i, axis=2) for i in range(count)]).astype(np.uint8))
    return Batch(pixels, torch.tensor([[height, width]] * count), torch.arange(count), torch.arange(count) + 5)


def truth(boxes: list, labels: list, crowd: bool = False, height: int = 96, width: int = 128) -> Targets:
    """With an ellipse in each box as its mask."""
    tensor = torch.tensor(boxes, dtype=torch.float32)
    valid = tensor.sum(dim=2) > 0
    y, x = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    middle, half = (tensor[..., :2] + tensor[..., 2:]) / 2, ((tensor[..., 2:] - tensor[..., :2]) / 2).clamp(min=1e-6)
    u = (x - middle[..., 0, None, None]) / half[..., 0, None, None]
    v = (y - middle[..., 1, None, None]) / half[..., 1, None, None]
    return Targets(tensor, torch.tensor(labels), valid, valid & crowd, masks=u**2 + v**2 <= 1)


TWO = truth([[[10, 10, 60, 60], [70, 20, 110, 80]], [[5, 30, 45, 90], [0, 0, 0, 0]]], [[0, 1], [2, 0]])
NOTHING = truth([[[0, 0, 0, 0]], [[0, 0, 0, 0]]], [[0], [0]])

# Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
GOLDEN = [
    (True, (0.690946, 0.011858, 1.398059, 0.000052, 0.691359)),
    (False, (0.680066, 0.023934, 1.340689, 0.547234, 1.533052)),
]


@pytest.mark.parametrize(("fpn", "expected"), GOLDEN)
def test_golden_losses(fpn, expected):
    model = tiny(fpn).eval()
    fixed_weights(model)
    with torch.no_grad():
        losses = model(pictures(), TWO)
    assert tuple(losses) == LOSSES == model.loss_names
    assert [losses[name].item() for name in LOSSES] == pytest.approx(expected, rel=1e-3, abs=2e-6)


@pytest.mark.parametrize("fpn", [True, False])
def test_no_objects_gives_finite_losses_and_gradients_everywhere(fpn):
    model = tiny(fpn)
    losses = model(pictures(), NOTHING)
    assert losses["loss_mask"] == 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_crowd_is_neither_learned_nor_background():
    model = tiny().eval()
    with torch.no_grad():
        losses = model(pictures(1), truth([[[10.0, 10.0, 60.0, 60.0]]], [[0]], crowd=True))
    assert losses["loss_mask"] == 0 and losses["loss_box"] == 0


def scenes(count: int) -> list[Sample]:
    settings = SceneSettings(
        image_size=(96, 128), objects=(1, 2), object_size=(32, 70), classes=("circle", "star", "cross")
    )
    found = []
    for i in range(count):
        picture = draw(settings, "train", i)
        objects = Truth(picture.boxes, picture.labels, np.zeros(len(picture.labels), bool), picture.masks)
        found.append(Sample(picture.image, objects, i, picture.image.shape[:2], seed=i))
    return found


def mask_iou(a: Tensor, b: Tensor) -> float:
    return ((a & b).sum() / (a | b).sum()).item()


@pytest.mark.parametrize(
    ("fpn", "rate", "steps", "wanted"),
    [(True, 2e-3, 80, 0.8), pytest.param(False, 1e-3, 60, 0.65, marks=pytest.mark.slow)],
)
def test_overfits_scenes(fpn, rate, steps, wanted):
    """From nothing to the outlines of circles, stars and crosses: the smallest overlap of a mask with its truth."""
    samples = scenes(2)
    batch, targets = collate(samples)
    model = tiny(fpn, **{} if fpn else {"regions": 16}).train()
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    for _ in range(steps):
        losses = model(batch, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    found = model.detect(batch, [sample.original_size for sample in samples])
    for sample, detections in zip(samples, found, strict=True):
        sure = detections.scores > 0.5
        for box, label, mask in zip(sample.truth.boxes, sample.truth.labels, sample.truth.masks, strict=True):
            best = int(iou(torch.from_numpy(box[None]), detections.boxes[sure])[0].argmax(dim=0))
            assert detections.labels[sure][best] == label
            assert mask_iou(detections.masks[sure][best], torch.from_numpy(mask)) > wanted


def test_masks_come_in_pixels_of_the_original():
    model = tiny(score_threshold=0.0, max_detections=20)
    with torch.no_grad():
        model.mask.mask_fcn_logits.bias.fill_(9.0)  # every pixel of a box
    image = np.zeros((300, 500, 3), np.uint8)
    image[100:200, 150:300] = 255
    (found,) = model.predict([image])
    assert found.masks.shape == (20, 300, 500) and found.masks.dtype == torch.bool
    for box, mask in zip(found.boxes, found.masks, strict=True):
        ys, xs = mask.nonzero().unbind(1)
        around = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert (around - box).abs().max() <= 2


def test_an_image_gives_the_same_masks_alone_and_in_a_batch():
    model = tiny(score_threshold=0.0, max_detections=10).eval()
    batch = pictures(2)
    both = model.detect(batch, [(96, 128)] * 2)
    for i in range(2):
        alone = Batch(*(getattr(batch, name)[i : i + 1] for name in ("pixels", "sizes", "ids", "seeds")))
        (one,) = model.detect(alone, [(96, 128)])
        assert (both[i].boxes - one.boxes).abs().max() < 1e-3
        assert (both[i].masks != one.masks).float().mean() < 1e-3


def test_no_detections_give_no_masks():
    (found,) = tiny(score_threshold=1.0).predict([np.zeros((40, 60, 3), np.uint8)])
    assert found.masks.shape == (0, 40, 60)


def test_the_backbone_says_what_the_mask_head_sees():
    assert not tiny().mask.after_tail
    c4 = tiny(fpn=False)
    assert c4.mask.after_tail and len(c4.mask.convs) == 0
    fully_connected = mask_rcnn(vgg11(), 3, **SMALL)
    assert not fully_connected.mask.after_tail and len(fully_connected.mask.convs) == 4
    assert not tiny(fpn=False, mask_input="windows").mask.after_tail
    with pytest.raises(ConfigError, match=r"mask_input=tail.*fully connected"):
        tiny(mask_input="tail")


def test_settings_out_of_their_range_are_named():
    for key, value in (("mask_window", 0), ("mask_layers", [0]), ("mask_input", "both"), ("regions", 0)):
        with pytest.raises(ConfigError, match=f"{key}="):
            tiny(**{key: value})
    with pytest.raises(ConfigError, match="norm"):
        tiny(mask_norm="layer")


def test_goes_with_a_cascade():
    model = tiny(cascade=(0.5, 0.6), class_agnostic=True)
    losses = model(pictures(), TWO)
    assert losses["loss_mask"] > 0 and set(model.loss_names) == set(losses)
    assert model.predict([np.zeros((40, 60, 3), np.uint8)])[0].masks is not None


def test_parameters_of_the_published_network():
    """torchvision's maskrcnn_resnet50_fpn: 44,401,393 of 91 slots; ours has no box and no mask of background."""
    from visionkit.backbones.resnet import resnet50

    model = mask_rcnn(build_fpn(resnet50), 90)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 44_401_393 - 4 * (1024 + 1) - (256 + 1)
