"""Arithmetic on trees of parameters, with and without the worker axis.

One set of parameters has shape [...]; stacked ones have shape [n, ...], the worker axis first. The only ways
across are `broadcast` (one to many), `weighted_sum` and `worker_mean` (many to one), `take_rows` and `put_rows`
(some of many). Each is written in the form that XLA executes in place and at memory speed: a sum over workers
is a matrix-vector product, never a reduction over the leading axis; rows are read by one gather, which devices answer
with the rows that they have and no others, and written in a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments

PyTree = Any


def add(first: PyTree, second: PyTree) -> PyTree:
    """First + second, leaf by leaf; the leaves keep the dtype of `first`."""
    arguments.like("second", second, first, "first", has_dtypes=False)
    return jax.tree.map(lambda a, b: a + b.astype(a.dtype), first, second)


def subtract(first: PyTree, second: PyTree) -> PyTree:
    """First - second, leaf by leaf."""
    arguments.like("second", second, first, "first", has_dtypes=False)
    return jax.tree.map(jnp.subtract, first, second)


def scale(factor: float | Array, tree: PyTree) -> PyTree:
    """Factor · tree; the leaves keep their dtype."""
    return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, tree)


def scale_layers(factors: Array, rows: PyTree) -> PyTree:
    """Row k of layer l times factors[k, l], and 0 where that is 0, whatever the row holds: float[k, L], [k, ...].

    Layers are leaves, in their order.
    """

    def of_layer(layer: int, leaf: Array) -> Array:
        column = factors[:, layer].astype(leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.where(column == 0, jnp.zeros((), leaf.dtype), column * leaf)

    leaves, treedef = jax.tree.flatten(rows)
    return jax.tree.unflatten(treedef, [of_layer(layer, leaf) for layer, leaf in enumerate(leaves)])


def broadcast(tree: PyTree, num_workers: int) -> PyTree:
    """One set of parameters, once for every worker: [...] -> [n, ...]."""
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    arguments.arrays("tree", tree)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_workers, *jnp.shape(leaf))), tree)


def weighted_sum(weights: Array, rows: PyTree, *, num_axes: int = 1) -> PyTree:
    """Σ_k weights[..., k] · rows[k]: [k, ...] -> [...], at the full precision of the leaves.

    Axes of `weights` before its last make as many sums at once, and become the first axes of the leaves. With
    `num_axes` = 2, rows are [s, k, ...] and the sum is over both.
    """
    return jax.tree.map(
        lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, num_axes, precision=lax.Precision.HIGHEST), rows
    )


def weighted_sums(weights: Array, rows: PyTree) -> PyTree:
    """Σ_s weights[s, k] · rows[s, k]: [s, k] and [s, k, ...] -> [k, ...], for each worker its own sum over slots.

    Slot by slot in one pass: s is a small number of slots, never that of the workers.
    """

    def of_leaf(leaf: Array) -> Array:
        factors = weights.astype(leaf.dtype).reshape(*weights.shape, *[1] * (leaf.ndim - 2))
        total = factors[0] * leaf[0]
        for slot in range(1, leaf.shape[0]):
            total = total + factors[slot] * leaf[slot]
        return total

    return jax.tree.map(of_leaf, rows)


def worker_mean(rows: PyTree) -> PyTree:
    """The mean over workers: [n, ...] -> [...]."""
    n = num_rows(rows)
    return weighted_sum(jnp.full(n, 1.0 / n), rows)


def take_rows(rows: PyTree, indices: Array | None) -> PyTree:
    """rows[indices]: [r, ...] and int32[k] -> [k, ...]. A row out of range is NaN, never a neighbour; None is all."""
    if indices is None:
        return rows
    return jax.tree.map(lambda leaf: _take(leaf, indices), rows)


def take_row(rows: PyTree, index: Array) -> PyTree:
    """rows[index]: [r, ...] and int32[] -> [...]. A row out of range is NaN (0 for integers)."""
    return jax.tree.map(lambda leaf: _take(leaf, index), rows)


def take_column(rows: PyTree, index: int) -> PyTree:
    """rows[:, index]: one worker's part of every slot, [s, k, ...] -> [s, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, index], rows)


def put_rows(rows: PyTree, indices: Array | None, new_rows: PyTree) -> PyTree:
    """Rows with `new_rows` [k, ...] at `indices` int32[k] (distinct, in range; None: all), in place under donation."""
    if indices is None:
        return new_rows

    def put(position: Array, tree: PyTree) -> PyTree:
        return put_row(tree, indices[position], jax.tree.map(lambda leaf: leaf[position], new_rows))

    if indices.shape[0] == 1:
        return put_row(rows, indices[0], first(new_rows))
    return lax.fori_loop(0, indices.shape[0], put, rows)


def put_row(rows: PyTree, index: Array, row: PyTree) -> PyTree:
    """Rows with `row` [...] at `index` int32[]."""
    return jax.tree.map(
        lambda leaf, new: lax.dynamic_update_index_in_dim(leaf, new.astype(leaf.dtype), index, 0), rows, row
    )


def where_rows(is_first: Array, first: PyTree, second: PyTree) -> PyTree:
    """Row by row, `first` [k, ...] where `is_first` bool[k], else `second` [k, ...]."""
    return jax.tree.map(lambda a, b: jnp.where(is_first.reshape(-1, *[1] * (a.ndim - 1)), a, b), first, second)


