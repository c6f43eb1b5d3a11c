"""From an unbiased compressor to a contraction: divided by 1 + ω it may be used with error feedback."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments, stacked
from elastic_jax.compressors.compressor import Compressor, check_decodes_alone

PyTree = Any


def contracted(compressor: Compressor) -> Compressor:
    """An unbiased compressor Q made a contraction: C(w) = Q(w)/(1 + ω), ω that of the whole message.

    E‖C(w) - w‖² = (E‖Q(w) - w‖² + ω² ‖w‖²)/(1 + ω)² <= ω/(1 + ω) ‖w‖², so δ = 1/(1 + ω), in expectation only, with
    equality if that of ω is one. The receiver divides: the bits are those of Q.
    Source: Beznosikov, Horváth, Richtárik, Safaryan, On Biased Compression for Distributed Learning, 2020, arXiv
    2002.12410, §2.

    Args:
        compressor: an unbiased one, such as `qsgd(4)`, `terngrad()` or `random_k(0.1, is_scaled=True)`.

    Raises:
        TypeError, ValueError: if it is no compressor, a biased one, or one that needs the receiver's parameters.
    """
    arguments.instance("compressor", compressor, Compressor, "e.g. compressors.qsgd(4)")
    check_decodes_alone("compressor", compressor)
    _variance(jax.ShapeDtypeStruct((1,), jnp.float32), compressor=compressor)
    return Compressor(
        encode=partial(_encode_contracted, compressor=compressor),
        decode=partial(_decode, compressor=compressor),
        bits=compressor.bits,
        contraction_factor=partial(_contraction, compressor=compressor),
        variance_factor=partial(_variance_left, compressor=compressor),
        is_pathwise=False,
        is_shrinking=True,
    )


def _variance(message: PyTree, *, compressor: Compressor) -> float:
    variance = compressor.variance_factor(message)
    if variance is None:
        raise ValueError(
            f"compressor = {compressor!r} is biased; it must be an unbiased one, with a variance factor, "
            "e.g. compressors.qsgd(4)"
        )
    return variance


def _encode_contracted(key: Array, message: PyTree, *, compressor: Compressor) -> PyTree:
    """The code of the compressor inside, under a name of its own, which printing shows."""
    return compressor.encode(key, message)


def _decode(key: Array, code: PyTree, reference: PyTree, *, compressor: Compressor) -> PyTree:
    divisor = 1.0 + _variance(reference, compressor=compressor)
    return stacked.scale(1.0 / divisor, compressor.decode(key, code, reference))


def _contraction(message: PyTree, *, compressor: Compressor) -> float:
    return 1.0 / (1.0 + _variance(message, compressor=compressor))


def _variance_left(message: PyTree, *, compressor: Compressor) -> float | None:
    """Divided by more than 1 it is biased."""
    return 0.0 if _variance(message, compressor=compressor) == 0 else None
