"""Unbiased compressors that round every entry at random to one of a few levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments
from elastic_jax.compressors.compressor import Compressor
from elastic_jax.compressors.scopes import contraction_of_unbiased, scoped, wide

FINEST = 2**23
"""Most levels: those of float32 are no finer."""


def qsgd(num_levels: int, *, scope: str = "leaf") -> Compressor:
    """Rounds |w_j|/‖w‖₂ at random to a neighbouring multiple of 1/s, so that the mean is right: E C(w) = w.

    With f_j the fractional part of s |w_j|/‖w‖₂, E‖C(w) - w‖² = (‖w‖₂/s)² Σ_j f_j (1 - f_j) exactly. So
    ω = d/(4 s²) where d <= 4 s², since f (1 - f) <= 1/4; otherwise ω = √d/s - 1, attained by a message whose entries
    are all equal. Both are below the min(d/s², √d/s) of the source. A contraction, δ = 1 - ω, only where ω < 1.
    Bits: those of a plain code of fixed width, one number and for each entry a sign and a level among s + 1, that is
    1 + ⌈log₂(s + 1)⌉ bits; the source's code of variable width is shorter on average and has no fixed length.
    Source: Alistarh, Grubic, Li, Tomioka, Vojnovic, QSGD, NeurIPS 2017, arXiv 1610.02132, §3.1, Lemma 3.1.

    Args:
        num_levels: s, in [1, 2^23].
        scope: "leaf": a norm for every leaf; "model": one for the whole tree.
    """
    num_levels = arguments.integer("num_levels", num_levels, low=1, high=FINEST)
    variance = partial(_variance_of_levels, num_levels=num_levels)
    return scoped(
        scope,
        compress=partial(_qsgd, num_levels=num_levels),
        bits=partial(_bits_levels, num_levels=num_levels),
        contraction=partial(_contraction, variance=variance),
        variance=variance,
        is_pathwise=False,
        is_shrinking=False,
    )


def terngrad(*, scope: str = "leaf") -> Compressor:
    """Sends each entry as -‖w‖∞, 0 or ‖w‖∞, not zero with probability |w_j|/‖w‖∞, so that E C(w) = w.

    E‖C(w)‖² = ‖w‖₁ ‖w‖∞ exactly, so ω = (√d - 1)/2, attained where one entry is 1 and the others are 1/(1 + √d). A
    contraction, δ = 1 - ω, only for d < 9.
    Bits: two for each entry, and one number.
    Source: Wen, Xu, Yan, Wu, Wang, Chen, Li, TernGrad, NeurIPS 2017, arXiv 1705.07878, §3.1, without its clipping of
    gradients and without a scale that workers share.

    Args:
        scope: "leaf": a scale for every leaf; "model": one for the whole tree.
    """
    return scoped(
        scope,
        compress=_terngrad,
        bits=_bits_ternary,
        contraction=partial(_contraction, variance=_variance_of_ternary),
        variance=_variance_of_ternary,
        is_pathwise=False,
        is_shrinking=False,
    )


def _qsgd(key: Array, vector: Array, *, num_levels: int) -> Array:
    ratios, largest = _relative(vector)
    root = jnp.maximum(jnp.sqrt(jnp.sum(ratios * ratios)), 1)  # ‖w‖₂/‖w‖∞
    exact = jnp.minimum(jnp.abs(ratios) / root * num_levels, num_levels)
    lower = jnp.floor(exact)
    is_up = jax.random.uniform(key, vector.shape, exact.dtype) < exact - lower
    levels = lower + is_up.astype(exact.dtype)
    # zero levels are multiplied, not selected: a NaN is sent, not hidden
    return (jnp.sign(ratios) * levels / num_levels * (largest * root)).astype(vector.dtype)


def _terngrad(key: Array, vector: Array) -> Array:
    ratios, largest = _relative(vector)
    is_sent = jax.random.uniform(key, vector.shape, ratios.dtype) < jnp.abs(ratios)
    return (jnp.sign(ratios) * is_sent.astype(ratios.dtype) * largest).astype(vector.dtype)


def _relative(vector: Array) -> tuple[Array, Array]:
    """w/‖w‖∞ and ‖w‖∞, so that no square overflows or vanishes; a message of zeros stays one."""
    exact = wide(vector)
    largest = jnp.max(jnp.abs(exact))
    return exact / jnp.where(largest == 0, 1, largest), largest


def _variance_of_levels(size: int, *, num_levels: int) -> float:
    return size / (4 * num_levels**2) if size <= 4 * num_levels**2 else math.sqrt(size) / num_levels - 1.0


def _variance_of_ternary(size: int) -> float:
    return (math.sqrt(size) - 1.0) / 2.0


def _contraction(size: int, *, variance: Callable[[int], float]) -> float | None:
    return contraction_of_unbiased(variance(size))


def _bits_levels(size: int, width: int, *, num_levels: int) -> int:
    return width + size * (1 + num_levels.bit_length())


def _bits_ternary(size: int, width: int) -> int:
    return width + 2 * size