def concatenate(first: PyTree, second: PyTree) -> PyTree:
    """Rows of `first` [k, ...], then those of `second` [l, ...]: -> [k + l, ...]."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)


def split(rows: PyTree, number: int) -> tuple[PyTree, PyTree]:
    """The first `number` rows, and the others: [k, ...] -> [number, ...], [k - number, ...]."""
    return jax.tree.map(lambda leaf: leaf[:number], rows), jax.tree.map(lambda leaf: leaf[number:], rows)


def first(rows: PyTree) -> PyTree:
    """rows[0]: the one row of a stack of one, [1, ...] -> [...]."""
    return jax.tree.map(lambda leaf: leaf[0], rows)


def num_rows(rows: PyTree) -> int:
    """How many rows the leaves have."""
    leaves = jax.tree.leaves(rows)
    if not leaves or not jnp.ndim(leaves[0]):
        raise ValueError(f"rows = {arguments.describe(rows)}; it must have leaves of shape [k, ...]")
    return int(jnp.shape(leaves[0])[0])


def worker_keys(key: Array, workers: Array) -> Array:
    """One key for each worker: a function of (key, worker) alone. key[] and int32[k] -> key[k]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, workers)


def vdot(first: PyTree, second: PyTree) -> Array:
    """⟨first, second⟩ over all leaves."""
    arguments.like("second", second, first, "first", has_dtypes=False)
    products = jax.tree.map(lambda a, b: jnp.vdot(a, b, precision=lax.Precision.HIGHEST), first, second)
    return _total(jax.tree.leaves(products))


def norm_sq(tree: PyTree) -> Array:
    """‖tree‖² over all leaves: [...] -> []."""
    return vdot(tree, tree)


def norms_sq(rows: PyTree) -> Array:
    """‖row‖² of every row: [k, ...] -> [k]."""

    def of_leaf(leaf: Array) -> Array:
        flat = leaf.reshape(leaf.shape[0], -1)
        return jnp.einsum("kd,kd->k", flat, flat, precision=lax.Precision.HIGHEST)

    return _total([of_leaf(leaf) for leaf in jax.tree.leaves(rows)])


def gram(rows: PyTree) -> Array:
    """⟨row, row'⟩ of every two rows: [k, ...] -> [k, k]."""

    def of_leaf(leaf: Array) -> Array:
        flat = leaf.reshape(leaf.shape[0], -1)
        return jnp.matmul(flat, flat.T, precision=lax.Precision.HIGHEST)

    return _total([of_leaf(leaf) for leaf in jax.tree.leaves(rows)])


def distances_sq(rows: PyTree, params: PyTree) -> Array:
    """‖row - params‖² of every row: [k, ...] and [...] -> [k]."""
    return norms_sq(jax.tree.map(lambda leaf, one: leaf - one[None], rows, params))


def init_optimizers(optimizer: optax.GradientTransformation, local_params: PyTree) -> PyTree:
    """One optimiser state for each worker, the worker axis first: [n, ...] -> [n, ...]."""
    return jax.vmap(optimizer.init)(local_params)


def update_optimizers(
    optimizer: optax.GradientTransformation, grads: PyTree, opt_states: PyTree, params: PyTree
) -> tuple[PyTree, PyTree]:
    """Gradients [n, ...] -> updates [n, ...] (added to parameters; -α g for plain SGD), worker by worker."""
    return jax.vmap(optimizer.update)(grads, opt_states, params)


def update_one_optimizer(
    optimizer: optax.GradientTransformation, grads: PyTree, weights: Array, opt_state: PyTree, params: PyTree
) -> tuple[PyTree, PyTree, PyTree, PyTree]:
    """One optimiser that acts on a weighted sum of gradients: [k, ...], float[k], and its state and parameters [...].

    Returns:
        update [...], what it makes of Σ w g; its new state; updates [k, ...], what it would make of each g^i alone; and
        shift [...], update - Σ w updates: 0 for SGD where weights sum to 1, with or without momentum.
    """
    update, new_state = optimizer.update(weighted_sum(weights, grads), opt_state, params)
    updates = jax.vmap(lambda grad: optimizer.update(grad, opt_state, params)[0])(grads)
    return update, new_state, updates, subtract(update, weighted_sum(weights, updates))


def map_rows(function: Callable[..., PyTree], *rows: PyTree, in_turn: bool) -> PyTree:
    """`function` on every row: one after the other, or all at once by `vmap`."""
    if in_turn:
        return lax.map(lambda row: function(*row), rows)
    return jax.vmap(function)(*rows)


def num_elements(params: PyTree) -> int:
    """d: how many numbers one set of parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def num_bytes(tree: PyTree) -> int:
    """How many bytes the leaves hold (typed keys by their key data)."""

    def of_leaf(leaf: Any) -> int:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return int(leaf.size * leaf.dtype.itemsize)

    return sum(of_leaf(leaf) for leaf in jax.tree.leaves(tree))


def _take(leaf: Array, indices: Array) -> Array:
    outside = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else 0
    places = jnp.where(indices < 0, leaf.shape[0], indices)  # negative ones would count from the end
    return leaf.at[places].get(mode="fill", fill_value=outside)


def _total(parts: list[Array]) -> Array:
    """The sum of scalars or rows over leaves, which may differ in dtype."""
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*parts)
    total = parts[0].astype(dtype)
    for part in parts[1:]:
        total = total + part.astype(dtype)
    return total
