"""How a stack of k one-worker evaluations is carried out.

    vmap        all at once; the fastest for everything but convolutions
    unrolled    one after the other in one straight program; in groups of a few workers (`chunk`) the fastest for
                heavy models on the CPU, but its compile time grows with the group
    map         one after the other in a loop; flat compile time, and the memory of one worker
    pmap        spread over the local devices by `jax.pmap` where their number divides k; "auto" on each

On the CPU convolutions are rewritten after the mapping (see `convolutions`), so that none is left grouped,
nor in an order that is slow inside loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params

from elastic_jax import convolutions
from elastic_jax.base import PyTree

STRATEGIES = ("auto", "vmap", "unrolled", "map", "pmap")

GROUPS = (4, 2)
"""Workers that "auto" evaluates side by side in a straight program, group after group, where one device of a CPU has
heavy models: a loop keeps the temporaries in the cache, and within a group all cores are busy. On two cores a small CNN
took 1.0 to 1.15 of the ideal loop with 8 and 32 workers and 1.1 to 1.33 with 4, where one by one took 1.4, and all of
them at once 1.1 to 1.5."""
UNROLLED_EQUATIONS = 2000
"""Equations, all of a group together, up to which "auto" unrolls: about ten seconds of compilation."""
CACHE_BYTES = 32 * 2**20
"""Bytes of one intermediate of all workers beyond which "auto" goes through them in turn: a usual last-level
cache, and the size from which the C library serves every temporary by fresh pages."""

DEEP_MATRIX_PRODUCTS = 32
"""Matrix products from which a model is heavy: a transformer's products fill a core one worker at a time, and on one of
several devices 0.8 to 1 of the ideal was measured where vmap gave 1.2. A perceptron with its gradient has about 8, and
is faster with vmap."""


class Resolved(NamedTuple):
    """A strategy of which nothing is left to decide."""

    mapping: str
    """"vmap", "unrolled" or "map"."""
    rewrites_convolutions: bool
    chunk: int | None
    """Workers in a group; None: all at once, or with "map" one at a time."""


def resolve(
    function: Callable[..., Any],
    rows: tuple[PyTree, ...],
    *,
    strategy: str,
    chunk: int | None,
    is_spread: bool,
) -> Resolved:
    """Decide how to map; only shapes matter, so this happens while tracing.

    Alone, a worker needs no mapping. Off the CPU the answer is vmap. On the CPU a heavy model, one with
    convolutions or many matrix products, goes through its workers in small unrolled groups where it has its device
    for itself, and one by one on one of several devices, or where unrolling would compile for long. Any other is
    vmapped, unless it multiplies matrices and its activations (what is larger than the parameters) outgrow the cache.
    Elementwise work of any size stays with vmap, measured 1.6 to 1.9 times faster than a loop.

    Args:
        function: of one worker, already differentiated.
        rows: its arguments for k workers, leaves [k, ...].
        strategy: one of `STRATEGIES`.
        chunk: workers in a group, or None.
        is_spread: whether this is one of several devices that do the same.
    """
    k = jax.tree.leaves(rows)[0].shape[0]
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), rows)
    on_cpu = jax.default_backend() == "cpu"
    has_convolution = on_cpu and convolutions.has_convolution(function, *one)
    if strategy not in ("auto", "pmap"):
        return Resolved(strategy, has_convolution, None if strategy == "map" else chunk)
    together = min(k, chunk or k)
    if together == 1:
        return Resolved("unrolled" if k == 1 else "map", has_convolution, None)
    if not on_cpu:
        return Resolved("vmap", False, chunk)
    if has_convolution or _num_matrix_products(function, one) >= DEEP_MATRIX_PRODUCTS:
        group = None if is_spread else _group(k, together, convolutions.count_equations(function, *one))
        return Resolved("map" if group is None else "unrolled", has_convolution, group)
    if together * _activation_bytes(function, one) > CACHE_BYTES:
        return Resolved("map", False, None)
    return Resolved("vmap", False, chunk)


def _group(k: int, most: int, num_equations: int) -> int | None:
    """How many of k workers to unroll at a time, two groups at least from 4 on; None where all would be too many."""
    sizes = [size for size in GROUPS if 2 * size <= k] or [k]
    fitting = (size for size in sizes if size <= most and size * num_equations <= UNROLLED_EQUATIONS)
    return next(fitting, None)


def evaluate(
    function: Callable[..., Any],
    rows: tuple[PyTree, ...],
    *,
    strategy: str,
    chunk: int | None,
    is_spread: bool,
) -> Any:
    """`function(*row)` of every row, leaves [k, ...] -> leaves [k, ...]; arguments as of `resolve`."""
    chosen = resolve(function, rows, strategy=strategy, chunk=chunk, is_spread=is_spread)
    mapped: Callable[..., Any] = partial(_MAPPINGS[chosen.mapping], function)
    if chosen.chunk is not None:
        mapped = partial(_in_groups, mapped, chosen.chunk)
    if chosen.rewrites_convolutions:
        # if the caller vmaps in turn, over seeds, that must not bring grouped convolutions back
        mapped = jax.custom_batching.sequential_vmap(convolutions.canonicalize(mapped))
    return mapped(*rows)


def pmap(evaluate: Callable[..., Any], rows: tuple[PyTree, ...], num_devices: int) -> Any:
    """`evaluate(rows)`, each device its part of the rows: leaves [k, ...] -> leaves [k, ...]."""
    parts = jax.tree.map(lambda leaf: leaf.reshape(num_devices, -1, *leaf.shape[1:]), rows)
    return _merge(jax.pmap(evaluate)(parts))


def num_pmap_devices(k: int) -> int:
    """All local devices, or 1 where k workers cannot be spread over them evenly.

    Raises:
        ValueError: where several processes share the work, which pmap cannot.
    """
    if jax.process_count() > 1:
        raise ValueError('strategy = "pmap" spreads workers over the devices of one process; of several, give mesh=')
    num_devices = jax.local_device_count()
    return num_devices if k % num_devices == 0 else 1


def _vmap(function: Callable[..., Any], *rows: PyTree) -> Any:
    return jax.vmap(function)(*rows)


def _unrolled(function: Callable[..., Any], *rows: PyTree) -> Any:
    k = jax.tree.leaves(rows)[0].shape[0]
    results = [function(*jax.tree.map(lambda leaf, i=i: leaf[i], rows)) for i in range(k)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def _map(function: Callable[..., Any], *rows: PyTree) -> Any:
    return lax.map(lambda row: function(*row), rows)


_MAPPINGS = {"vmap": _vmap, "unrolled": _unrolled, "map": _map}


def _in_groups(mapped: Callable[..., Any], chunk: int, /, *rows: PyTree) -> Any:
    """`mapped(*rows)` on `chunk` rows at a time, and on the rest."""
    k = jax.tree.leaves(rows)[0].shape[0]
    if k <= chunk:
        return mapped(*rows)
    whole = k - k % chunk
    groups = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, chunk, *leaf.shape[1:]), rows)
    results = _merge(lax.map(lambda group: mapped(*group), groups))
    if whole == k:
        return results
    rest = mapped(*jax.tree.map(lambda leaf: leaf[whole:], rows))
    return jax.tree.map(lambda first, last: jnp.concatenate([first, last]), results, rest)


def _merge(tree: PyTree) -> PyTree:
    """[groups, rows, ...] -> [groups * rows, ...]."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)


def _activation_bytes(function: Callable[..., Any], one: tuple[PyTree, ...]) -> int:
    """Largest intermediate of one worker if it multiplies matrices and outgrows the parameters; else 0."""
    equations = list(_equations(jax.make_jaxpr(function)(*one).jaxpr))
    if not any(equation.primitive is lax.dot_general_p for equation in equations):
        return 0
    shapes = [out.aval for equation in equations for out in equation.outvars if hasattr(out.aval, "shape")]
    largest = max(map(_num_bytes, shapes))
    return largest if largest > sum(map(_num_bytes, jax.tree.leaves(one[0]))) else 0


def _num_matrix_products(function: Callable[..., Any], one: tuple[PyTree, ...]) -> int:
    equations = _equations(jax.make_jaxpr(function)(*one).jaxpr)
    return sum(equation.primitive is lax.dot_general_p for equation in equations)


def _num_bytes(shape: Any) -> int:
    return int(shape.size * shape.dtype.itemsize)


def _equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _equations(inner)
