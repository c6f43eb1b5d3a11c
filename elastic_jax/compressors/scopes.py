"""From a compressor of one vector to one of a tree: applied to each leaf, or to the whole model as one vector."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from elastic_jax import arguments
from elastic_jax.compressors.compressor import Compressor

PyTree = Any
SCOPES = ("leaf", "model")


def scoped(
    scope: str,
    *,
    compress: Callable[[Array, Array], Array],
    bits: Callable[[int, int], int],
    contraction: Callable[[int], float | None],
    variance: Callable[[int], float | None],
    is_pathwise: bool,
    is_shrinking: bool,
) -> Compressor:
    """The compressor that applies `compress` to each leaf, or to all leaves as one vector.

    Args:
        scope: "leaf" or "model".
        compress: of one vector, (key, [d]) -> [d].
        bits: of one vector, (d, bits of a number) -> bits.
        contraction: d -> δ of one vector; None if it is no contraction.
        variance: d -> ω of one vector; None if it is biased.
        is_pathwise: as in `Compressor`.
        is_shrinking: as in `Compressor`.
    """
    arguments.one_of("scope", scope, SCOPES)
    whole = scope == "model"
    return Compressor(
        encode=partial(_encode_model if whole else _encode_leaves, compress=compress),
        decode=decode_whole,
        bits=partial(_bits, bits=bits, whole=whole),
        contraction_factor=partial(_worst, factor=contraction, whole=whole, worst=min),
        variance_factor=partial(_worst, factor=variance, whole=whole, worst=max),
        is_pathwise=is_pathwise,
        is_shrinking=is_shrinking,
    )


def decode_whole(key: Array, code: PyTree, reference: PyTree) -> PyTree:
    """The code itself, where it is the rebuilt message already."""
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


def sizes(message: PyTree, whole: bool) -> list[tuple[int, int]]:
    """(number of entries, bits of a number) of everything that is compressed as one vector."""
    leaves = jax.tree.leaves(message)
    width = [(leaf.size, 8 * leaf.dtype.itemsize) for leaf in leaves]
    return [(sum(size for size, _ in width), max(bits for _, bits in width))] if whole else width


def _bits(message: PyTree, *, bits: Callable[[int, int], int], whole: bool) -> int:
    return sum(bits(size, width) for size, width in sizes(message, whole))


def _worst(
    message: PyTree, *, factor: Callable[[int], float | None], whole: bool, worst: Callable[[list[float]], float]
) -> float | None:
    factors = [factor(size) for size, _ in sizes(message, whole)]
    known = [value for value in factors if value is not None]
    return worst(known) if len(known) == len(factors) else None


def constant(message: Any, *, value: float | None) -> float | None:
    """A factor that depends on no shape."""
    del message
    return value


def contraction_of_unbiased(variance: float) -> float | None:
    """δ = 1 - ω of an unbiased compressor, which is a contraction only if ω < 1."""
    return 1.0 - variance if variance < 1 else None


def wide(vector: Array) -> Array:
    """`vector` with at least the precision of float32: half precision holds neither a sum nor a probability."""
    return vector.astype(jnp.float32) if vector.dtype.itemsize < 4 else vector
