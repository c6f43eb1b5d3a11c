"""Compressors: a message in, a cheaper message out, with the factor it keeps and the bits it costs.

A compressor C is a pair `encode`, `decode`. `encode(key, message)` makes the code that is sent;
`decode(key, code, reference)` rebuilds a message from it. The receiver knows the key (shared randomness is a seed)
and a `reference` of the message's shape: norm-based compressors read only its shape, distance-based ones (`lattice`)
its values, which must be near the message: `Compressor.nearness` says how near.

δ, the contraction factor, is what is *kept*: E‖C(w) - w‖² <= (1 - δ) ‖w‖². The elastic consistency paper's γ is what
is lost, γ = 1 - δ (`residual_fraction`). ω, the variance factor of an unbiased compressor: E‖C(w) - w‖² <= ω ‖w‖².
κ, the norm factor: E‖C(w)‖² <= κ² ‖w‖² (`norm_factor`), which follows from the others. All are functions of the
message, since they depend on its shapes. `bits` is an exact integer formula.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from jax import Array

from elastic_jax import arguments, stacked
from elastic_jax.compressors.compressor import Compressor as Compressor
from elastic_jax.compressors.compressor import Nearness as Nearness
from elastic_jax.compressors.compressor import check_decodes_alone
from elastic_jax.compressors.contracted import contracted as contracted
from elastic_jax.compressors.lattice import lattice as lattice
from elastic_jax.compressors.powers import powers_of_two as powers_of_two
from elastic_jax.compressors.quantizers import qsgd as qsgd
from elastic_jax.compressors.quantizers import terngrad as terngrad
from elastic_jax.compressors.scopes import constant, decode_whole, sizes
from elastic_jax.compressors.selection import LARGE
from elastic_jax.compressors.signs import scaled_sign as scaled_sign
from elastic_jax.compressors.signs import sign_l2 as sign_l2
from elastic_jax.compressors.signs import two_means as two_means
from elastic_jax.compressors.sparsifiers import random_k as random_k
from elastic_jax.compressors.sparsifiers import top_k as top_k

PyTree = Any


def compress(compressor: Compressor, key: Array, message: PyTree) -> PyTree:
    """C(message): [...] -> [...]."""
    return compressor.decode(key, compressor.encode(key, message), message)


def compress_rows(compressor: Compressor, keys: Array, messages: PyTree) -> PyTree:
    """C(message) for every worker: key[k] and [k, ...] -> [k, ...].

    Large messages are compressed one after the other: a batched selection scatters, and runs out of cache.
    """
    num_elements = stacked.num_elements(messages) // stacked.num_rows(messages)
    return stacked.map_rows(partial(compress, compressor), keys, messages, in_turn=num_elements > LARGE)


def residual_fraction(compressor: Compressor, message: PyTree) -> float | None:
    """γ = 1 - δ: the fraction of ‖message‖² that may be lost, as the elastic consistency paper writes it."""
    kept = compressor.contraction_factor(message)
    return None if kept is None else 1.0 - kept


def norm_factor(compressor: Compressor, message: PyTree) -> float | None:
    """κ with E‖C(message)‖² <= κ² ‖message‖²: the smallest that the declared factors prove, None if they prove none.

    1 if C never lengthens; √(1 + ω) if it is unbiased; 1 + √γ if it is a contraction, by the triangle inequality.
    """
    variance, lost = compressor.variance_factor(message), residual_fraction(compressor, message)
    known = [1.0] if compressor.is_shrinking else []
    known += [] if variance is None else [math.sqrt(1.0 + variance)]
    known += [] if lost is None else [1.0 + math.sqrt(lost)]
    return min(known, default=None)


def identity() -> Compressor:
    """Sends everything: C(w) = w, δ = 1, ω = 0, one full-precision number an element."""
    return Compressor(
        encode=_encode_identity,
        decode=decode_whole,
        bits=_bits_dense,
        contraction_factor=partial(constant, value=1.0),
        variance_factor=partial(constant, value=0.0),
        is_pathwise=True,
        is_shrinking=True,
    )


def check(compressor: Compressor | None, *, name: str = "compressor", has_reference: bool = False) -> Compressor:
    """`compressor`, or the identity for None; an error for what is none, or asks more of receivers than they have.

    Args:
        compressor: what a variant was given.
        name: of the argument.
        has_reference: whether receivers have parameters of their own near the message, as those have who exchange
            parameters; receivers of updates have none.
    """
    if compressor is None:
        return identity()
    found = arguments.instance(name, compressor, Compressor, "e.g. compressors.top_k(0.01)")
    return found if has_reference else check_decodes_alone(name, found)


def _encode_identity(key: Array, message: PyTree) -> PyTree:
    del key
    return message


def _bits_dense(message: PyTree) -> int:
    return sum(size * width for size, width in sizes(message, whole=False))
