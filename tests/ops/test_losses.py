import pytest
import torch
import torch.nn.functional as F

from visionkit.ops.losses import binary_cross_entropy, cross_entropy, pixel_cross_entropy, smooth_l1, weighted_sum


def test_smooth_l1_known_values():
    difference = torch.tensor([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    zero = torch.zeros(6)
    assert smooth_l1(difference, zero, 1.0).tolist() == [1.5, 0.125, 0, 0.125, 0.5, 2.5]
    assert smooth_l1(difference, zero, 0.0).tolist() == [2, 0.5, 0, 0.5, 1, 3]
    torch.testing.assert_close(
        smooth_l1(difference, zero, 1 / 9), F.smooth_l1_loss(difference, zero, reduction="none", beta=1 / 9)
    )


@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0])
def test_smooth_l1_gradient_never_exceeds_one(beta):
    prediction = torch.linspace(-3, 3, 101).requires_grad_()
    smooth_l1(prediction, torch.zeros(101), beta).sum().backward()
    assert prediction.grad is not None and prediction.grad.isfinite().all() and prediction.grad.abs().max() <= 1


def test_sums_equal_the_reference_on_the_weighted_entries():
    torch.manual_seed(0)
    weights = (torch.rand(30) < 0.5).float()
    use = weights > 0
    logits, labels = torch.randn(30, 4), torch.randint(4, (30,))
    torch.testing.assert_close(
        cross_entropy(logits, labels, weights), F.cross_entropy(logits[use], labels[use], reduction="sum")
    )
    scores, targets = torch.randn(30) * 20, torch.rand(30) < 0.5
    torch.testing.assert_close(
        binary_cross_entropy(scores, targets, weights),
        F.binary_cross_entropy_with_logits(scores[use], targets[use].float(), reduction="sum"),
    )
    values = torch.randn(30, 4)
    torch.testing.assert_close(weighted_sum(values, weights), values[use].sum())


def test_padding_gets_no_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    cross_entropy(logits, torch.tensor([0, 1, 3]), torch.tensor([1.0, 0.0, 1.0])).backward()
    assert logits.grad is not None
    assert (logits.grad[1] == 0).all() and (logits.grad[[0, 2]] != 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_predictions_are_summed_in_float32(dtype):
    ones = torch.ones(4096, dtype=dtype)  # a bf16 sum would stop at 256
    assert weighted_sum(ones, ones.float()).item() == 4096
    assert smooth_l1(ones, torch.zeros(4096), 0.0).dtype == torch.float32
    loss = cross_entropy(torch.zeros(4096, 2, dtype=dtype), torch.zeros(4096, dtype=torch.int64), torch.ones(4096))
    torch.testing.assert_close(loss, torch.tensor(4096 * 0.6931472))
    assert binary_cross_entropy(torch.zeros(8, dtype=dtype), torch.ones(8), torch.ones(8)).dtype == torch.float32


def test_extreme_logits_stay_finite():
    logits = torch.tensor([1e4, -1e4], requires_grad=True)
    binary_cross_entropy(logits, torch.tensor([0.0, 1.0]), torch.ones(2)).backward()
    assert logits.grad is not None and logits.grad.tolist() == [1.0, -1.0]


def test_empty_is_zero_with_a_gradient():
    parameter = torch.ones(4, requires_grad=True)
    rows = parameter.expand(0, 4)
    none = torch.zeros(0)
    total = (
        cross_entropy(rows, torch.zeros(0, dtype=torch.int64), none)
        + binary_cross_entropy(rows[:, 0], none, none)
        + weighted_sum(smooth_l1(rows, torch.zeros(0, 4), 1.0), none)
    )
    assert total.item() == 0
    total.backward()
    assert parameter.grad is not None and (parameter.grad == 0).all()


def test_pixel_cross_entropy_is_torchs_over_labelled_pixels():
    torch.manual_seed(0)
    scores, weights = torch.randn(2, 4, 5, 6, requires_grad=True), torch.tensor([0.5, 1.0, 2.0, 0.25])
    semantic = torch.randint(0, 4, (2, 5, 6))
    semantic[:, :2] = 255
    total, weight = pixel_cross_entropy(scores, semantic, weights)
    expected = F.cross_entropy(scores, semantic, weights, ignore_index=255)
    torch.testing.assert_close(total / weight, expected)


def test_pixel_cross_entropy_without_a_label_is_zero_with_a_path():
    scores = torch.randn(1, 3, 2, 2, requires_grad=True)
    total, weight = pixel_cross_entropy(scores, torch.full((1, 2, 2), 255), torch.ones(3))
    assert total.item() == 0 and weight.item() == 0
    total.backward()
    assert float(scores.grad.abs().max()) == 0
