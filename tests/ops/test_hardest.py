"""The hardest of each group, beside a loop."""

import pytest
import torch

from visionkit.ops.hardest import hardest


def reference(difficulty, candidate, group, quota):
    chosen = [False] * len(difficulty)
    for g in set(group.tolist()):
        members = [i for i in range(len(group)) if group[i] == g and candidate[i]]
        for i in sorted(members, key=lambda i: (-float(difficulty[i]), i))[: int(quota[g])]:
            chosen[i] = True
    return torch.tensor(chosen, dtype=torch.bool)


@pytest.mark.parametrize("seed", range(8))
def test_equals_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 60, (), generator=generator))
    difficulty = torch.randint(0, 9, (count,), generator=generator).float()  # with ties
    candidate = torch.rand(count, generator=generator) < 0.7
    group = torch.randint(0, min(4, count), (count,), generator=generator)  # in any order
    quota = torch.randint(0, 12, (count,), generator=generator)
    found = hardest(difficulty, candidate, group, quota)
    assert torch.equal(found, reference(difficulty, candidate, group, quota))


def test_nothing_to_choose():
    none = torch.zeros(0)
    assert hardest(none, none.bool(), none.long(), none.long()).shape == (0,)
    three = torch.arange(3.0)
    assert not hardest(three, torch.zeros(3, dtype=torch.bool), torch.zeros(3).long(), torch.full((3,), 9)).any()
