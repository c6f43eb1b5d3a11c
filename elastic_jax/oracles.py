"""Stacked oracles: k stochastic gradients, for the workers named, at their own views.

An oracle is made from a function of *one* worker, a loss or a gradient, and from the way in which that worker
draws its batch:

    batch = sample(key, data, worker)           a mini-batch of the worker's own shard, or all it was given
    loss, grad = value_and_grad(params, batch)  one worker, no worker axis

How the stack is then evaluated never shows in an algorithm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax.base import Oracle, PyTree, Shards


def from_loss(
    loss: Callable[..., Array],
    *,
    batch_size: int | None = None,
    takes_key: bool = False,
) -> Oracle:
    value_and_grad = jax.value_and_grad(loss)
    return partial(_evaluate, value_and_grad=value_and_grad, batch_size=batch_size, takes_key=takes_key)


def _evaluate(keys, views, data, workers, *, value_and_grad, batch_size, takes_key):
    if batch_size is None:
        batches = jax.tree.map(lambda leaf: leaf[workers], data)
    else:
        idx = jax.vmap(lambda key, size: jax.random.randint(key, (batch_size,), 0, size, dtype=jnp.int32))(keys, data.sizes[workers])
        batches = jax.tree.map(lambda leaf: leaf[workers[:, None], idx], data.examples)
    if takes_key:
        return jax.vmap(value_and_grad)(views, batches, keys)
    return jax.vmap(value_and_grad)(views, batches)
