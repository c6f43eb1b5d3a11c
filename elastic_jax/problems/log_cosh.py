"""Linear regression with the log-cosh loss: convex and smooth, with gradients bounded everywhere.

    loss(x, (a, y)) = log cosh(aᵀx - y),    ∇ = tanh(aᵀx - y) a

Certified, A_i the features of worker i, m_i their number:
    L = max_i λ_max(A_iᵀA_i) / m_i,    M² <= max_i mean_j ‖a_ij‖²,    σ² <= max_i mean_j ‖a_ij‖² / b,
    ζ² <= mean_i mean_j ‖a_ij‖²,    c = 0 (convex; strictly so where the features span the space).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments, data, oracles
from elastic_jax.base import Problem, PyTree
from elastic_jax.problems import finite_sum, logistic


def build(
    *,
    num_workers: int,
    dataset: finite_sum.Source | None = None,
    batch_size: int = 1,
    num_examples: int = 256,
    dim: int = 10,
    split: str = "iid",
    alpha: float | None = None,
    seed: int = 0,
    strategy: str = "auto",
    chunk: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Problem:
    """Linear regression with the log-cosh loss.

    Args:
        num_workers: n >= 1.
        dataset: of `data`, or a pair of arrays (inputs [m, ...], targets [m]); the targets, labels too, are what
            is regressed on. Default synthetic examples.
        batch_size: in [1, m/n], examples of a mini-batch of one worker; no split makes a shard smaller.
        num_examples: >= n, of the synthetic data.
        dim: >= 1, of the synthetic data.
        split: how `data.shard` splits the examples: "iid", "by_label" or "dirichlet" (by integer targets).
        alpha: > 0, concentration of the Dirichlet split.
        seed: of the synthetic data and of the split.
        strategy: how the oracle evaluates the workers, see `oracles.from_loss`.
        chunk: see `oracles.from_loss`.
        mesh: see `oracles.from_loss`.

    Returns:
        A problem with params [d]; x* and f* are computed where the features span the space and the data are
        no larger than `finite_sum.LARGEST_SOLVED`, else f* is the lower bound 0.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> from elastic_jax.problems import log_cosh
        >>> problem = log_cosh.build(num_workers=1, dataset=([[2.0], [2.0]], [3.0, 1.0]))
        >>> print(problem.constants.optimum, problem.constants.grad_second_moment)
        [1.] 4.0
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    found = finite_sum.examples(dataset, num_examples=num_examples, dim=dim, num_classes=0, seed=seed)
    targets = found.targets.astype(found.features.dtype)
    labels = found.targets if np.issubdtype(found.targets.dtype, np.integer) else None
    batch_size = data.check_batch_size(batch_size, len(found.features), num_workers)
    shards = data.shard(
        (found.features, targets),
        num_workers=num_workers,
        split=split,
        labels=labels,
        alpha=alpha,
        seed=seed,
        min_size=batch_size,
    )
    oracle = oracles.from_loss(loss, batch_size=batch_size, strategy=strategy, chunk=chunk, mesh=mesh)
    size = found.features.shape[1]
    spans = np.linalg.matrix_rank(found.features) == size
    optimum, value = finite_sum.minimise_if_small(loss, shards, (size,)) if spans else (None, None)
    held_out = found.held_out and (found.held_out[0], found.held_out[1].astype(found.features.dtype))
    return Problem(
        oracle=oracle,
        init=partial(finite_sum.zeros, shape=(size,)),
        data=shards,
        objective=partial(finite_sum.objective, loss=loss),
        evaluate=partial(finite_sum.held_out, batch=held_out, measure=measure),
        constants=logistic.certified(shards, slope_sq=1.0, curvature=1.0, batch_size=batch_size)._replace(
            optimum=optimum, optimal_value=0.0 if value is None else value
        ),
        num_workers=num_workers,
    )


def loss(params: Array, batch: PyTree) -> Array:
    """Mean loss of a batch (features [b, d], targets float[b]) at params [d]."""
    features, targets = batch
    errors = features.astype(params.dtype) @ params - targets.astype(params.dtype)
    return jnp.mean(jnp.logaddexp(errors, -errors) - jnp.log(jnp.asarray(2.0, params.dtype)))


def measure(params: Array, batch: PyTree) -> dict[str, Array]:
    """Loss on held-out examples."""
    return {"test_loss": loss(params, batch)}
