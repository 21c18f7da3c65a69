"""Learned upsampling: bilinear kernels, the transposed convolution as it is drawn, resizing of maps."""

import pytest
import torch
import torch.nn.functional as F

from visionkit.ops.upsample import (
    BilinearUpsampling,
    bilinear_kernel,
    repeat_border,
    resize_maps,
    stamp_counts,
    transposed_convolution,
)

FACTORS = (2, 3, 4, 8)


def test_kernels_by_hand():
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(bilinear_kernel(2), line[:, None] * line)
    line = torch.tensor([1.0, 2, 3, 2, 1]) / 3
    torch.testing.assert_close(bilinear_kernel(3), line[:, None] * line)
    assert torch.equal(bilinear_kernel(1), torch.ones(1, 1))
    with pytest.raises(ValueError, match="at least 1"):
        bilinear_kernel(0)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_constant_stays_constant(factor):
    """The stamps that meet in one pixel weigh 1 together."""
    kernel = bilinear_kernel(factor)
    assert kernel.dtype == torch.float32 and torch.equal(kernel, kernel.T)
    side = -(-len(kernel) // factor) * factor
    padded = F.pad(kernel, (0, side - len(kernel), 0, side - len(kernel)))
    phases = padded.reshape(side // factor, factor, side // factor, factor).sum(dim=(0, 2))
    torch.testing.assert_close(phases, torch.ones(factor, factor))


@pytest.mark.parametrize("factor", (1, *FACTORS))
def test_begins_as_bilinear_interpolation(factor):
    maps, layer = torch.randn(2, 3, 5, 6), BilinearUpsampling(3, factor)
    found, expected = layer(maps), resize_maps(maps, (5 * factor, 6 * factor))
    assert found.shape == expected.shape and layer.bias is None
    torch.testing.assert_close(found, expected)  # to the corners


def test_is_learnt_with_a_weight_for_every_pair_of_channels():
    layer = BilinearUpsampling(2, 2)
    assert layer.weight.requires_grad and layer.weight.shape == (2, 2, 4, 4)
    assert (layer.weight[0, 1] == 0).all() and (layer.weight[1, 0] == 0).all()
    maps = torch.randn(1, 2, 4, 4)
    goal = F.conv_transpose2d(repeat_border(maps), torch.randn(2, 2, 4, 4), stride=2, padding=1)[:, :, 2:-2, 2:-2]
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    losses = []
    for _ in range(200):
        loss = F.mse_loss(layer(maps), goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
    assert layer.weight[0, 1].abs().max() > 0.1, "channels mix once it has learnt"


@pytest.mark.parametrize(
    ("stride", "padding", "kernel"),
    [(1, 0, 3), (1, 1, 3), (2, 1, 4), (2, 0, 2), (3, 1, 5), (4, 2, 8), (2, 0, 1), (1, 0, 7)],
)
def test_stamping_equals_torchs_transposed_convolution(stride, padding, kernel):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, kernel, kernel, dtype=torch.float64, requires_grad=True)
    found = transposed_convolution(x, weight, stride, padding)
    expected = F.conv_transpose2d(x, weight, stride=stride, padding=padding)
    torch.testing.assert_close(found, expected)
    goal = torch.randn_like(expected)
    ours = torch.autograd.grad((found * goal).sum(), (x, weight))
    theirs = torch.autograd.grad((expected * goal).sum(), (x, weight))
    torch.testing.assert_close(ours, theirs)


def test_stamps_by_hand_add_up_where_they_overlap():
    x, weight = torch.tensor([[[[2.0, 3.0]]]]), torch.tensor([[[[1.0, 10.0, 100.0]]]])
    assert transposed_convolution(x, weight, 2).flatten().tolist() == [2, 20, 203, 30, 300]
    assert transposed_convolution(x, weight, 1).flatten().tolist() == [2, 23, 230, 300]


@pytest.mark.parametrize("cells", [(1, 1), (2, 5), (9, 3)])
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_stamps_are_counted(cells, kernel):
    expected = F.conv_transpose2d(torch.ones(1, 1, *cells), torch.ones(1, 1, kernel, kernel))[0, 0]
    assert torch.equal(stamp_counts((expected.shape[0], expected.shape[1]), kernel), expected)


def test_is_the_gradient_of_a_convolution():
    """Which is why it is called transposed, and "backwards strided" by Long et al. (FCN, sec. 3.3)."""
    image = torch.randn(1, 2, 9, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    y = F.conv2d(image, weight, stride=2, padding=1)
    seed = torch.randn_like(y)
    (back,) = torch.autograd.grad((y * seed).sum(), image)
    torch.testing.assert_close(transposed_convolution(seed, weight, 2, 1), back)


def test_empty_batches():
    assert transposed_convolution(torch.zeros(0, 3, 4, 5), torch.zeros(3, 2, 3, 3), 2).shape == (0, 2, 9, 11)
    assert resize_maps(torch.zeros(0, 3, 4, 5), (8, 9)).shape == (0, 3, 8, 9)
    assert BilinearUpsampling(3, 2)(torch.zeros(0, 3, 4, 5)).shape == (0, 3, 8, 10)


@pytest.mark.parametrize(
    ("weight", "stride", "padding", "sentence"),
    [((2, 1, 3, 3), 1, 0, "1 channels"), ((1, 1, 3, 3), 0, 0, "stride"), ((1, 1, 3, 3), 1, -1, "padding"),
     ((1, 1, 3, 3), 1, 2, "leaves nothing")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(weight, stride, padding, sentence):
    with pytest.raises(ValueError, match=sentence):
        transposed_convolution(torch.zeros(1, 1, 2, 2), torch.zeros(weight), stride, padding)


def test_resize_is_torchs_by_pixel_centres_and_nothing_at_the_same_size():
    maps = torch.randn(1, 2, 5, 7)
    assert resize_maps(maps, (5, 7)) is maps
    line = resize_maps(torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 2), (1, 4)).flatten()
    assert line.tolist() == [0, 1, 3, 4], "centres of the four pixels lie at -0.25, 0.25, 0.75, 1.25 of the two"
