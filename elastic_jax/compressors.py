"""Compressors: a message in, a cheaper message out, with the factor it keeps and the bits it costs.

A compressor C is a pair `encode`, `decode`. `encode(key, message)` makes the code that is sent;
`decode(key, code, reference)` rebuilds a message from it. The receiver knows the key (shared randomness is a seed)
and a `reference` of the message's shape: norm-based compressors read only its shape, distance-based ones its values.

δ, the contraction factor, is what is *kept*: E‖C(w) - w‖² <= (1 - δ) ‖w‖². The elastic consistency paper's γ is what
is lost, γ = 1 - δ (`residual_fraction`). ω, the variance factor of an unbiased compressor: E‖C(w) - w‖² <= ω ‖w‖².
Both are functions of the message, since they depend on its shapes. `bits` is an exact integer formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from elastic_jax import arguments, stacked

PyTree = Any
SCOPES = ("leaf", "model")


class Compressor(NamedTuple):
    """A compressor; `compressors.top_k(0.01)` and its siblings make one."""

    encode: Callable[[Array, PyTree], PyTree]
    """`encode(key, message [...]) -> code`."""
    decode: Callable[[Array, PyTree, PyTree], PyTree]
    """`decode(key, code, reference [...]) -> message [...]`."""
    bits: Callable[[PyTree], int]
    """`bits(message) -> int`: size of the code, bits."""
    contraction_factor: Callable[[PyTree], float | None]
    """`contraction_factor(message) -> δ` in (0, 1]; None if it is not a contraction."""
    variance_factor: Callable[[PyTree], float | None]
    """`variance_factor(message) -> ω >= 0`; None if it is biased."""
    is_pathwise: bool
    """True if the contraction holds for every draw of the key; False if only in expectation."""


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


def identity() -> Compressor:
    """Sends everything: C(w) = w, δ = 1, ω = 0, one full-precision number an element."""
    return Compressor(
        encode=_encode_identity,
        decode=_decode_identity,
        bits=_bits_dense,
        contraction_factor=partial(_constant, value=1.0),
        variance_factor=partial(_constant, value=0.0),
        is_pathwise=True,
    )


def top_k(fraction: float, *, scope: str = "leaf") -> Compressor:
    """Keeps the k entries of largest magnitude, k = ⌈fraction · d⌉ exactly; ties go to the lowest index.

    Args:
        fraction: in (0, 1].
        scope: "leaf": k of every leaf (δ is the smallest k/d over the leaves); "model": k of the whole tree.

    Bits: k · (bits of a number + ⌈log₂ d⌉ of an index), summed over what the scope names.
    Source: Stich, Cordonnier, Jaggi, Sparsified SGD with Memory, 2018, arXiv 1809.07599, Definition 2.1.
    """
    fraction = arguments.fraction("fraction", fraction)
    return _scoped(
        scope,
        compress=partial(_top_k, fraction=fraction),
        bits=partial(_bits_indexed, fraction=fraction),
        contraction=partial(_kept_fraction, fraction=fraction),
        variance=partial(_constant, value=None),
        is_pathwise=True,
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
    return _scoped(
        scope,
        compress=partial(_random_k, fraction=fraction, is_scaled=is_scaled),
        bits=partial(_bits_seeded, fraction=fraction),
        contraction=partial(_scaled_contraction if is_scaled else _kept_fraction, fraction=fraction),
        variance=partial(_scaled_variance, fraction=fraction) if is_scaled else partial(_constant, value=None),
        is_pathwise=False,
    )


def scaled_sign(*, scope: str = "leaf") -> Compressor:
    """Sends signs and one scale: C(w) = (‖w‖₁/d) sign(w), with sign(0) = +1.

    ‖w - C(w)‖² = ‖w‖² - ‖w‖₁²/d exactly, so δ >= 1/d, attained by a message with one entry.
    Bits: d signs and one number.
    Source: Karimireddy, Rebjock, Stich, Jaggi, Error Feedback Fixes SignSGD, 2019, arXiv 1901.09847, §3.
    """
    return _scoped(
        scope,
        compress=_scaled_sign,
        bits=_bits_sign,
        contraction=_one_entry,
        variance=partial(_constant, value=None),
        is_pathwise=True,
    )


def check(compressor: Compressor | None) -> Compressor:
    """`compressor`, or the identity for None; raises `TypeError` for anything else."""
    return (
        identity()
        if compressor is None
        else arguments.instance("compressor", compressor, Compressor, "e.g. compressors.top_k(0.01)")
    )


LARGE = 50_000
"""d above which a selection is found digit by digit and workers are compressed in turn."""


def num_kept(fraction: float, size: int) -> int:
    """K = ⌈fraction · size⌉, at least 1: the number of entries a sparsifier really keeps."""
    return max(1, min(size, math.ceil(fraction * size - 1e-9)))


# How the parts above are put together: one compressor for a vector, applied to each leaf or to the whole model.


def _scoped(
    scope: str,
    *,
    compress: Callable[[Array, Array], Array],
    bits: Callable[[int, int], int],
    contraction: Callable[[int], float | None],
    variance: Callable[[int], float | None],
    is_pathwise: bool,
) -> Compressor:
    arguments.one_of("scope", scope, SCOPES)
    whole = scope == "model"
    return Compressor(
        encode=partial(_encode_model if whole else _encode_leaves, compress=compress),
        decode=_decode_identity,
        bits=partial(_bits, bits=bits, whole=whole),
        contraction_factor=partial(_worst, factor=contraction, whole=whole, worst=min),
        variance_factor=partial(_worst, factor=variance, whole=whole, worst=max),
        is_pathwise=is_pathwise,
    )


def _encode_identity(key: Array, message: PyTree) -> PyTree:
    del key
    return message


def _decode_identity(key: Array, code: PyTree, reference: PyTree) -> PyTree:
    del key, reference
    return code


def _encode_leaves(key: Array, message: PyTree, *, compress: Callable[[Array, Array], Array]) -> PyTree:
    leaves, treedef = jax.tree.flatten(message)
    keys = [key] if len(leaves) == 1 else [jax.random.fold_in(key, index) for index in range(len(leaves))]
    parts = [compress(k, leaf.reshape(-1)).reshape(leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, parts)


def _encode_model(key: Array, message: PyTree, *, compress: Callable[[Array, Array], Array]) -> PyTree:
    with jax.numpy_dtype_promotion("standard"):  # leaves may differ in dtype: the widest compresses them all
        flat, unravel = ravel_pytree(message)
    return unravel(compress(key, flat))


def _sizes(message: PyTree, whole: bool) -> list[tuple[int, int]]:
    """(number of entries, bits of a number) of everything that is compressed as one vector."""
    leaves = jax.tree.leaves(message)
    width = [(leaf.size, 8 * leaf.dtype.itemsize) for leaf in leaves]
    return [(sum(size for size, _ in width), max(bits for _, bits in width))] if whole else width


def _bits(message: PyTree, *, bits: Callable[[int, int], int], whole: bool) -> int:
    return sum(bits(size, width) for size, width in _sizes(message, whole))


def _worst(
    message: PyTree, *, factor: Callable[[int], float | None], whole: bool, worst: Callable[[list[float]], float]
) -> float | None:
    factors = [factor(size) for size, _ in _sizes(message, whole)]
    known = [value for value in factors if value is not None]
    return worst(known) if len(known) == len(factors) else None


def _constant(message: Any, *, value: float | None) -> float | None:
    del message
    return value


def _kept_fraction(size: int, *, fraction: float) -> float:
    return num_kept(fraction, size) / size


def _scaled_variance(size: int, *, fraction: float) -> float:
    return size / num_kept(fraction, size) - 1.0


def _scaled_contraction(size: int, *, fraction: float) -> float | None:
    kept = 1.0 - _scaled_variance(size, fraction=fraction)
    return kept if kept > 0 else None


def _one_entry(size: int) -> float:
    return 1.0 / size


def _bits_dense(message: PyTree) -> int:
    return sum(size * width for size, width in _sizes(message, whole=False))


def _bits_indexed(size: int, width: int, *, fraction: float) -> int:
    return num_kept(fraction, size) * (width + math.ceil(math.log2(size)) if size > 1 else width)


def _bits_seeded(size: int, width: int, *, fraction: float) -> int:
    return num_kept(fraction, size) * width + 32


def _bits_sign(size: int, width: int) -> int:
    return size + width


def _top_k(key: Array, vector: Array, *, fraction: float) -> Array:
    del key
    return jnp.where(largest(jnp.abs(vector), num_kept(fraction, vector.size)), vector, 0)


def _random_k(key: Array, vector: Array, *, fraction: float, is_scaled: bool) -> Array:
    kept = num_kept(fraction, vector.size)
    chosen = largest(jax.random.uniform(key, vector.shape, jnp.float32), kept)
    factor = vector.size / kept if is_scaled else 1.0
    return jnp.where(chosen, vector * jnp.asarray(factor, vector.dtype), 0)


def _scaled_sign(key: Array, vector: Array) -> Array:
    del key
    return jnp.mean(jnp.abs(vector)) * jnp.where(vector < 0, -1, 1).astype(vector.dtype)


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
        # both outputs of top_k are used: with the values alone XLA compiles a full sort
        _, indices = lax.top_k(magnitudes, k)
        return jnp.zeros(d, bool).at[indices].set(True)
    return _largest_by_digits(magnitudes, k)


def _largest_by_digits(magnitudes: Array, k: int) -> Array:
    """The same by radix selection: the k-th largest bit pattern, digit by digit, then the first of its ties."""
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
