"""A compressor that rounds every entry to a power of two: floats of few bits, all of them sign and exponent."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments
from elastic_jax.compressors.compressor import Compressor
from elastic_jax.compressors.scopes import constant, scoped, wide


def powers_of_two(num_bits: int = 4, *, scope: str = "leaf") -> Compressor:
    """Rounds w_j to the nearest of 0 and ±‖w‖∞ 2^-k, k = 0, ..., L - 1, with L = 2^(num_bits - 1) - 1.

    An entry below ‖w‖∞ 2^-L becomes 0; any other is off by at most itself, above ‖w‖∞ 2^(1-L) by a third of it. The
    largest loses nothing, so that of ‖w‖² at most γ is lost, the larger of (d-1)/(4^L + d-1), where all others are just
    below ‖w‖∞ 2^-L, and, for L > 1, of (d-1)/(16 + 9 (d-1)), where they are 3/4 ‖w‖∞. Both are attained; δ = 1 - γ.
    Bits: `num_bits` for each entry, a sign and an exponent one of which means 0, and one number. Four bits are the E3M0
    floats, here in units of the largest entry, in which Streaming DiLoCo sends outer gradients.
    Source: Douillard et al., Streaming DiLoCo with overlapping communication, 2025, arXiv 2501.18512.

    Args:
        num_bits: in [2, 8].
        scope: "leaf": a largest entry for every leaf; "model": one for the whole tree.
    """
    num_bits = arguments.integer("num_bits", num_bits, low=2, high=8)
    num_powers = 2 ** (num_bits - 1) - 1
    return scoped(
        scope,
        compress=partial(_powers_of_two, num_powers=num_powers),
        bits=partial(_bits, num_bits=num_bits),
        contraction=partial(_contraction, num_powers=num_powers),
        variance=partial(constant, value=None),
        is_pathwise=True,
        is_shrinking=False,
    )


def _powers_of_two(key: Array, vector: Array, *, num_powers: int) -> Array:
    del key
    exact = wide(vector)
    largest = jnp.max(jnp.abs(exact))
    ratios = exact / jnp.where(largest == 0, 1, largest)
    parts, exponents = jnp.frexp(jnp.abs(ratios))  # ratio = part 2^exponent, part in [1/2, 1)
    nearest = jnp.where(parts < 0.75, exponents - 1, exponents)
    powers = jnp.ldexp(jnp.ones_like(exact), jnp.maximum(nearest, 1 - num_powers))
    is_sent = jnp.abs(ratios) >= 2.0**-num_powers
    # zeros are multiplied, not selected: a NaN is sent, not hidden
    return (jnp.sign(ratios) * is_sent.astype(exact.dtype) * powers * largest).astype(vector.dtype)


def _bits(size: int, width: int, *, num_bits: int) -> int:
    return width + num_bits * size


def _contraction(size: int, *, num_powers: int) -> float:
    others = size - 1
    lost = others / (4**num_powers + others)
    return 1.0 - (max(lost, others / (16 + 9 * others)) if num_powers > 1 else lost)
