"""What each worker computes its gradient on: a mini-batch of its own shard, or its row of the data.

Only the rows of the batch are read, never a whole shard, and where the data is split over devices none is
moved when all workers are active.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments
from elastic_jax.base import PyTree, Shards


def draw(
    keys: Array, data: PyTree, workers: Array | None, *, batch_size: int | None, takes_key: bool
) -> tuple[PyTree, ...]:
    """The arguments of k workers that follow their parameters.

    Args:
        keys: key[k], one for each worker.
        data: leaves [n, ...]; a `base.Shards` if there is a batch size.
        workers: int32[k], the workers' numbers. None, and also k = n: all workers in order.
        batch_size: examples in a mini-batch, or None for the worker's row.
        takes_key: whether the function is to be given a key.

    Returns:
        (batches,) or (batches, keys), all with leading axis k.
    """
    if workers is not None and workers.shape[0] == count_workers(data):
        workers = None
    if batch_size is None:
        batches = data if workers is None else jax.tree.map(lambda leaf: _rows(leaf, workers), data)
        return (batches, keys) if takes_key else (batches,)
    shards = _check_shards(data, batch_size)
    key_pairs = jax.vmap(jax.random.split)(keys) if takes_key else None
    keys_batch = keys if key_pairs is None else key_pairs[:, 0]
    sizes = shards.sizes if workers is None else _rows(shards.sizes, workers)
    chosen = jax.vmap(lambda key, size: jax.random.randint(key, (batch_size,), 0, size, dtype=jnp.int32))(
        keys_batch, sizes
    )
    batches = jax.tree.map(lambda leaf: _examples(leaf, workers, chosen), shards.examples)
    return (batches,) if key_pairs is None else (batches, key_pairs[:, 1])


def check(data: PyTree, *, batch_size: int | None, num_workers: int) -> None:
    """Raise unless `data` has rows, or shards, for `num_workers` workers; without leaves it is not looked at."""
    found = count_workers(data)
    if found not in (None, num_workers):
        raise ValueError(
            f"data = {arguments.describe(data)} is for {found} workers; it must be for num_workers = {num_workers}, "
            "every leaf [num_workers, ...]"
        )
    if batch_size is not None:
        _check_shards(data, batch_size)


def count_workers(data: PyTree) -> int | None:
    """n, the rows that all leaves have; None if there are no leaves.

    Raises:
        ValueError: where leaves differ in their number of rows, or have none.
    """
    rows = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(arguments.arrays("data", data))}
    if len(rows) > 1 or () in rows:
        shapes = jax.tree.map(jnp.shape, data)
        raise ValueError(f"data has leaves of shapes {shapes}; every leaf must have the worker axis first, [n, ...]")
    return rows.pop()[0] if rows else None


def _rows(leaf: Array, workers: Array) -> Array:
    """leaf[workers]; a worker out of range reads NaN."""
    return leaf.at[workers].get(mode="fill")


def _examples(leaf: Array, workers: Array | None, chosen: Array) -> Array:
    """leaf[worker, chosen[worker]]: [n, m, ...] and int32[k, b] -> [k, b, ...]."""
    if workers is None:
        # as one gather of each worker's own row, which needs no communication where rows are on different
        # devices
        return jax.vmap(lambda row, index: row.at[index].get(mode="promise_in_bounds"))(leaf, chosen)
    return leaf.at[workers[:, None], chosen].get(mode="fill")


def _check_shards(data: PyTree, batch_size: int) -> Shards:
    kind = "a base.Shards: examples [n, m, ...] and sizes int32[n]"
    if not isinstance(data, Shards):  # told without the values, which may be gigabytes
        raise TypeError(f"data is a {type(data).__name__}; with a batch_size the oracle draws from {kind}")
    lengths = {jnp.shape(leaf)[1:2] for leaf in jax.tree.leaves(data.examples)}
    is_counted = jnp.ndim(data.sizes) == 1 and jnp.issubdtype(data.sizes.dtype, jnp.integer)
    if len(lengths) != 1 or () in lengths or not is_counted:
        raise ValueError(f"data = {arguments.describe(data)}; it must be {kind}, every leaf with the same m")
    longest = lengths.pop()[0]
    arguments.integer("batch_size", batch_size, low=1, high=longest)
    # under jit the sizes are not known, and of several processes none knows them all
    is_known = not isinstance(data.sizes, jax.core.Tracer) and getattr(data.sizes, "is_fully_addressable", True)
    if is_known and not isinstance(data.sizes, jax.ShapeDtypeStruct):
        sizes = np.asarray(data.sizes)
        if sizes.min() < 1 or sizes.max() > longest:
            raise ValueError(
                f"data.sizes has sizes from {sizes.min()} to {sizes.max()}; they must be in [1, {longest}]"
            )
        if batch_size > sizes.min():
            raise ValueError(
                f"batch_size = {batch_size} is larger than the smallest shard, which holds {sizes.min()} "
                f"examples; it must be an integer in [1, {sizes.min()}]"
            )
    return data
