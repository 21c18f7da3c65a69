import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit.ops.hashing import mix, random_keys

integers = st.integers(-(2**70), 2**70)


@settings(deadline=None)
@given(st.lists(integers, max_size=4))
def test_mix_fits_an_int64_and_repeats(values):
    assert 0 <= mix(*values) < 2**63
    assert mix(*values) == mix(*values)


def test_mix_is_pinned():
    # Data order and augmentation of every published run hang on these.
    assert [mix(), mix(0), mix(1, 2, 3)] == [0, 5225608189600411232, 3713500381635348544]


def test_mix_depends_on_every_value_their_order_and_their_number():
    seen = {mix(*v) for v in ((), (0,), (0, 0), (1,), (1, 0), (0, 1), (1, 2), (2, 1), (-1,), (1, 2, 0))}
    assert len(seen) == 10
    assert len({mix(seed, epoch, image) for seed in range(10) for epoch in range(20) for image in range(100)}) == 20_000


def test_mix_flips_half_the_bits():
    flips = [bin(mix(i) ^ mix(i ^ (1 << b))).count("1") for i in range(50) for b in range(0, 60, 3)]
    assert abs(sum(flips) / len(flips) - 31.5) < 0.5


def test_keys_are_pinned():
    assert (random_keys(torch.tensor([0, 7, -5]), 3) * 2**24).to(torch.int64).tolist() == [
        [14819496, 7239838, 443485],
        [8797065, 5069051, 15787297],
        [8469859, 8171004, 1942587],
    ]


def test_keys_are_the_scalar_hash():
    # The tensor arithmetic wraps in int64 and shifts with the sign; the Python integers do neither.
    from visionkit.ops.hashing import _GOLDEN, _WORD, _scramble

    seeds = [0, 1, -1, 2**63 - 1, -(2**63), mix(3, 4)]
    expected = [[_scramble((_scramble(s & _WORD) + i * _GOLDEN) & _WORD) >> 40 for i in range(1, 6)] for s in seeds]
    assert (random_keys(torch.tensor(seeds), 5) * 2**24).to(torch.int64).tolist() == expected


def test_keys_are_uniform_and_uncorrelated():
    keys = random_keys(torch.arange(64), 4096)  # neighbouring seeds, the hardest case
    assert keys.dtype == torch.float32 and keys.min() >= 0 and keys.max() < 1
    counts = torch.histc(keys, bins=64, min=0, max=1)
    chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert 30 < chi_square < 110  # 63 degrees of freedom: mean 63, sigma 11
    normal = (keys - keys.mean()) / keys.std()
    assert (normal[:, :-1] * normal[:, 1:]).mean().abs() < 0.01  # along positions; sigma 0.002
    assert (normal[:-1] * normal[1:]).mean().abs() < 0.01  # along seeds
    assert (normal[:-1, 1:] * normal[1:, :-1]).mean().abs() < 0.01  # and shifted
    across = torch.corrcoef(keys) - torch.eye(64)
    assert across.abs().max() < 0.1  # sigma 1/64


def test_keys_depend_on_seed_and_position_alone():
    seeds = torch.tensor([11, 22, 33])
    keys = random_keys(seeds, 100)
    assert torch.equal(random_keys(seeds.flip(0), 100), keys.flip(0))
    assert torch.equal(random_keys(seeds[1:2], 100), keys[1:2])
    assert torch.equal(random_keys(seeds, 40), keys[:, :40])
    assert not torch.equal(keys[0], keys[1])


def test_keys_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    random_keys(torch.arange(3), 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_empty():
    assert random_keys(torch.zeros(0, dtype=torch.int64), 5).shape == (0, 5)
    assert random_keys(torch.arange(2), 0).shape == (2, 0)
