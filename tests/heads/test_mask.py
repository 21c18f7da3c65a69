"""The mask head beside torchvision's: the same start, losses, gradients and masks from the same weights."""

import pytest
import torch
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_inference, maskrcnn_loss

from visionkit.backbones.norms import norm_layer
from visionkit.heads.mask import MaskHead
from visionkit.structures import Regions, Targets

K = 3
SIZES = torch.tensor([[90, 128], [96, 111]])


def regions_and_truth(count: int = 12) -> tuple[Regions, Targets]:
    random = torch.Generator().manual_seed(1)
    masks = torch.rand(2, 4, 96, 128, generator=random) > 0.6
    for image, (height, width) in enumerate(SIZES.tolist()):
        masks[image, :, height:] = masks[image, :, :, width:] = False
    labels = torch.randint(0, K, (2, 4), generator=random)
    flags = torch.zeros(2, 4, dtype=torch.bool)
    image_index = torch.randint(0, 2, (count,), generator=random).sort().values
    corners = torch.rand(count, 2, 2, generator=random) * SIZES[image_index].flip(1)[:, None]
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    matched = torch.randint(0, 4, (count,), generator=random)
    some = Regions(boxes, image_index, labels[image_index, matched], boxes, matched, torch.ones(count))
    return some, Targets(torch.zeros(2, 4, 4), labels, ~flags, flags, masks)


def pair(norm: str = "none", classes: int = K) -> tuple[MaskHead, torch.nn.Sequential]:
    """Ours and torchvision's, its weights in both; background is its first class and has no place in ours."""
    layer = None if norm == "none" else norm_layer(norm)
    theirs = torch.nn.Sequential(
        MaskRCNNHeads(8, (16, 12), 1, norm_layer=layer), MaskRCNNPredictor(12, 16, classes + 1)
    )
    ours = MaskHead(8, classes, layers=(16, 12), hidden=16, norm=norm_layer(norm))
    state = {}
    for key, value in theirs.state_dict().items():
        name = f"convs.{key[2:]}" if key.startswith("0.") else key[2:]
        state[name] = value[1:].clone() if "mask_fcn_logits" in name else value.clone()
    ours.load_state_dict(state)
    return ours, theirs


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_loss_and_gradients_equal_torchvisions(norm):
    ours, theirs = pair(norm)
    some, targets = regions_and_truth()
    windows = torch.randn(len(some.boxes), 8, 14, 14)
    a, b = windows.clone().requires_grad_(), windows.clone().requires_grad_()
    found = ours.losses(a, some, targets, SIZES)["loss_mask"]
    rows = [some.image_index == image for image in range(2)]
    expected = maskrcnn_loss(
        theirs(b),
        [some.boxes[r] for r in rows],
        [targets.masks[i, :, :height, :width].to(torch.uint8) for i, (height, width) in enumerate(SIZES.tolist())],
        [targets.labels[i] + 1 for i in range(2)],
        [some.matched_index[r] for r in rows],
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    expected.backward()
    assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-4 * b.grad.abs().max().item())
    mine, other = ours.convs[0][0].weight.grad, theirs[0][0][0].weight.grad
    assert torch.allclose(mine, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


def test_masks_equal_torchvisions():
    ours, theirs = pair()
    windows, labels = torch.randn(7, 8, 14, 14), torch.arange(7) % K
    with torch.no_grad():
        expected = maskrcnn_inference(theirs(windows), [labels + 1])[0][:, 0]
        assert torch.allclose(ours.masks(windows, labels), expected, atol=1e-6)


def test_starts_as_torchvisions_does():
    torch.manual_seed(0)
    ours = MaskHead(64, K, layers=(64,) * 2, hidden=64)
    theirs = torch.nn.Sequential(MaskRCNNHeads(64, (64,) * 2, 1), MaskRCNNPredictor(64, 64, K))
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.shape == other.shape
        if mine.numel() > 3:  # of three numbers the spread says little
            assert mine.std().item() == pytest.approx(other.std().item(), rel=0.25), name


def test_only_the_mask_of_the_true_class_learns():
    head, (some, targets) = MaskHead(8, K, layers=(), hidden=8), regions_and_truth()
    one = Regions(some.boxes, some.image_index, torch.full_like(some.labels, 1), some.matched, some.matched_index,
                  some.weights)  # fmt: skip
    head.losses(torch.randn(len(some.boxes), 8, 14, 14), one, targets, SIZES)["loss_mask"].backward()
    moved = head.mask_fcn_logits.weight.grad.flatten(1).abs().sum(dim=1)  # (K,)
    assert moved[1] > 0 and moved[0] == 0 and moved[2] == 0


@pytest.mark.parametrize("norm", ["none", "batch", "group", "frozen"])
def test_no_foreground_gives_zero_and_a_gradient_everywhere(norm):
    head, (some, targets) = MaskHead(8, K, layers=(16,), hidden=16, norm=norm_layer(norm)), regions_and_truth(0)
    windows = torch.zeros(0, 8, 14, 14, requires_grad=True)
    loss = head.losses(windows, some, targets, SIZES)["loss_mask"]
    assert loss == 0
    loss.backward()
    assert all(parameter.grad is not None and (parameter.grad == 0).all() for parameter in head.parameters())
    assert windows.grad is not None and all(buffer.isfinite().all() for buffer in head.buffers())
    assert head.masks(torch.zeros(0, 8, 14, 14), some.labels).shape == (0, 28, 28)


def test_targets_without_masks_are_refused():
    head, (some, targets) = MaskHead(8, K, layers=()), regions_and_truth()
    bare = Targets(targets.boxes, targets.labels, targets.valid, targets.crowd)
    with pytest.raises(ValueError, match=r"Targets\.masks"):
        head.losses(torch.zeros(12, 8, 14, 14), some, bare, SIZES)


def test_after_the_tail_seven_cells_become_fourteen():
    head = MaskHead(32, K, window=7, layers=(), hidden=8, after_tail=True)
    assert head(torch.zeros(2, 32, 7, 7)).shape == (2, K, 14, 14)
    assert not [name for name, _ in head.named_parameters() if name.startswith("convs")]
