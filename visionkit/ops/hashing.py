"""Random numbers as a pure function of (seed, position): no generator, no state, the same on every device.

A counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in its smallest form:
the finaliser of splitmix64 (Steele et al., OOPSLA 2014) applied to seed and counter. What one image draws depends on
neither the other images of its batch nor on the process that handles it.
"""

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: the step of splitmix64's sequence
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def mix(*values: int) -> int:
    """Hashes integers, in order, to one of 0 ... 2^63 - 1 (fits an int64 tensor). Negative values are allowed."""
    state = len(values)
    for value in values:
        state = _scramble((state + _GOLDEN + _scramble(value & _WORD)) & _WORD)
    return state >> 1


def random_keys(seeds: Tensor, n: int) -> Tensor:
    """Uniform random numbers for n positions of each of B images.

    Entry (b, i) is a function of `seeds[b]` and i alone: neither B, n, the order of the batch nor the device matter.

    Args:
        seeds: (B,) int64, any values.
        n: number of positions, may be 0.
    Returns:
        (B, n) float32 in [0, 1), multiples of 2^-24.
    """
    start = _scramble_tensor(seeds)[:, None]  # (B, 1); neighbouring seeds must not give shifted copies of one sequence
    counter = torch.arange(1, n + 1, device=seeds.device) * _signed(_GOLDEN)  # (n,)
    bits = _scramble_tensor(start + counter)  # (B, n)
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24  # 24 bits are what a float32 holds exactly


def _scramble(word: int) -> int:
    word = ((word ^ (word >> 30)) * _FIRST) & _WORD
    word = ((word ^ (word >> 27)) * _SECOND) & _WORD
    return word ^ (word >> 31)


def _scramble_tensor(words: Tensor) -> Tensor:
    """`_scramble` on int64 tensors, whose products wrap around as unsigned ones do."""
    words = (words ^ _shift_right(words, 30)) * _signed(_FIRST)
    words = (words ^ _shift_right(words, 27)) * _signed(_SECOND)
    return words ^ _shift_right(words, 31)


def _shift_right(words: Tensor, bits: int) -> Tensor:
    return (words >> bits) & ((1 << (64 - bits)) - 1)  # int64 shifts drag the sign along; cut it off


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
