"""One stacked oracle whose data decide what it is: a clock, a roll call, noisy quadratics, bounded gradients.

Since the setting is data, an algorithm is compiled once and judged in all of them. For worker i at
view v, with z uniform on [-2, 2]^d:

    g = pull_i (v - target_i) + push_i + noise_i z + unit_i z / ‖z‖ + bounded_i tanh(v - target_i) / √d
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from elastic_jax import base, oracles

NUM_WORKERS = 4
DIMENSION = 6
STEP_SIZE = 0.5
"""α: a power of two, so that the integer laws are exact; not 1, so that a forgotten α shows."""


class Setting(NamedTuple):
    """Data of the oracle, leaves with the worker axis first; d entries for each worker."""

    pull: Any
    target: Any
    push: Any
    noise: Any
    unit: Any
    bounded: Any


def params(dtype: Any = jnp.float64) -> dict[str, Array]:
    """A tree of six zeros, a matrix and a vector: [2, 2] and [2]."""
    return {"bias": jnp.zeros(2, dtype), "weight": jnp.zeros((2, 2), dtype)}


def flatten_rows(rows: Any) -> Array:
    """[k, ...] -> [k, d], in the order of `ravel_pytree`."""
    leaves = jax.tree.leaves(rows)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def flatten(tree: Any) -> Array:
    """[...] -> [d]."""
    return ravel_pytree(tree)[0]


def oracle(keys: Array, views: Any, data: Setting, workers: Array) -> tuple[Array, Any]:
    """The gradients of the module's equation."""
    k = workers.shape[0]
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], views))[1]
    flat = flatten_rows(views)
    own = jax.tree.map(lambda leaf: jnp.asarray(leaf)[workers].astype(flat.dtype), data)
    # 24 random bits are cheap to compile; they are never all the middle, so that no length is 0
    bits = jax.vmap(lambda key: jax.random.bits(key, flat.shape[1:], jnp.uint32))(keys) >> 8
    noise = (bits.astype(flat.dtype) - (2**23 - 0.5)) / 2**22
    lengths = jnp.sqrt(jnp.sum(noise**2, axis=1, keepdims=True))
    away = flat - own.target
    grads = (
        own.pull[:, None] * away
        + own.push
        + own.noise[:, None] * noise
        + own.unit[:, None] * noise / lengths
        + own.bounded[:, None] * jnp.tanh(away) / np.sqrt(flat.shape[1]).astype(flat.dtype)
    )
    losses = 0.5 * own.pull * jnp.sum(away**2, axis=1)
    assert losses.shape == (k,)
    return losses, jax.vmap(unravel)(grads)


def _setting(num_workers: int, **fields: Any) -> Setting:
    """A setting in which everything that is not given is 0."""
    scalars, vectors = np.zeros(num_workers), np.zeros((num_workers, DIMENSION))
    blank = Setting(scalars, vectors, vectors, scalars, scalars, scalars)
    full = {
        name: np.broadcast_to(np.asarray(value, float), getattr(blank, name).shape) for name, value in fields.items()
    }
    return blank._replace(**full)


def clock(num_workers: int) -> Setting:
    """Every gradient moves all parameters by +1: parameters show the time."""
    return _setting(num_workers, push=-1 / STEP_SIZE)


def roll_call(num_workers: int) -> Setting:
    """Worker i moves coordinate i by -1 and no other: parameters show who has contributed, and how often."""
    return _setting(num_workers, push=np.eye(num_workers, DIMENSION) / STEP_SIZE)


def quadratics(num_workers: int) -> Setting:
    """Different quadratics with noise: every key matters."""
    target = np.random.default_rng(0).normal(size=(num_workers, DIMENSION))
    return _setting(num_workers, pull=np.linspace(0.1, 0.4, num_workers), target=target, noise=0.3)


def bounded(num_workers: int) -> list[tuple[str, Setting, base.Constants]]:
    """Three settings of bounded gradients, with constants: pure noise, one direction, different workers."""
    draws = np.random.default_rng(1).normal(size=(num_workers, DIMENSION))
    directions = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    different = _setting(num_workers, push=directions, target=draws, bounded=1.0, unit=1.0)
    return [
        (
            "noise",
            _setting(num_workers, unit=2.0),
            base.Constants(smoothness=0.0, grad_variance=4.0, grad_second_moment=4.0, heterogeneity=0.0),
        ),
        (
            "drift",
            _setting(num_workers, push=2.0 * directions[:1]),
            base.Constants(smoothness=0.0, grad_variance=0.0, grad_second_moment=4.0, heterogeneity=0.0),
        ),
        # push and tanh add up to a norm of at most 2, to which independent noise of norm 1 adds 1 in square
        (
            "heterogeneous",
            different,
            base.Constants(smoothness=DIMENSION**-0.5, grad_variance=1.0, grad_second_moment=5.0, heterogeneity=4.0),
        ),
    ]


STRATEGIES = {
    "vmap": {"strategy": "vmap"},
    "unrolled": {"strategy": "unrolled"},
    "map": {"strategy": "map"},
    "groups of 3": {"strategy": "vmap", "chunk": 3},
}
"""Ways to evaluate a stack on one device; groups of 3 of the 4 workers leave one over."""


class Sampling(NamedTuple):
    """Data of `sampling_oracle`."""

    strategy: Any
    """int32[]: a position in `STRATEGIES`."""
    shards: base.Shards


def noisy_loss(params: dict[str, Array], batch: tuple[Array, Array], key: Array) -> Array:
    """One layer on a mini-batch, with noise on its inputs."""
    inputs, targets = batch
    noise = jax.random.uniform(key, inputs.shape, inputs.dtype)
    return jnp.mean((jnp.tanh((inputs + noise) @ params["weight"] + params["bias"][None]) - targets) ** 2)


def sampling_oracle(keys: Array, views: Any, data: Sampling, workers: Array) -> tuple[Array, Any]:
    """Mini-batches drawn with the workers' keys, evaluated as the data say: one program has all strategies."""
    branches = [
        oracles.from_loss(noisy_loss, batch_size=2, takes_key=True, **options) for options in STRATEGIES.values()
    ]
    return jax.lax.switch(data.strategy, branches, keys, views, data.shards, workers)


def sampling(num_workers: int, strategy: str, dtype: Any) -> Sampling:
    """Shards of 3 to 5 different examples, padded with NaN, which would show."""
    draws = np.random.default_rng(2).normal(size=(2, num_workers, 5, 2))
    sizes = 3 + np.arange(num_workers, dtype=np.int32) % 3
    draws[:, np.arange(5) >= sizes[:, None]] = np.nan
    inputs, targets = draws.astype(dtype)
    return Sampling(np.int32(list(STRATEGIES).index(strategy)), base.Shards((inputs, targets), sizes))
