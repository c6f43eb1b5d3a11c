"""Random bits that a sender and a receiver both make from the key they share, in a few operations for each coordinate.

Threefry, JAX's generator, takes a hundred operations a number, more than all else that a quantiser does. Here the key
is scrambled into two words a, b, by four rounds of Feistel's network, and coordinate j of a message has

    h_j = M₂ (m(M₁ j + a) + b) mod 2³²,     m(u) = u ⊕ ⌊u/2¹⁵⌋,     M₁, M₂ odd.

Every map is a bijection, so that each h_j is exactly uniform where the key is, as keys are that were split or folded.
Two of them are not independent; tests find no correlation.
Source of the multipliers and of the scrambling of one word: the hash `lowbias32`, C. Wellons, 2018.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

FIRST, SECOND, GOLDEN = np.uint32(0x7FEB352D), np.uint32(0x846CA68B), 0x9E3779B9
NUM_ROUNDS = 4


def seed(key: Array, use: int) -> tuple[Array, Array]:
    """The words a, b of one use of a key: key[] -> uint32[], uint32[]; other uses have others.

    Args:
        key: a typed key of any generator; of more than two words the others are added to the first two.
        use: a small number, one for each kind of bits that are made from the key.
    """
    data = jax.random.key_data(key).reshape(-1)
    first, second = data[0], data[-1]
    for place in range(1, data.size - 1):
        first, second = second, first + data[place]
    for number in range(NUM_ROUNDS):
        constant = jnp.uint32(GOLDEN * (NUM_ROUNDS * use + number + 1) % 2**32)
        first, second = second, first + _scramble(second + constant)
    return first, second


def bits(words: tuple[Array, Array], start: int, size: int) -> Array:
    """h_j for j = start, ..., start + size - 1: uint32[size]. The highest bits are the best ones.

    Args:
        words: a, b, of `seed`.
        start: coordinates of the message that come before.
        size: how many.
    """
    counters = lax.iota(jnp.uint32, size) + np.uint32(start % 2**32)
    mixed = FIRST * counters + words[0]
    mixed = mixed ^ (mixed >> np.uint32(15))
    return SECOND * (mixed + words[1])


def scrambled_bits(words: tuple[Array, Array], start: int, size: int) -> Array:
    """`bits` hashed once more, at three times their price: for what asks for bits that are as good as independent."""
    return _scramble(bits(words, start, size) + words[1])


def _scramble(word: Array) -> Array:
    word = (word ^ (word >> np.uint32(16))) * FIRST
    word = (word ^ (word >> np.uint32(15))) * SECOND
    return word ^ (word >> np.uint32(16))
