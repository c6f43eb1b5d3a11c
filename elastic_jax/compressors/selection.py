"""The k largest entries of a vector, exactly k of them, fast at every size."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

LARGE = 50_000
"""d above which a selection is found digit by digit and workers are compressed in turn."""


def largest(magnitudes: Array, k: int) -> Array:
    """Mask of the k largest entries of a non-negative vector, exactly k; ties go to the lowest index.

    Args:
        magnitudes: float[d], >= 0.
        k: in [1, d].

    Returns:
        bool[d] with k True entries.
    """
    d = magnitudes.size
    if d <= LARGE or k <= d // 100:
        return by_indices(magnitudes, k)
    return by_digits(magnitudes, k)


def by_indices(magnitudes: Array, k: int) -> Array:
    """`largest` by XLA's selection."""
    # both outputs of top_k are used: with the values alone XLA compiles a full sort
    _, indices = lax.top_k(magnitudes, k)
    return jnp.zeros(magnitudes.size, bool).at[indices].set(True)


def by_digits(magnitudes: Array, k: int) -> Array:
    """`largest` by radix selection: the k-th largest bit pattern, digit by digit, then the first of its ties."""
    unsigned = jnp.dtype(f"uint{8 * magnitudes.dtype.itemsize}")
    bits = lax.bitcast_convert_type(magnitudes, unsigned)
    width = 8 * unsigned.itemsize
    prefix, remaining = jnp.zeros((), unsigned), jnp.asarray(k, jnp.int32)
    candidates = jnp.ones(magnitudes.shape, bool)
    position = width
    while position:
        digit_bits = min(11, position)
        position -= digit_bits
        digits = ((bits >> unsigned.type(position)) & unsigned.type((1 << digit_bits) - 1)).astype(jnp.int32)
        counts = jnp.zeros(1 << digit_bits, jnp.int32).at[digits].add(candidates.astype(jnp.int32))
        at_least = jnp.cumsum(counts[::-1])[::-1]
        digit = jnp.sum(at_least >= remaining, dtype=jnp.int32) - 1
        remaining = remaining - (at_least[digit] - counts[digit])
        candidates = candidates & (digits == digit)
        prefix = prefix | (digit.astype(unsigned) << unsigned.type(position))
    first_ties = jnp.cumsum(candidates.astype(jnp.int32)) <= remaining
    return (bits > prefix) | (candidates & first_ties)
