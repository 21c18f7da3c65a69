"""FCN and its dilated kin: the same numbers as torchvision's, any size of picture, losses that hold without labels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visionkit.backbones.alexnet import alexnet
from visionkit.backbones.resnet import resnet18, resnet50
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError
from visionkit.models.build_segmenter import dilated_fcn, fcn
from visionkit.models.import_segmenter import segmenter_from_torchvision
from visionkit.models.segmenter import Segmenter
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize
from visionkit.structures import Batch, Targets


def batch_of_noise(count: int, height: int, width: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    none = torch.zeros(count, dtype=torch.int64)
    return Batch(pixels, torch.tensor([[height, width]] * count), none, none)


def targets_of(semantic: torch.Tensor) -> Targets:
    count = len(semantic)
    return Targets(
        torch.zeros(count, 1, 4),
        torch.zeros(count, 1, dtype=torch.int64),
        torch.zeros(count, 1, dtype=torch.bool),
        torch.zeros(count, 1, dtype=torch.bool),
        semantic=semantic,
    )


def stripes(count: int, height: int, width: int, classes: int) -> torch.Tensor:
    rows = torch.arange(height) * classes // height
    return rows[None, :, None].repeat(count, 1, width)


def narrow(stride: int = 8, classes: int = 4) -> Segmenter:
    torch.manual_seed(0)
    return fcn(vgg11_bn_narrow(dropout=0.0), classes, stride=stride)


@pytest.mark.parametrize("aux", [True, False])
def test_torchvisions_weights_load_strictly_and_give_the_same_numbers(aux):
    """Logits, loss and gradients, for a picture of odd sides."""
    from torchvision.models.segmentation import fcn_resnet50

    torch.manual_seed(0)
    theirs = fcn_resnet50(weights=None, weights_backbone=None, aux_loss=aux, num_classes=21)
    imported = segmenter_from_torchvision(theirs.state_dict())
    assert (imported.task, imported.backbone, imported.num_classes) == ("dilated_fcn", "resnet50", 21)
    assert imported.settings["backbone.output_stride"] == 8
    ours = dilated_fcn(resnet50(output_stride=8), 21, aux_weight=0.5 if aux else 0)
    own = {"class_weights", "normalize.mean", "normalize.std"}
    assert set(ours.state_dict()) - own == set(imported.weights)
    ours.load_state_dict({**imported.weights, **{key: ours.state_dict()[key] for key in own}})
    ours.eval(), theirs.eval()  # of batch norm the running statistics; dropout off
    batch = batch_of_noise(1, 49, 70)
    semantic = torch.randint(0, 21, (1, 49, 70), generator=torch.Generator().manual_seed(1))
    semantic[0, :5] = 255
    expected = theirs(ours.normalize(batch))
    torch.testing.assert_close(ours.logits(batch), expected["out"], rtol=0, atol=1e-4)
    losses = ours(batch, targets_of(semantic))
    wanted = F.cross_entropy(expected["out"], semantic, ignore_index=255)
    if aux:
        wanted = wanted + 0.5 * F.cross_entropy(expected["aux"], semantic, ignore_index=255)
    assert set(losses) == set(ours.loss_names) == ({"loss_class", "loss_aux"} if aux else {"loss_class"})
    total = sum(losses.values())
    assert total.item() == pytest.approx(wanted.item(), abs=1e-5)
    total.backward(), wanted.backward()
    gradients = {key: parameter.grad for key, parameter in ours.named_parameters()}
    renamed = segmenter_from_torchvision(
        {k: p.grad for k, p in theirs.named_parameters()}
    ).weights  # the gradients under our names
    assert set(renamed) == set(gradients)
    for key, gradient in renamed.items():
        scale = gradient.abs().max().clamp(min=1e-12)
        assert float((gradients[key] - gradient).abs().max() / scale) < 1e-3, key


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 40), (33, 65), (96, 96), (130, 97)])
def test_pictures_of_any_size(height, width):
    """Odd sides, and sides below the stride; the answer has the size of the picture."""
    model = narrow()
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    (found,) = model.predict([image])
    assert found.labels.shape == found.scores.shape == (height, width)
    assert found.labels.dtype == torch.int64 and bool(found.scores.isfinite().all())


def test_the_answer_has_the_size_of_the_original():
    torch.manual_seed(0)
    model = fcn(vgg11_bn_narrow(), 3, short=64, long=200)
    assert model.resize == TestResize(64, 200, multiple=1)
    assert model.predict([np.zeros((33, 51, 3), np.uint8)])[0].labels.shape == (33, 51)
    assert narrow().resize == KeepSize()


def test_golden_loss():
    model = narrow().eval()
    for i, score in enumerate(model.decoder.scores):
        torch.nn.init.normal_(score.weight, std=0.05, generator=torch.Generator().manual_seed(i))
    losses = model(batch_of_noise(2, 64, 96), targets_of(stripes(2, 64, 96, 4)))
    assert losses["loss_class"].item() == pytest.approx(GOLDEN, abs=2e-3)


GOLDEN = 5.99673


def test_an_untrained_network_knows_nothing():
    """Scores begin at zero: every class is as probable, whatever the skips show."""
    model = narrow().eval()
    losses = model(batch_of_noise(1, 64, 64), targets_of(stripes(1, 64, 64, 4)))
    assert float(losses["loss_class"]) == pytest.approx(np.log(4), abs=1e-6)


def test_without_a_label_the_loss_is_zero_and_has_gradients():
    model = narrow()
    losses = model(batch_of_noise(1, 64, 64), targets_of(torch.full((1, 64, 64), 255)))
    assert float(losses["loss_class"]) == 0
    losses["loss_class"].backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    assert model.decoder.scores[0].weight.grad is not None


def test_unlabelled_pixels_have_no_say():
    model = narrow().eval()
    semantic = stripes(1, 64, 64, 4)
    for score in model.decoder.scores:
        torch.nn.init.normal_(score.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    half = semantic.clone()
    half[:, :, 32:] = 255
    scores = model.logits(batch_of_noise(1, 64, 64))[:, :, :, :32]
    expected = F.cross_entropy(scores, semantic[:, :, :32])
    losses = model(batch_of_noise(1, 64, 64), targets_of(half))
    assert float(losses["loss_class"]) == pytest.approx(float(expected), abs=1e-6)


def test_class_weights_are_those_of_cross_entropy():
    model = narrow().eval()
    torch.nn.init.normal_(model.decoder.scores[0].weight, std=0.1, generator=torch.Generator().manual_seed(0))
    model.class_weights.copy_(torch.tensor([0.1, 1.0, 2.0, 5.0]))
    semantic = stripes(1, 64, 64, 4)
    expected = F.cross_entropy(model.logits(batch_of_noise(1, 64, 64)), semantic, model.class_weights)
    losses = model(batch_of_noise(1, 64, 64), targets_of(semantic))
    assert float(losses["loss_class"]) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_it_learns_a_few_pictures_by_heart(stride):
    torch.manual_seed(0)
    model = narrow(stride)
    semantic = torch.zeros(4, 64, 64, dtype=torch.int64)
    pixels = torch.full((4, 3, 64, 64), 40, dtype=torch.uint8)
    for i in range(4):
        semantic[i, 16 * i : 16 * i + 16, :32] = i
        color = torch.tensor([60 * i, 250 - 60 * i, 128], dtype=torch.uint8)
        pixels[i, :, 16 * i : 16 * i + 16, :32] = color[:, None, None]
    batch = Batch(pixels, torch.tensor([[64, 64]] * 4), torch.arange(4), torch.arange(4))
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for _ in range(40):
        loss = model(batch, targets_of(semantic))["loss_class"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (model.logits(batch).argmax(dim=1) == semantic).float().mean()
    assert float(right) > {32: 0.85, 16: 0.9, 8: 0.97}[stride]


def test_a_finer_network_begins_as_the_coarser_one():
    coarse, fine = narrow(32).eval(), narrow(8).eval()
    torch.nn.init.normal_(coarse.decoder.scores[0].weight, std=0.1, generator=torch.Generator().manual_seed(0))
    result = fine.load_state_dict(coarse.state_dict(), strict=False)
    assert not result.unexpected_keys and all("scores" in k or "doubling" in k for k in result.missing_keys)
    batch = batch_of_noise(1, 192, 192)
    # Bilinear twice and then bilinear is not quite bilinear at once: it differs by where the cells' centres are.
    wanted, found = coarse.logits(batch), fine.logits(batch)
    assert float((wanted - found).abs().mean()) < 0.1 * float(wanted.abs().mean())
    assert float((wanted - found)[:, :, 0, 0].abs().max()) < 1e-4, "no fading towards the corners"


def test_batches_do_not_mix_pictures():
    model = narrow().eval()
    torch.nn.init.normal_(model.decoder.scores[0].weight, std=0.1, generator=torch.Generator().manual_seed(0))
    batch = batch_of_noise(2, 64, 96)
    one = Batch(batch.pixels[:1], batch.sizes[:1], batch.ids[:1], batch.seeds[:1])
    torch.testing.assert_close(model.logits(batch)[:1], model.logits(one), rtol=0, atol=1e-4)


def test_prediction_is_that_of_the_batch_and_leaves_the_mode_alone():
    model = narrow().train()
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    (found,) = model.predict([image])
    assert model.training
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    none = torch.zeros(1, dtype=torch.int64)
    (other,) = model.segment(Batch(pixels, torch.tensor([[50, 70]]), none, none), [(50, 70)])
    assert torch.equal(found.labels, other.labels) and torch.equal(found.scores, other.scores)
    assert bool((found.scores >= 1 / 4 - 1e-6).all())


def test_padding_of_a_batch_is_not_scored():
    """A smaller picture on a larger canvas gives an answer of its own size."""
    model = narrow().eval()
    batch = batch_of_noise(1, 64, 96)
    smaller = Batch(batch.pixels, torch.tensor([[50, 70]]), batch.ids, batch.seeds)
    (scores,) = model.probabilities(smaller, [(50, 70)])
    assert scores.shape == (4, 50, 70)
    torch.testing.assert_close(scores.sum(dim=0), torch.ones(50, 70))


def test_networks_with_unpadded_layers():
    torch.manual_seed(0)
    model = fcn(alexnet(), 3, stride=8)
    assert model.predict([np.zeros((70, 90, 3), np.uint8)])[0].labels.shape == (70, 90)


def test_dilated_maps_are_as_fine_as_asked():
    model = dilated_fcn(resnet18(output_stride=8), 5)
    assert model.decoder.head[0].in_channels == 512 and list(model.aux) == ["c4"]
    maps = model.backbone(torch.zeros(1, 3, 64, 64), ("c4", "c5"))
    assert {name: found.shape[-1] for name, found in maps.items()} == {"c4": 8, "c5": 8}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stride": 12}, "not got by halving"),
        ({"stride": 64}, "not got by halving"),
        ({"skips": ["pool9"]}, "no stage 'pool9'"),
        ({"skips": ["pool4"]}, "end at a stride of 16, and task.stride=8"),
        ({"long": 100}, "task.long=100"),
        ({"skips": ["pool3"]}, "has a stride of 8, and here 16 is wanted"),
        ({"deepest": "c9"}, "no stage 'c9'"),
        ({"short": 0}, "short=0"),
        ({"skip_scale": 0}, "skip_scale=0"),
    ],
)
def test_settings_that_do_not_fit(settings, words):
    with pytest.raises(ConfigError, match=words):
        fcn(vgg11_bn_narrow(), 4, **settings)


def test_what_a_network_does_not_need_is_dropped():
    """A parameter that takes no part in the loss stops data parallel training."""
    model = fcn(vgg11_bn_narrow(), 4, stride=8, deepest="pool5")
    losses = model(batch_of_noise(1, 64, 64), targets_of(stripes(1, 64, 64, 4)))
    losses["loss_class"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_dilated_fcn_wants_a_dilated_network():
    with pytest.raises(ConfigError, match="output_stride=8"):
        dilated_fcn(resnet18(), 4)


@pytest.mark.parametrize("size", [(1, 1), (3, 70)])
def test_a_single_tiny_picture_can_be_learnt_from(size):
    """A batch norm needs more than one cell."""
    torch.manual_seed(0)
    model = fcn(resnet18(), 3).train()
    model(batch_of_noise(1, *size), targets_of(torch.zeros(1, *size, dtype=torch.int64)))["loss_class"].backward()


def test_a_pyramid_has_no_tail_for_pictures():
    from visionkit.backbones.fpn import build_fpn

    with pytest.raises(ConfigError, match="choose the network inside of it"):
        fcn(build_fpn(resnet18), 4)


def test_a_segmenter_needs_label_maps():
    with pytest.raises(ValueError, match="semantic"):
        narrow()(batch_of_noise(1, 64, 64), _without())


def _without() -> Targets:
    return Targets(
        torch.zeros(1, 1, 4),
        torch.zeros(1, 1, dtype=torch.int64),
        torch.zeros(1, 1, dtype=torch.bool),
        torch.zeros(1, 1, dtype=torch.bool),
    )
