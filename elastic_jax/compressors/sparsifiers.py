"""Compressors that keep k entries of a message: the largest, or random ones."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments
from elastic_jax.compressors.compressor import Compressor
from elastic_jax.compressors.scopes import constant, contraction_of_unbiased, scoped
from elastic_jax.compressors.selection import largest


def top_k(fraction: float, *, scope: str = "leaf") -> Compressor:
    """Keeps the k entries of largest magnitude, k = ⌈fraction · d⌉ exactly; ties go to the lowest index.

    Args:
        fraction: in (0, 1].
        scope: "leaf": k of every leaf (δ is the smallest k/d over the leaves); "model": k of the whole tree.

    Bits: k · (bits of a number + ⌈log₂ d⌉ of an index), summed over what the scope names.
    Source: Stich, Cordonnier, Jaggi, Sparsified SGD with Memory, 2018, arXiv 1809.07599, Definition 2.1.
    """
    fraction = arguments.fraction("fraction", fraction)
    return scoped(
        scope,
        compress=partial(_top_k, fraction=fraction),
        bits=partial(_bits_indexed, fraction=fraction),
        contraction=partial(_kept_fraction, fraction=fraction),
        variance=partial(constant, value=None),
        is_pathwise=True,
        is_shrinking=True,
    )


def random_k(fraction: float, *, is_scaled: bool = False, scope: str = "leaf") -> Compressor:
    """Keeps k entries chosen uniformly without replacement, k = ⌈fraction · d⌉.

    Args:
        fraction: in (0, 1].
        is_scaled: False: the kept entries as they are, δ = k/d, an equality, in expectation only. True: multiplied
            by d/k, which makes it unbiased with ω = d/k - 1, and no contraction as soon as d >= 2k.
        scope: "leaf" or "model", as in `top_k`.

    Bits: k numbers and one 32-bit seed from which the receiver draws the same indices.
    Source: Stich, Cordonnier, Jaggi, 2018, arXiv 1809.07599, Definition 2.1; scaled: Wangni et al., arXiv 1710.09854.
    """
    fraction = arguments.fraction("fraction", fraction)
    arguments.flag("is_scaled", is_scaled)
    return scoped(
        scope,
        compress=partial(_random_k, fraction=fraction, is_scaled=is_scaled),
        bits=partial(_bits_seeded, fraction=fraction),
        contraction=partial(_scaled_contraction if is_scaled else _kept_fraction, fraction=fraction),
        variance=partial(_scaled_variance, fraction=fraction) if is_scaled else partial(constant, value=None),
        is_pathwise=False,
        is_shrinking=not is_scaled,
    )


def num_kept(fraction: float, size: int) -> int:
    """K = ⌈fraction · size⌉, at least 1: the number of entries a sparsifier really keeps."""
    return max(1, min(size, math.ceil(fraction * size - 1e-9)))


def _top_k(key: Array, vector: Array, *, fraction: float) -> Array:
    del key
    return jnp.where(largest(jnp.abs(vector), num_kept(fraction, vector.size)), vector, 0)


def _random_k(key: Array, vector: Array, *, fraction: float, is_scaled: bool) -> Array:
    kept = num_kept(fraction, vector.size)
    chosen = largest(jax.random.uniform(key, vector.shape, jnp.float32), kept)
    factor = vector.size / kept if is_scaled else 1.0
    return jnp.where(chosen, vector * jnp.asarray(factor, vector.dtype), 0)


def _kept_fraction(size: int, *, fraction: float) -> float:
    return num_kept(fraction, size) / size


def _scaled_variance(size: int, *, fraction: float) -> float:
    return size / num_kept(fraction, size) - 1.0


def _scaled_contraction(size: int, *, fraction: float) -> float | None:
    return contraction_of_unbiased(_scaled_variance(size, fraction=fraction))


def _bits_indexed(size: int, width: int, *, fraction: float) -> int:
    return num_kept(fraction, size) * (width + (size - 1).bit_length())


def _bits_seeded(size: int, width: int, *, fraction: float) -> int:
    return num_kept(fraction, size) * width + 32
