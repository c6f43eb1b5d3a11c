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
    if number == 1 or not codes.size:
        return narrow
    num_whole, num_left = divmod(codes.size, num_words)  # rows, and what is in the one that is not full
    rows = narrow[: num_whole * num_words].reshape(num_whole, num_words)
    if num_whole == number == 2:
        return rows[0] | (rows[1] << dtype.type(width))

    def add(place: Array, words: Array) -> Array:
        return words | (rows[place] << (place.astype(dtype) * dtype.type(width)))

    # XLA makes no one kernel of a loop and what follows it, which would compute a code anew for each of its neighbours
    words = lax.fori_loop(0, num_whole, add, jnp.zeros(num_words, dtype))
    left = narrow[num_whole * num_words :] << dtype.type(num_whole * width % (8 * dtype.itemsize))
    return lax.dynamic_update_slice(words, words[:num_left] | left, (0,))


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
