"""Compressors that send one bit an entry: its sign, with one or two numbers for the size."""

from __future__ import annotations

import math
from functools import partial

import jax.numpy as jnp
from jax import Array

from elastic_jax.compressors.compressor import Compressor
from elastic_jax.compressors.scopes import constant, scoped, wide


def scaled_sign(*, scope: str = "leaf") -> Compressor:
    """Sends signs and one scale: C(w) = (‖w‖₁/d) sign(w), with sign(0) = +1.

    ‖w - C(w)‖² = ‖w‖² - ‖w‖₁²/d exactly, so δ >= 1/d, attained by a message with one entry that is not zero.
    Bits: d signs and one number.
    Source: Karimireddy, Rebjock, Stich, Jaggi, Error Feedback Fixes SignSGD, 2019, arXiv 1901.09847, §3.

    Args:
        scope: "leaf": a scale for every leaf; "model": one for the whole tree.
    """
    return scoped(
        scope,
        compress=_scaled_sign,
        bits=partial(_bits_sign, num_numbers=1),
        contraction=_one_entry,
        variance=partial(constant, value=None),
        is_pathwise=True,
        is_shrinking=True,
    )


def two_means(*, scope: str = "leaf") -> Compressor:
    """Sends signs and two numbers: each entry becomes the mean of the entries that have its sign, with sign(0) = +1.

    With n₊ entries >= 0 of mean m₊ and n₋ entries < 0 of mean m₋, ‖w - C(w)‖² = ‖w‖² - n₊ m₊² - n₋ m₋² exactly:
    never more than `scaled_sign` loses, so δ >= 1/d, attained by a message with one entry that is positive.
    Bits: d signs and two numbers.
    Source: Seide, Fu, Droppo, Li, Yu, 1-Bit Stochastic Gradient Descent, Interspeech 2014, §3.2, with one pair of
    numbers for all that the scope names in place of one for each column of a matrix.

    Args:
        scope: "leaf": two means for every leaf; "model": two for the whole tree.
    """
    return scoped(
        scope,
        compress=_two_means,
        bits=partial(_bits_sign, num_numbers=2),
        contraction=_one_entry,
        variance=partial(constant, value=None),
        is_pathwise=True,
        is_shrinking=True,
    )


def sign_l2(*, scope: str = "leaf") -> Compressor:
    """Signs with the wrong scale, to compare with: C(w) = (‖w‖₂/√d) sign(w), with sign(0) = +1, as long as w.

    ‖w - C(w)‖² = 2 ‖w‖² - 2 ‖w‖₁ ‖w‖₂/√d exactly, up to 2 - 2/√d times ‖w‖² where one entry alone is not zero. So
    δ = 2/√d - 1 for d <= 3, and it is no contraction for more entries: error feedback may diverge.
    Bits: d signs and one number.

    Args:
        scope: "leaf": a scale for every leaf; "model": one for the whole tree.
    """
    return scoped(
        scope,
        compress=_sign_l2,
        bits=partial(_bits_sign, num_numbers=1),
        contraction=_kept_by_wrong_scale,
        variance=partial(constant, value=None),
        is_pathwise=True,
        is_shrinking=True,
    )


def _scaled_sign(key: Array, vector: Array) -> Array:
    del key
    return jnp.mean(jnp.abs(vector)) * _signs(vector)


def _two_means(key: Array, vector: Array) -> Array:
    del key
    is_minus = vector < 0
    num_minus = jnp.sum(is_minus, dtype=jnp.int32)
    exact = wide(vector)

    def mean(chosen: Array, count: Array) -> Array:
        return (jnp.sum(exact, where=chosen) / jnp.maximum(count, 1).astype(exact.dtype)).astype(vector.dtype)

    return jnp.where(is_minus, mean(is_minus, num_minus), mean(~is_minus, vector.size - num_minus))


def _sign_l2(key: Array, vector: Array) -> Array:
    del key
    exact = wide(vector)
    largest = jnp.max(jnp.abs(exact))  # squares neither overflow nor vanish
    ratios = exact / jnp.where(largest == 0, 1, largest)
    return (largest * jnp.sqrt(jnp.mean(ratios * ratios))).astype(vector.dtype) * _signs(vector)


def _signs(vector: Array) -> Array:
    return jnp.where(vector < 0, -1, 1).astype(vector.dtype)


def _one_entry(size: int) -> float:
    return 1.0 / size


def _kept_by_wrong_scale(size: int) -> float | None:
    return 2.0 / math.sqrt(size) - 1.0 if size < 4 else None


def _bits_sign(size: int, width: int, *, num_numbers: int) -> int:
    return size + num_numbers * width
