"""The detectors against torchvision's, both versions of Faster and Mask R-CNN: same weights, so same detections, masks,
losses and gradients."""

import pytest
import torch

from tests.models.torchvision_pairs import (
    FEW,
    FULL,
    HEIGHT,
    LOSSES,
    WIDTH,
    batch_of,
    pair,
    random_pixels,
    random_targets,
    torchvision_losses,
)
from visionkit.models.import_torchvision import weights_from_torchvision

NAMES = [
    pytest.param(("fasterrcnn_resnet50_fpn", FULL, 20), id="faster"),
    pytest.param(("fasterrcnn_resnet50_fpn_v2", FEW, 2), id="faster_v2"),
    pytest.param(("maskrcnn_resnet50_fpn", FEW, 2), id="mask"),
    pytest.param(("maskrcnn_resnet50_fpn_v2", FEW, 2), id="mask_v2", marks=pytest.mark.parity),
]


@pytest.fixture(scope="module", params=NAMES)
def models(request):
    name, number, count = request.param
    return pair(name, number), count


def same_order(ours, theirs):
    """For each of our detections, theirs: two whose scores differ by a rounding may have changed places."""
    apart = (ours.boxes[:, None] - theirs["boxes"]).abs().amax(dim=2) + (ours.scores[:, None] - theirs["scores"]).abs()
    nearest = (apart + 1e3 * (ours.labels[:, None] != theirs["labels"] - 1)).argmin(dim=1)
    assert len(nearest.unique()) == len(nearest)
    return nearest


def test_same_detections(models):
    (ours, theirs, _), count = models
    found, pixels_differ, worst = 0, 0.0, [0.0, 0.0]
    for pixels in random_pixels(count, seed=1).split(2):
        mine = ours.detect(batch_of(pixels), [(HEIGHT, WIDTH)] * len(pixels))
        with torch.inference_mode():
            other = theirs(list(pixels.float() / 255))
        for a, b in zip(mine, other, strict=True):
            assert len(a.boxes) == len(b["boxes"])
            b = {key: value[same_order(a, b)] for key, value in b.items()}
            assert torch.equal(a.labels, b["labels"] - 1)
            assert (a.boxes - b["boxes"]).abs().max() < 1e-3
            assert (a.scores - b["scores"]).abs().max() < 1e-5
            found += len(a.boxes)
            worst[0] = max(worst[0], float((a.boxes - b["boxes"]).abs().max()))
            worst[1] = max(worst[1], float((a.scores - b["scores"]).abs().max()))
            assert (a.masks is None) == ("masks" not in b)
            if a.masks is not None:
                # A box edge within rounding of a whole pixel may shift a mask by one; anything else is a mistake.
                differ = (a.masks != (b["masks"][:, 0] > 0.5)).float().mean()
                assert differ < 1e-4 and 0.01 < a.masks.float().mean() < 0.99
                pixels_differ = max(pixels_differ, float(differ))
    print(f"{found} detections: boxes within {worst[0]:.1e} px, scores within {worst[1]:.1e}, ", end="")  # shown by -s
    print(f"{pixels_differ:.1e} of a mask's pixels differ")
    assert found > 10 * count  # the test must have something to compare


@pytest.mark.parametrize("counts", [(3, 2), (2, 0)])
def test_same_losses_and_gradients(models, counts):
    both, _ = models
    ours, theirs, _ = both
    pixels, targets = random_pixels(2, seed=3), random_targets(counts)
    batch = batch_of(pixels)

    ours.zero_grad()
    mine = ours(batch, targets)
    sum(mine.values()).backward()
    theirs.zero_grad()
    other = torchvision_losses(both, pixels, batch, targets)
    sum(other.values()).backward()

    names = {ours_name: name for ours_name, name in LOSSES.items() if name in other}
    assert set(mine) == set(names) and set(names.values()) == set(other)
    for name, theirs_name in names.items():
        assert torch.isclose(mine[name], other[theirs_name], rtol=1e-4, atol=1e-7), name

    grads = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    compared, worst = 0, 0.0
    for name, parameter in theirs.named_parameters():
        if parameter.grad is None:
            continue
        (key, value), *_ = weights_from_torchvision({name: parameter.grad}).items()
        error = (grads[key] - value).norm() / value.norm().clamp(min=1e-6)
        # One of a mask head's 100,000 activations may lie at a ReLU's corner, and fall to different sides of it.
        assert error < (1e-4 if ours.mask is None else 2e-3), (name, float(error))
        compared, worst = compared + 1, max(worst, float(error))
    off = max(((mine[n] - other[t]).abs() / other[t].abs().clamp(min=1e-9)).item() for n, t in names.items())
    print(f"losses within {off:.1e}, gradients of {compared} tensors within {worst:.1e}")  # shown by -s
    assert compared == len(grads) > 60
