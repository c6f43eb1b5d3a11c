"""Shares that are drawn anew in each round."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments, stacked
from elastic_jax.shares.shares import Shares
from elastic_jax.topologies.exchange import by_product

PyTree = Any


def random_peers(num_workers: int) -> Shares:
    """Each pushes half to another worker, uniform over all others: one may hear from many, or from nobody.

    Source: Kempe, Dobra, Gehrke, Gossip-Based Computation of Aggregate Information, FOCS 2003, uniform gossip; there a
    worker may draw itself.
    """
    n = arguments.integer("num_workers", num_workers, low=1)
    return Shares(
        partial(_push, num_workers=n),
        partial(_matrix, num_workers=n),
        partial(_num_messages, num_workers=n),
        n,
    )


def _to_others(key: Array, num_workers: int) -> Array:
    """float[n receiver, n sender]: half to whom each has drawn; nothing where there is nobody else."""
    own = jnp.arange(num_workers, dtype=jnp.int32)
    if num_workers == 1:
        return jnp.zeros((1, 1))
    receivers = (own + jax.random.randint(key, (num_workers,), 1, num_workers, jnp.int32)) % num_workers
    return jnp.where(own[:, None] == receivers[None, :], 0.5, 0.0)


def _kept_share(num_workers: int) -> float:
    return 0.5 if num_workers > 1 else 1.0


def _push(key: Array, num_rounds: Array, rows: PyTree, *, num_workers: int) -> tuple[PyTree, PyTree]:
    del num_rounds
    others = _to_others(key, num_workers)
    sent = jax.tree.map(lambda leaf: by_product(leaf, others.astype(leaf.dtype)), rows)
    return stacked.scale(_kept_share(num_workers), rows), sent


def _matrix(key: Array, num_rounds: Array, *, num_workers: int) -> Array:
    del num_rounds
    return _to_others(key, num_workers) + _kept_share(num_workers) * jnp.eye(num_workers)


def _num_messages(key: Array, num_rounds: Array, *, num_workers: int) -> Array:
    del key, num_rounds
    return jnp.full(num_workers, min(1, num_workers - 1), jnp.int32)
