"""One network, many splits of its examples: one compiled program serves them all.

Shards of all splits are padded to one length, so that a run on another split is one with other data. A seed is a split
of its own, with coins of its own. What is measured at x does not depend on the split: the loss on all examples alike,
and on held-out ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from elastic_jax import base, convolutions, data, metrics, run, stacked
from elastic_jax.problems import cnn
from experiments import elastic_scheduler

IID = np.inf
"""The α of a Dirichlet split whose shards are alike."""


PARAMS = "params"
"""float[d]: x in the end."""


class Network(NamedTuple):
    """A small convolutional network and its data set."""

    problem: base.Problem
    """Its own data are alike shards of all examples."""
    dataset: data.Dataset
    batch_size: int


def build(
    *,
    dataset: str,
    reduce: int,
    channels: Sequence[int],
    num_workers: int,
    batch_size: int,
    num_examples: int,
    num_test: int,
) -> Network:
    """The network on the first `num_examples` examples; images lose a factor `reduce` in both directions."""
    images = elastic_scheduler.reduced(data.load(dataset), reduce)
    images = images._replace(
        train_inputs=images.train_inputs[:num_examples],
        train_targets=images.train_targets[:num_examples],
        test_inputs=images.test_inputs[:num_test],
        test_targets=images.test_targets[:num_test],
    )
    problem = cnn.build(num_workers=num_workers, dataset=images, batch_size=batch_size, channels=channels)
    return Network(problem, images, batch_size)


def splits(network: Network, alphas: Sequence[float], *, num_seeds: int, seed: int) -> dict[float, list[base.Shards]]:
    """{α: the shards of each seed}, all padded to one length by repeating them from their beginning."""
    found = {alpha: [_split(network, alpha, seed + number) for number in range(num_seeds)] for alpha in alphas}
    longest = max(int(shards.sizes.max()) for some in found.values() for shards in some)
    return {alpha: [padded(shards, longest) for shards in some] for alpha, some in found.items()}


def _split(network: Network, alpha: float, seed: int) -> base.Shards:
    targets = np.asarray(network.dataset.train_targets, np.int32)
    return data.shard(
        (network.dataset.train_inputs, targets),
        num_workers=network.problem.num_workers,
        split="iid" if alpha == IID else "dirichlet",
        labels=targets,
        alpha=None if alpha == IID else alpha,
        seed=seed,
        min_size=network.batch_size,
    )


def padded(shards: base.Shards, length: int) -> base.Shards:
    """Leaves [n, length, ...], each row its shard again and again; `length` >= all sizes."""
    sizes = np.asarray(shards.sizes)[:, None]
    places = np.arange(length) % sizes
    rows = np.arange(len(sizes))[:, None]
    return shards._replace(examples=jax.tree.map(lambda leaf: leaf[rows, places], shards.examples))


def train(
    network: Network,
    algorithm: base.Algorithm,
    shards: base.Shards,
    measured: Mapping[str, metrics.Metric],
    *,
    num_steps: int,
    seed: int,
    number: int,
) -> dict[str, np.ndarray]:
    """One seed, `number`, on its shards: {metric: float64[m, ...]}, of a tree by the names of its leaves, and `PARAMS`.

    A program is compiled once for one `algorithm` and one `measured`: give the same objects again.
    """
    result = run.run(
        algorithm,
        network.problem.init(jax.random.key(seed)),
        shards,
        num_steps=num_steps,
        key=run.seed_key(jax.random.key(seed + 1), number),
        metrics=measured,
        progress=False,
    )
    found: dict[str, np.ndarray] = {}
    for name, (_, values) in result.history.items():
        leaves = values.items() if isinstance(values, dict) else [(name, values)]
        found |= {leaf: np.asarray(value, np.float64) for leaf, value in leaves}
    return {**found, PARAMS: np.asarray(ravel_pytree(result.params)[0])}


def train_and_judge(network: Network, *given: Any, **named: Any) -> dict[str, np.ndarray]:
    """`train`, with `views` among what is measured, and `judged` in the place of the views."""
    found = train(network, *given, **named)
    return {**{name: values for name, values in found.items() if name != "views"}, **judged(network, found)}


def copies_sent(every: int) -> metrics.Metric:
    """float[]: bits that all workers have sent in the steps 0, ..., t, over those of all parameters."""
    return metrics.metric(metrics.Total(_copies_sent), every)


def sent_by_each(every: int, *, num_workers: int) -> metrics.Metric:
    """float32[n]: the same of each worker, exactly where whole copies are sent."""
    return metrics.metric(metrics.Running(partial(jnp.zeros, num_workers, jnp.float32), _sent_by_each), every)


def _copies_sent(moment: metrics.Moment) -> Array:
    return moment.info.bits_sent / (8.0 * stacked.num_bytes(moment.params))


def _sent_by_each(carried: Array, moment: metrics.Moment) -> Array:
    return carried.at[moment.info.workers].add(_copies_sent(moment), mode="drop")


def views(every: int) -> metrics.Metric:
    """float[k, d]: where each active worker is, one vector each."""
    return metrics.metric(_views, every)


def _views(moment: metrics.Moment) -> Array:
    return jax.vmap(_as_vector)(moment.info.views)


def _as_vector(params: base.Params) -> Array:
    return ravel_pytree(params)[0]


def judged(network: Network, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{train_loss, test_loss, test_accuracy: float[]} at x; of_workers: float[k], the accuracy at the last views.

    The training loss is that of all examples alike, whoever has them. All runs share what is compiled for this.
    """
    problem = network.problem
    params = _params(network, found[PARAMS])
    held_out = {name: np.asarray(value, np.float64) for name, value in problem.evaluate(params).items()}
    of_workers = [float(problem.evaluate(_params(network, row))["test_accuracy"]) for row in found["views"][-1]]
    train_loss = np.asarray(problem.objective(params, problem.data), np.float64)
    return {"train_loss": train_loss, **held_out, "of_workers": np.array(of_workers)}


def _params(network: Network, vector: np.ndarray) -> base.Params:
    example, unravel = ravel_pytree(network.problem.init(jax.random.key(0)))
    params: base.Params = unravel(jnp.asarray(vector, example.dtype))
    return params


def dissimilarity(network: Network, vector: np.ndarray, shards: base.Shards) -> np.ndarray:
    """float64[2], gradient units squared: (1/n) Σ_i ‖∇f_i - ∇f‖² and ‖∇f‖² at `vector`, one of `PARAMS`."""
    params, objective = _params(network, vector), network.problem.objective
    rows = np.stack(
        [
            _gradient(params, _of_one(shards, worker), objective=objective)
            for worker in range(network.problem.num_workers)
        ]
    )
    mean = rows.mean(axis=0, dtype=np.float64)
    return np.array([((rows - mean) ** 2).sum(axis=1).mean(), (mean**2).sum()])


def _of_one(shards: base.Shards, worker: int) -> base.Shards:
    return jax.tree.map(lambda leaf: leaf[worker : worker + 1], shards)


@partial(jax.jit, static_argnames="objective")
def _gradient(params: base.Params, shards: base.Shards, *, objective: Callable[..., Array]) -> Array:
    return _as_vector(convolutions.canonicalize(jax.grad(objective))(params, shards))
