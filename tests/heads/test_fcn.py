"""The heads of fully convolutional networks."""

import torch
from torch import nn

from visionkit.heads.fcn import DilatedFCNHead, FCNHead, PlainFCNHead
from visionkit.ops.upsample import resize_maps


def maps(generator_seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(generator_seed)
    sides = {"tail": (6, 2, 3), "c4": (5, 4, 6), "c3": (4, 8, 12)}
    return {name: torch.randn(2, *shape, generator=generator) for name, shape in sides.items()}


def test_skips_by_hand():
    """Double, add, double, add, resize: fig. 3 of the paper."""
    torch.manual_seed(0)
    head = FCNHead(6, {"c4": 5, "c3": 4}, 3)
    for score in head.scores:
        nn.init.normal_(score.weight)
    found = maps()
    first, second, third = (
        torch.einsum("kc,bchw->bkhw", score.weight[:, :, 0, 0], found[name])
        for score, name in zip(head.scores, ("tail", "c4", "c3"), strict=True)
    )
    expected = head.doubling[1](head.doubling[0](first) + second) + third
    torch.testing.assert_close(head(found, (64, 96)), resize_maps(expected, (64, 96)), rtol=1e-5, atol=1e-5)


def test_finer_maps_can_be_held_back():
    """The first skip by the factor, the second by its square."""
    torch.manual_seed(0)
    plain, held = FCNHead(6, {"c4": 5, "c3": 4}, 3), FCNHead(6, {"c4": 5, "c3": 4}, 3, scale=0.1)
    for score in plain.scores:
        nn.init.normal_(score.weight)
    held.load_state_dict(plain.state_dict())
    found = maps()
    expected = plain({"tail": found["tail"], "c4": 0.1 * found["c4"], "c3": 0.01 * found["c3"]}, (64, 96))
    torch.testing.assert_close(held(found, (64, 96)), expected)


def test_scores_begin_at_zero_and_doubling_is_bilinear():
    head = FCNHead(6, {"c4": 5}, 3)
    assert head(maps(), (64, 96)).abs().max().item() == 0
    x = torch.randn(1, 3, 5, 5)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(head.doubling[0](x)[inside], resize_maps(x, (10, 10))[inside])


def test_every_skip_learns_from_the_start():
    head = FCNHead(6, {"c4": 5, "c3": 4}, 3)
    head(maps(), (64, 96)).square().sub(head(maps(), (64, 96))).sum().backward()
    assert all(float(score.weight.grad.abs().max()) > 0 for score in head.scores)


def test_keys_of_a_coarser_head_are_among_those_of_a_finer():
    coarse, fine = FCNHead(6, {}, 3), FCNHead(6, {"c4": 5, "c3": 4}, 3)
    assert set(coarse.state_dict()) < set(fine.state_dict())


def test_the_plain_head_is_torchvisions():
    from torchvision.models.segmentation.fcn import FCNHead as Theirs

    torch.manual_seed(0)
    theirs, ours = Theirs(8, 3).eval(), PlainFCNHead(8, 3).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 5, 7)
    assert torch.equal(ours(x), theirs(x))


def test_the_dilated_head_resizes_to_the_picture():
    head = DilatedFCNHead("tail", 6, 3).eval()
    assert head({"tail": torch.randn(2, 6, 5, 5)}, (37, 41)).shape == (2, 3, 37, 41)
    assert head.class_layers == ("head.4",) and head.head[4].out_channels == 3
