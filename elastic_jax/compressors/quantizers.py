"""Compressors that send every entry with fewer bits."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax import Array

from elastic_jax.compressors.compressor import Compressor
from elastic_jax.compressors.scopes import constant, scoped


def scaled_sign(*, scope: str = "leaf") -> Compressor:
    """Sends signs and one scale: C(w) = (‖w‖₁/d) sign(w), with sign(0) = +1.

    ‖w - C(w)‖² = ‖w‖² - ‖w‖₁²/d exactly, so δ >= 1/d, attained by a message with one entry.
    Bits: d signs and one number.
    Source: Karimireddy, Rebjock, Stich, Jaggi, Error Feedback Fixes SignSGD, 2019, arXiv 1901.09847, §3.
    """
    return scoped(
        scope,
        compress=_scaled_sign,
        bits=_bits_sign,
        contraction=_one_entry,
        variance=partial(constant, value=None),
        is_pathwise=True,
    )


def _scaled_sign(key: Array, vector: Array) -> Array:
    del key
    return jnp.mean(jnp.abs(vector)) * jnp.where(vector < 0, -1, 1).astype(vector.dtype)


def _one_entry(size: int) -> float:
    return 1.0 / size


def _bits_sign(size: int, width: int) -> int:
    return size + width
