"""The patch-wise segmenter: naive equals shared, which patches it learns from, golden loss, overfitting, any size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pixel_pictures import fixed_weights, overfitted, painted, small_vgg, truth

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.lenet import lenet
from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.models.build_patches import patches
from visionkit.models.patch_segmenter import PatchSegmenter
from visionkit.ops.resize import TestResize

SIZES = [(48, 64), (41, 50)]


def small(norm: str = "none", padded: bool = True, **settings) -> PatchSegmenter:
    return patches(small_vgg(norm, padded), 3, **{"patches": 16} | settings)


@torch.no_grad()
def both(build, images, step) -> tuple[torch.Tensor, torch.Tensor]:
    """The class scores of the grid, patch by patch and with shared features, of networks with the same weights."""
    naive, shared = (build(step=step, sharing=sharing).eval() for sharing in (False, True))
    fixed_weights(naive)
    shared.load_state_dict(naive.state_dict())
    found = [model.grid_scores(images) for model in (naive, shared)]
    assert found[0].shape == found[1].shape and found[0].std() > 1e-2
    return found[0], found[1]


@pytest.mark.parametrize("step", [32, 16, 8])
@pytest.mark.parametrize("size", [(50, 70), (7, 90)])
def test_shared_equals_naive_without_padding(step, size):
    naive, shared = both(lambda **k: small(padded=False, **k), torch.randn(2, 3, *size), step)
    assert naive.shape == (2, 3, -(-size[0] // step), -(-size[1] // step))
    torch.testing.assert_close(shared, naive, atol=1e-4, rtol=0)


@pytest.mark.parametrize("step", [4, 2, 1])
def test_shared_equals_naive_of_lenet(step):
    """Whose convolutions are unpadded in the paper already."""
    naive, shared = both(lambda **k: patches(lenet(), 3, **k), torch.randn(1, 1, 19, 23), step)
    torch.testing.assert_close(shared, naive, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_padded_network_sees_the_border_of_its_patch():
    """The two differ then; with as much picture around each patch as its cells see, naive is shared again."""
    images = torch.randn(1, 3, 120, 140)
    naive, shared = both(small, images, 16)
    assert (naive - shared).abs().max() > 1e-2
    model = small(step=16)
    fixed_weights(model)
    before = 16 - 8 + 32  # half a patch, to the middle of the first block, and the margin
    padded = F.pad(images, (before, 96, before, 96))
    for i, j in ((2, 2), (5, 6), (3, 4)):  # whose margins lie inside of what is shared
        window = padded[:, :, 16 * i : 16 * i + 96, 16 * j : 16 * j + 96]
        region_map = model.backbone(window, ("c5",))["c5"][:, :, 2:4, 2:4]  # a cell of it sees 31 pixels beyond its own
        score = model.head(model.backbone.tail_maps(model.backbone.pool(region_map)))
        torch.testing.assert_close(score, shared[:, :, i, j], atol=1e-4, rtol=0)


@torch.no_grad()
def test_every_pixel_is_what_its_patch_shows():
    model = small(step=1).eval()
    fixed_weights(model)
    images = torch.randn(1, 3, 9, 11)
    scores = model.scores(images)
    padded = F.pad(images, (16, 16, 16, 16))
    for y, x in ((0, 0), (8, 10), (3, 7)):
        alone = model.class_scores(padded[:, :, y : y + 32, x : x + 32])
        torch.testing.assert_close(scores[:, :, y, x], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_coarse_grid_lies_in_the_middle_of_its_blocks_and_is_interpolated():
    images = torch.randn(1, 3, 32, 40)
    fine, coarse = small(step=1).eval(), small(step=8).eval()
    fixed_weights(fine)
    coarse.load_state_dict(fine.state_dict())
    grid = coarse.grid_scores(images)
    torch.testing.assert_close(grid, fine.grid_scores(images)[:, :, 4::8, 4::8], atol=1e-5, rtol=1e-4)
    expected = F.interpolate(grid, scale_factor=8, mode="bilinear", align_corners=False)
    torch.testing.assert_close(coarse.scores(images), expected)


# Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
@pytest.mark.parametrize(("balanced", "expected"), [(False, 1.255253), (True, 1.476485)])
def test_golden_loss(balanced, expected):
    model = small(balanced=balanced)
    fixed_weights(model)
    losses = model(*painted(SIZES, (48, 64)))
    assert losses.keys() == {"loss_class"} == set(model.loss_names)
    assert losses["loss_class"].item() == pytest.approx(expected, rel=1e-3)


def test_the_loss_is_the_mean_over_patches_weighted_by_class():
    batch, targets = painted(SIZES, (48, 64))
    model = small(patches=48 * 64)  # all of them
    fixed_weights(model)
    model.class_weights.copy_(torch.tensor([0.5, 1.0, 2.0]))
    with torch.no_grad():
        loss = model(batch, targets)["loss_class"]
        model.step, images = 1, model.normalize(batch)
        scores = model.scores(images)
    expected = F.cross_entropy(scores, targets.semantic, model.class_weights, ignore_index=255)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_patches_are_a_function_of_the_seeds():
    batch, targets = painted(SIZES, (48, 64))
    model = small()
    fixed_weights(model)
    with torch.no_grad():
        found = [model.train(mode)(batch, targets)["loss_class"] for mode in (True, True, False)]
        other = model(replace(batch, seeds=batch.seeds + 1), targets)["loss_class"]
        swapped = [replace(batch, **{n: getattr(batch, n).flip(0) for n in ("pixels", "sizes", "ids", "seeds")})]
        swapped.append(truth(targets.semantic.flip(0)))
        assert model(*swapped)["loss_class"].item() == pytest.approx(found[0].item(), rel=1e-5)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2]) and not torch.equal(found[0], other)


@pytest.mark.parametrize("sharing", [False, True])
def test_overfits_two_pictures(sharing):
    batch, targets = painted(SIZES, (48, 64))
    torch.manual_seed(0)
    model = small("batch", patches=48, balanced=True, step=4, sharing=sharing)
    assert overfitted(model, batch, targets, 50) > (0.6 if sharing else 0.9), "it knows the border of its patches"
    assert model.training, "in the mode that it was in"


def test_nothing_labelled_is_a_loss_of_zero_with_gradients_everywhere():
    batch, targets = painted(SIZES, (48, 64))
    model = small("batch")
    loss = model(batch, truth(torch.full_like(targets.semantic, 255)))["loss_class"]
    loss.backward()
    assert loss.item() == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and (parameter.grad == 0).all(), name
    with pytest.raises(ValueError, match="Targets.semantic"):
        model(batch, replace(targets, semantic=None))


@pytest.mark.parametrize("sharing", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (9, 50), (61, 43), (33, 2)])
def test_pictures_of_any_size(size, sharing):
    model = small(step=16, sharing=sharing)
    fixed_weights(model)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = model.predict([image])[0]
    assert found.labels.shape == found.scores.shape == size and found.labels.max() < 3
    assert ((found.scores >= 1 / 3 - 1e-6) & (found.scores <= 1)).all()


@pytest.mark.parametrize("sharing", [False, True])
def test_an_image_gives_the_same_alone_and_in_a_batch(sharing):
    model = small(step=16, sharing=sharing, short=40, long=60)
    assert model.resize == TestResize(40, 60, multiple=1)
    fixed_weights(model)
    batch, _ = painted(SIZES, (48, 64))
    originals = [(48, 64), (82, 100)]
    within = model.probabilities(batch, originals)
    with torch.no_grad():
        assert model.logits(batch).shape == (2, 3, 48, 64)
    assert [tuple(one.shape) for one in within] == [(3, 48, 64), (3, 82, 100)]
    torch.testing.assert_close(within[1].sum(dim=0), torch.ones(82, 100))
    pixels = batch.pixels[1:, :, :41, :50].contiguous()
    alone = replace(batch, pixels=pixels, sizes=batch.sizes[1:], ids=batch.ids[1:], seeds=batch.seeds[1:])
    torch.testing.assert_close(model.probabilities(alone, originals[1:])[0], within[1], atol=1e-5, rtol=0)


def test_what_has_outputs_for_each_class_is_named():
    shapes = [{key: value.shape for key, value in patches(small_vgg(), k).state_dict().items()} for k in (3, 4)]
    changed = {key for key in shapes[0] if shapes[0][key] != shapes[1][key]}
    named = {key for key in shapes[0] if key.split(".")[0] in PatchSegmenter.class_layers}
    assert changed == named == {"head.linear.weight", "head.linear.bias", "class_weights"}


@pytest.mark.parametrize("sharing", [False, True])
def test_scores_are_computed_where_the_picture_is(sharing):
    model = small(step=16, sharing=sharing).eval().to("meta")
    assert model.scores(torch.zeros(1, 3, 40, 50, device="meta")).shape == (1, 3, 40, 50)


def test_chunks_make_no_difference():
    images = torch.randn(1, 3, 40, 40)
    found = []
    for chunk in (1, 7, 1000):
        model = small(step=8, chunk=chunk).eval()
        fixed_weights(model)
        with torch.no_grad():
            found.append(model.grid_scores(images))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0], found[2], atol=1e-5, rtol=1e-4)


def test_settings_are_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="no tail for whole pictures"):
        patches(build_fpn(basic_resnet, names=["c3", "c4", "c5"], channels=8, hidden=8, extra=None), 3)
    with pytest.raises(ConfigError, match="step=0: step has to be a whole number"):
        small(step=0)
    with pytest.raises(ConfigError, match="step=33 leaves pixels out between patches of 32"):
        small(step=33)
    with pytest.raises(ConfigError, match="patch=16: the network takes patches of at least 32"):
        small(patch=16)
    with pytest.raises(ConfigError, match="sharing=1"):
        small(sharing=1)
    with pytest.raises(ConfigError, match="step=3: with task.sharing=true it is 32, or a number that divides 16"):
        small(step=3, sharing=True)
    with pytest.raises(ConfigError, match="task.patch=32 or null"):
        small(patch=40, sharing=True)
    with pytest.raises(ConfigError, match="the tail of ResNet sees the border"):
        patches(basic_resnet((8, 8, 16, 16)), 3, sharing=True)
    assert patches(basic_resnet((8, 8, 16, 16)), 3, patch=40).patch == 40
