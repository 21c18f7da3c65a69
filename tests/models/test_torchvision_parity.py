"""The detector against torchvision's Faster R-CNN R50-FPN: same weights, so same detections, losses and gradients."""

import pytest
import torch

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import resnet50
from visionkit.models.build import faster_rcnn
from visionkit.models.import_torchvision import faster_rcnn_from_torchvision
from visionkit.models.sample import SALT
from visionkit.ops.hashing import random_keys
from visionkit.ops.sampling import sample_balanced
from visionkit.structures import Batch, Targets

HEIGHT, WIDTH, CLASSES = 160, 224, 7  # multiples of 32, so neither side pads


@pytest.fixture(scope="module")
def pair():
    """Both models with the same random weights, scaled so that activations stay small and scores differ."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    # What `fasterrcnn_resnet50_fpn(weights=...)` builds: frozen batch norm. Every layer trains here, to compare it.
    body = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
    theirs = FasterRCNN(body, CLASSES + 1, min_size=HEIGHT, max_size=WIDTH)
    with torch.no_grad():
        for name, buffer in theirs.named_buffers():
            if name.endswith("bn3.weight"):
                buffer.fill_(0.2)
        theirs.roi_heads.box_predictor.cls_score.weight.mul_(30)
        theirs.roi_heads.box_predictor.bbox_pred.weight.mul_(3)
        theirs.rpn.head.cls_logits.weight.mul_(30)
        theirs.rpn.head.bbox_pred.weight.mul_(10)
    theirs.eval()

    ours = faster_rcnn(build_fpn(resnet50, norm="frozen"), CLASSES, short=HEIGHT, long=WIDTH)
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    result = ours.load_state_dict(faster_rcnn_from_torchvision(state), strict=False)
    assert not result.unexpected_keys
    assert set(result.missing_keys) <= {"encode.normalize.mean", "encode.normalize.std"}
    # One layout for both, the one we train in: the order of summation is then the same too.
    return ours.eval().to(memory_format=torch.channels_last), theirs.to(memory_format=torch.channels_last)


def random_pixels(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 10, 14, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)
    return (pixels * 255).to(torch.uint8)


def batch_of(pixels: torch.Tensor) -> Batch:
    count = len(pixels)
    return Batch(pixels, torch.tensor([[HEIGHT, WIDTH]] * count), torch.arange(count), torch.arange(count) + 11)


def test_same_detections_on_twenty_images(pair):
    ours, theirs = pair
    found, worst = 0, [0.0, 0.0]
    for pixels in random_pixels(20, seed=1).split(2):
        mine = ours.detect(batch_of(pixels), [(HEIGHT, WIDTH)] * len(pixels))
        with torch.inference_mode():
            other = theirs(list(pixels.float() / 255))
        for a, b in zip(mine, other, strict=True):
            assert len(a.boxes) == len(b["boxes"])
            assert torch.equal(a.labels, b["labels"] - 1)
            assert (a.boxes - b["boxes"]).abs().max() < 1e-3
            assert (a.scores - b["scores"]).abs().max() < 1e-5
            found += len(a.boxes)
            worst[0] = max(worst[0], float((a.boxes - b["boxes"]).abs().max()))
            worst[1] = max(worst[1], float((a.scores - b["scores"]).abs().max()))
    print(f"{found} detections: boxes within {worst[0]:.1e} px, scores within {worst[1]:.1e}")  # shown by -s
    assert found > 200  # the test must have something to compare


class _Sampler:
    """Stands in for torchvision's random sampler: draws what ours draws."""

    def __init__(self, seeds, size, fraction, truths=None):
        self.seeds, self.size, self.fraction, self.truths = seeds, size, fraction, truths

    def __call__(self, labels):
        longest = max(len(x) for x in labels)
        positives, negatives = [], []
        if self.truths:  # proposals are padded before the truth joins them
            longest = max(len(x) - g for x, g in zip(labels, self.truths, strict=True)) + max(self.truths)
        for i, label in enumerate(labels):
            keys = random_keys(self.seeds[i : i + 1], longest)
            if self.truths:
                count, pad = len(label) - self.truths[i], longest - max(self.truths)
                keys = torch.cat([keys[:, :count], keys[:, pad : pad + self.truths[i]]], dim=1)
            kind = torch.where(label >= 1, 1, torch.where(label == 0, 0, -1)).to(torch.int8)[None]
            chosen = sample_balanced(kind, keys[:, : len(label)], self.size, self.fraction)
            real = chosen.weights[0] > 0
            for masks, wanted in ((positives, chosen.positive[0]), (negatives, ~chosen.positive[0])):
                mask = torch.zeros(len(label), dtype=torch.bool)
                mask[chosen.index[0][real & wanted]] = True
                masks.append(mask)
        return positives, negatives


@pytest.mark.parametrize("counts", [(3, 2), (2, 0)])
def test_same_losses_and_gradients(pair, counts):
    ours, theirs = pair
    pixels = random_pixels(2, seed=3)
    generator = torch.Generator().manual_seed(4)
    corner = torch.rand(2, 3, 2, generator=generator) * torch.tensor([WIDTH * 0.6, HEIGHT * 0.6])
    boxes = torch.cat([corner, corner + 20 + torch.rand(2, 3, 2, generator=generator) * 60], dim=2)
    labels = torch.randint(0, CLASSES, (2, 3), generator=generator)
    valid = torch.arange(3)[None] < torch.tensor(counts)[:, None]
    batch = batch_of(pixels)
    targets = Targets(boxes * valid[..., None], labels * valid, valid, torch.zeros_like(valid))

    ours.zero_grad()
    mine = ours(batch, targets)
    sum(mine.values()).backward()

    theirs.zero_grad()
    theirs.rpn.fg_bg_sampler = _Sampler(batch.seeds, 256, 0.5)
    theirs.roi_heads.fg_bg_sampler = _Sampler(batch.seeds + SALT, 512, 0.25, list(counts))
    theirs.train()
    truth = [{"boxes": b[v], "labels": lab[v] + 1} for b, lab, v in zip(boxes, labels, valid, strict=True)]
    other = theirs(list(pixels.float() / 255), truth)
    sum(other.values()).backward()
    theirs.eval()

    names = {
        "loss_objectness": "loss_objectness",
        "loss_proposal": "loss_rpn_box_reg",
        "loss_class": "loss_classifier",
        "loss_box": "loss_box_reg",
    }
    assert set(mine) == set(names)
    for name, theirs_name in names.items():
        assert torch.isclose(mine[name], other[theirs_name], rtol=1e-4, atol=1e-7), name

    grads = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    compared, worst = 0, 0.0
    for name, parameter in theirs.named_parameters():
        (key, value), *_ = faster_rcnn_from_torchvision({name: parameter.grad}).items()
        error = (grads[key] - value).norm() / value.norm().clamp(min=1e-12)
        assert error < 1e-4, (name, float(error))
        compared, worst = compared + 1, max(worst, float(error))
    off = max(((mine[n] - other[t]).abs() / other[t].abs().clamp(min=1e-9)).item() for n, t in names.items())
    print(f"losses within {off:.1e}, gradients of {compared} tensors within {worst:.1e}")  # shown by -s
    assert compared == len(grads) > 60
