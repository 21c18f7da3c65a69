"""The RPN head: order of its outputs, and that one head serves maps of any size."""

import torch

from visionkit.heads.rpn import RPNHead


def test_order_is_row_column_anchor():
    head = RPNHead(4, 3)
    level = torch.randn(2, 4, 5, 7)
    (logits,), (deltas,) = head([level])
    assert logits.shape == (2, 5 * 7 * 3) and deltas.shape == (2, 5 * 7 * 3, 4)
    raw = head.cls_logits(head.relu(head.conv(level)))  # (2, 3, 5, 7)
    raw_deltas = head.bbox_pred(head.relu(head.conv(level)))  # (2, 12, 5, 7)
    position = (2 * 7 + 4) * 3 + 1  # row 2, column 4, anchor 1
    assert torch.allclose(logits[:, position], raw[:, 1, 2, 4])
    assert torch.allclose(deltas[:, position], raw_deltas[:, 4:8, 2, 4])


def test_more_convolutions_come_between():
    head = RPNHead(4, 3, hidden=8, convs=3)
    level = torch.randn(1, 4, 5, 7)
    (logits,), _ = head([level])
    hidden = head.relu(head.conv(level))
    for conv in head.more_convs:
        hidden = head.relu(conv(hidden))
    assert len(head.more_convs) == 2
    assert torch.allclose(logits, head.cls_logits(hidden).permute(0, 2, 3, 1).flatten(1))
    assert set(RPNHead(4, 3).state_dict()) == {k for k in head.state_dict() if not k.startswith("more_convs.")}


def test_levels_share_the_head_and_may_be_empty():
    head = RPNHead(4, 3, hidden=8)
    logits, deltas = head([torch.randn(1, 4, 6, 6), torch.randn(1, 4, 1, 2), torch.randn(0, 4, 3, 3)])
    assert [x.shape for x in logits] == [(1, 108), (1, 6), (0, 27)]
    assert all(x.dtype == torch.float32 for x in (*logits, *deltas))
