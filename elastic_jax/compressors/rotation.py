"""Randomised Hadamard rotations: what is large in few coordinates becomes small in all.

    R = H D,    D = diag(±1) at random,    H = (±1/√B)^(B × B), Walsh-Hadamard up to the order of its rows,

on every block of B coordinates, B the largest power of two that is at most 4096 and at most d; where B does not divide
d, once more, with other signs, on the last B coordinates, so that nothing is filled up. R is orthogonal, and no
coordinate is large: with independent signs P(|(H D v)_i| > t ‖v‖₂/√B) <= 2 exp(-t²/2) for each of them (Hoeffding).
A block is seen as a matrix V [m, n], m n = B, m and n at most 64: V -> H_n Vᵀ H_m is H up to an order, two products
with small matrices in the place of twelve passes over memory.
Source: Ailon, Chazelle, The Fast Johnson-Lindenstrauss Transform, 2009; for lattices Davies et al., arXiv 2002.09268.
Departures: the signs are hashed from the key, see `shared_bits`. Blocks: a message is rotated piece by piece.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax.compressors import shared_bits

LARGEST_BLOCK = 4096

Words = tuple[Array, Array]


def block_size(size: int) -> int:
    """B of a leaf of `size` numbers: the largest power of two that is at most 4096 and at most `size`."""
    return min(LARGEST_BLOCK, 1 << (size.bit_length() - 1)) if size else 1


def rotate(vector: Array, words: tuple[Words, Words], start: int) -> Array:
    """R v: [d] -> [d].

    Args:
        vector: v.
        words: two of `shared_bits.seed`: for the signs of the blocks, and for those of the last one.
        start: coordinates of the message that come before.
    """
    size, block, whole = _parts(vector)
    blocks = _hadamard(_signed(vector[:whole], words[0], start), block, is_inverse=False)
    if whole == size:
        return blocks
    mixed = lax.dynamic_update_slice(vector, blocks, (0,))
    last = _hadamard(_signed(mixed[-block:], words[1], start), block, is_inverse=False)
    return lax.dynamic_update_slice(mixed, last, (size - block,))


def rotate_back(vector: Array, words: tuple[Words, Words], start: int) -> Array:
    """R⁻¹ w: [d] -> [d].

    Args:
        vector: w.
        words: those of `rotate`.
        start: that of `rotate`.
    """
    size, block, whole = _parts(vector)
    if whole < size:
        last = _signed(_hadamard(vector[-block:], block, is_inverse=True), words[1], start)
        vector = lax.dynamic_update_slice(vector, last, (size - block,))
    blocks = _signed(_hadamard(vector[:whole], block, is_inverse=True), words[0], start)
    return blocks if whole == size else lax.dynamic_update_slice(vector, blocks, (0,))


def largest_rotated(vector: Array, *, num_coordinates: int, failure: float) -> Array:
    """A number that all |(R v)_i| exceed with a small probability only: [d] -> [].

    The largest over blocks of min(√(2 log(2 N/δ)), √B) ‖v‖₂/√B: the first by a union over N coordinates, each of which
    is beyond it with probability at most δ/N, the second always. For the block that is rotated last, ‖v‖² is at most
    that of the last whole block and of what comes after it.

    Args:
        vector: v.
        num_coordinates: N, of the whole message.
        failure: δ, the probability that one of the N is beyond.
    """
    size, block, whole = _parts(vector)
    if not size:
        return jnp.zeros((), vector.dtype)
    largest = jnp.max(jnp.abs(vector))
    ratios = vector / jnp.where(largest > 0, largest, 1)  # no square overflows or vanishes
    squares = ratios * ratios
    lengths_sq = jnp.sum(squares[:whole].reshape(-1, block), axis=1)
    longest_sq = jnp.maximum(jnp.max(lengths_sq), lengths_sq[-1] + jnp.sum(squares[whole:]))
    factor = math.sqrt(min(2 * math.log(2 * num_coordinates / failure), block) / block)
    return factor * jnp.sqrt(longest_sq) * largest


def _parts(vector: Array) -> tuple[int, int, int]:
    """d, B, and how many coordinates the whole blocks have."""
    block = block_size(vector.size)
    return vector.size, block, vector.size // block * block


def _signed(vector: Array, words: Words, start: int) -> Array:
    is_minus = shared_bits.scrambled_bits(words, start, vector.size) >> np.uint32(31)
    return jnp.where(is_minus == 0, vector, -vector)


def _hadamard(vector: Array, block: int, *, is_inverse: bool) -> Array:
    """V [m, n] -> H_n Vᵀ H_m of every block; its inverse has m and n exchanged."""
    exponent = block.bit_length() - 1
    sides = (1 << (exponent // 2), 1 << (exponent - exponent // 2))
    m, n = sides[::-1] if is_inverse else sides
    by_rows = jnp.matmul(vector.reshape(-1, n), _matrix(n, vector.dtype), precision=lax.Precision.HIGHEST)
    turned = by_rows.reshape(-1, m, n).swapaxes(1, 2).reshape(-1, m)
    return jnp.matmul(turned, _matrix(m, vector.dtype), precision=lax.Precision.HIGHEST).reshape(-1)


def _matrix(size: int, dtype: np.dtype) -> Array:
    """H of `size` rows, orthogonal and symmetric."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.kron(matrix, np.array([[1.0, 1.0], [1.0, -1.0]]))
    return jnp.asarray(matrix / math.sqrt(size), dtype)
