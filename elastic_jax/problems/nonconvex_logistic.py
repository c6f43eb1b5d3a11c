"""Binary logistic regression with a non-convex term: smooth, bounded below, with bounded gradients.

    loss(x, (a, y)) = log(1 + exp(-s aᵀx)) + reg Σ_k x_k² / (1 + x_k²),    s = 2y - 1

The term's gradient is 2x / (1 + x²)², at most 3√3/8 in absolute value (at x = 1/√3); its curvature lies in
[-reg/2, 2 reg]. Certified, A_i the features of worker i, m_i their number:
    L = max_i λ_max(A_iᵀA_i) / (4 m_i) + 2 reg,    σ² <= max_i mean_j ‖a_ij‖² / b,    ζ² <= mean_i mean_j ‖a_ij‖²,
    M² <= max_i ((mean_j ‖a_ij‖²)^½ + reg (3√3/8) √d)²,    f >= 0.

Source: the objective of Islamov, Safaryan, Alistarh, AsGrad, AISTATS 2024, arXiv 2310.20452 (as its public code has it,
with reg = 0.1).
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments, data, oracles
from elastic_jax.base import Problem, PyTree
from elastic_jax.problems import finite_sum, logistic

STEEPEST = 3 * math.sqrt(3) / 8
"""max |2x / (1 + x²)²|."""


def build(
    *,
    num_workers: int,
    dataset: finite_sum.Source | None = None,
    reg: float = 0.1,
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
    """Binary logistic regression with Σ x²/(1 + x²).

    Args:
        num_workers: n >= 1.
        dataset: of `data`, with two classes, or a pair of arrays (inputs [m, ...], labels int[m] of 0 and 1);
            default synthetic examples.
        reg: >= 0, the coefficient of the non-convex term.
        batch_size: in [1, m/n], examples of a mini-batch of one worker; no split makes a shard smaller.
        num_examples: >= n, of the synthetic data.
        dim: >= 1, of the synthetic data.
        split: how `data.shard` splits the examples: "iid", "by_label" or "dirichlet".
        alpha: > 0, concentration of the Dirichlet split.
        seed: of the synthetic data and of the split.
        strategy: how the oracle evaluates the workers, see `oracles.from_loss`.
        chunk: see `oracles.from_loss`.
        mesh: see `oracles.from_loss`.

    Returns:
        A problem with params [d], started at 1 in every entry; `optimal_value` is the lower bound 0.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> from elastic_jax.problems import nonconvex_logistic
        >>> features = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
        >>> problem = nonconvex_logistic.build(num_workers=1, dataset=(features, [1, 0, 1, 0]), reg=0.25)
        >>> print(problem.constants.smoothness, problem.constants.strong_convexity)
        0.625 None
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    reg = arguments.real("reg", reg, low=0.0)
    found = finite_sum.examples(dataset, num_examples=num_examples, dim=dim, num_classes=2, seed=seed)
    if found.num_classes != 2:
        raise ValueError(f"dataset has {found.num_classes} classes; it must have 2, with integer targets")
    batch_size = data.check_batch_size(batch_size, len(found.features), num_workers)
    shards = data.shard(
        (found.features, found.targets),
        num_workers=num_workers,
        split=split,
        labels=found.targets,
        alpha=alpha,
        seed=seed,
        min_size=batch_size,
    )
    loss = partial(nonconvex_loss, reg=reg)
    size = found.features.shape[1]
    convex = logistic.certified(shards, slope_sq=1.0, curvature=0.25, batch_size=batch_size)
    steepest = math.sqrt(convex.grad_second_moment or 0.0) + reg * STEEPEST * math.sqrt(size)
    return Problem(
        oracle=oracles.from_loss(loss, batch_size=batch_size, strategy=strategy, chunk=chunk, mesh=mesh),
        init=partial(ones, size=size),
        data=shards,
        objective=partial(finite_sum.objective, loss=loss),
        evaluate=partial(finite_sum.held_out, batch=found.held_out, measure=partial(logistic.measure, loss=loss)),
        constants=convex._replace(
            smoothness=(convex.smoothness or 0.0) + 2 * reg,
            strong_convexity=None,
            grad_second_moment=steepest**2,
            optimal_value=0.0,
        ),
        num_workers=num_workers,
    )


def nonconvex_loss(params: Array, batch: PyTree, *, reg: float) -> Array:
    """Mean loss of a batch (features [b, d], labels int32[b] in {0, 1}) at params [d]."""
    squares = params**2
    return logistic.binary_loss(params, batch, reg=0.0) + reg * jnp.sum(squares / (1 + squares))


def ones(key: Array, *, size: int) -> Array:
    """The starting point (1, ..., 1), float[d]."""
    del key
    return jnp.ones(size)
