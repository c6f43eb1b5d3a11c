"""Integers of a few bits in unsigned words, and back.

A code has `width` bits. A word holds as many codes as fit, none across two words: widths 1, 2, 4, 8 and 16 waste
nothing; of the others the word is the smallest of those of up to 32 bits that waste least (five codes of 3 bits in 16,
three of 10 bits in 32). Word j of W holds the codes j, j + W, j + 2 W, ..., the first in its lowest bits, so that
packing reads and writes contiguous slices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

WIDEST = 16
"""Bits of the widest code."""

WORDS = tuple(np.dtype(f"uint{size}") for size in (8, 16, 32))


def word(width: int) -> tuple[np.dtype, int]:
    """The dtype of a word, and how many codes of `width` bits it holds."""
    fitting = [(dtype, 8 * dtype.itemsize // width) for dtype in WORDS if 8 * dtype.itemsize >= width]
    return min(fitting, key=lambda each: (each[0].itemsize / each[1], each[0].itemsize))


def packed(size: int, width: int) -> jax.ShapeDtypeStruct:
    """The shape and dtype of `size` packed codes of `width` bits."""
    dtype, number = word(width)
    return jax.ShapeDtypeStruct((-(-size // number),), dtype)


def pack(codes: Array, width: int) -> Array:
    """Codes in [0, 2^width) as words: uint[d] -> uint[W].

    Args:
        codes: unsigned, of any dtype that holds them.
        width: bits of a code.
    """
    dtype, number = word(width)
    num_words = packed(codes.size, width).shape[0]
    narrow = codes.astype(dtype)
    if number == 1:
        return narrow
    if (
        number * num_words > codes.size
    ):  # written into zeros: as padding it would be a branch in the kernel that makes codes
        narrow = lax.dynamic_update_slice(jnp.zeros(number * num_words, dtype), narrow, (0,))
    rows = narrow.reshape(number, num_words)
    if number == 2:
        return rows[0] | (rows[1] << dtype.type(width))

    def add(place: Array, words: Array) -> Array:
        return words | (rows[place] << (place.astype(dtype) * dtype.type(width)))

    # XLA makes no one kernel of a loop and what follows it, which would compute a code anew for each of its neighbours
    return lax.fori_loop(0, number, add, jnp.zeros(num_words, dtype))


def unpack(words: Array, width: int, size: int) -> Array:
    """The codes of `pack`: uint[W] -> uint[d], of the dtype of the words.

    Args:
        words: what `pack` returned.
        width: bits of a code.
        size: d.
    """
    dtype, number = word(width)
    mask = dtype.type(2**width - 1)
    if number <= 2:
        return words if number == 1 else jnp.concatenate([words & mask, words >> dtype.type(width)])[:size]

    def put(place: Array, rows: Array) -> Array:
        return rows.at[place].set((words >> (place.astype(dtype) * dtype.type(width))) & mask)

    return lax.fori_loop(0, number, put, jnp.zeros((number, words.size), dtype)).reshape(-1)[:size]
