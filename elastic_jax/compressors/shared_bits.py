"""Random bits that a sender and a receiver both make from the key they share, in a few operations for each coordinate.

Threefry, JAX's generator, takes a hundred operations a number, more than all else that a quantiser does. Here the key alone
is scrambled into two words a, b, and coordinate j of a message has

    h_j = M₂ (m(M₁ j + a) + b) mod 2³²,     m(u) = u ⊕ ⌊u/2¹⁵⌋,     M₁, M₂ odd.

Every map is a bijection of the 2³² words, so that each h_j is exactly uniform where the key's words are. Two of them are not
independent, but nothing that is linear in coordinates tells: what m does to a depends on the key.
Source of the multipliers and of the scrambling: the hash `lowbias32`, C. Wellons, 2018.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

FIRST, SECOND, GOLDEN = np.uint32(0x7FEB352D), np.uint32(0x846CA68B), 0x9E3779B9


def seed(key: Array, use: int) -> tuple[Array, Array]:
    """The words a, b of one use of a key: key[] -> uint32[], uint32[]; other uses have others.

    Args:
        key: a typed key of any generator.
        use: a small number, one for each kind of bits that are made from the key.
    """
    data = jax.random.key_data(key).reshape(-1)
    both = []
    for number in (2 * use + 1, 2 * use + 2):
        scrambled = jnp.uint32(GOLDEN * number % 2**32)
        for place in range(data.size):
            scrambled = _scramble(scrambled + data[place])
        both.append(scrambled)
    return both[0], both[1]


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
    """`bits` hashed once more, at three times their price: for what asks for independent bits, not only uniform ones."""
    return _scramble(bits(words, start, size) + words[1])


def _scramble(word: Array) -> Array:
    word = (word ^ (word >> np.uint32(16))) * FIRST
    word = (word ^ (word >> np.uint32(15))) * SECOND
    return word ^ (word >> np.uint32(16))
