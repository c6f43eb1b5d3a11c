"""Sweeps over step sizes that compile one program: the step size is among the data, and a line search finds the best.

A step size that is an argument of the program, and no constant in it, lets one compiled program serve all step sizes:
the oracle gives α g, and the algorithm is built with a step size of 1. Parameters can be made one vector, too: it has
one leaf, and what draws or selects for each leaf compiles in a fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from elastic_jax.base import Constants, Oracle, Params, Problem, PyTree

Unravel = Callable[[Array], Params]


def sweepable(problem: Problem) -> Problem:
    """`problem` with α g for gradients; its data are those of `with_step_size`, its constants unknown."""
    return problem._replace(
        oracle=partial(_scaled_oracle, oracle=problem.oracle),
        data=with_step_size(problem, 1.0),
        objective=partial(_of_own_data, objective=problem.objective),
        constants=Constants(),
    )


def with_step_size(problem: Problem, step_size: float) -> PyTree:
    """The data of `sweepable(problem)`: (data, float[n]), the second α for each worker."""
    return problem.data, jnp.full(problem.num_workers, step_size, jnp.float32)


def as_vector(problem: Problem) -> Problem:
    """`problem` with float[d] for its parameters."""
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))[1]
    return problem._replace(
        oracle=partial(_vector_oracle, oracle=problem.oracle, unravel=unravel),
        init=partial(_vector_init, init=problem.init),
        objective=partial(_vector_objective, objective=problem.objective, unravel=unravel),
        evaluate=partial(_vector_evaluate, evaluate=problem.evaluate, unravel=unravel),
    )


def search(cost: Callable[[float], float], start: float) -> dict[float, float]:
    """{step size: cost}: doubled or halved from `start` until the least cost has a greater one on either side.

    Args:
        cost: of a step size; not finite where the run diverges.
        start: > 0; its cost is finite, or that of half of it is.
    """
    found = {start: _finite(cost(start))}
    best = start
    for factor in (2.0, 0.5):
        while best * factor not in found:
            found[best * factor] = _finite(cost(best * factor))
            if found[best * factor] >= found[best]:
                break
            best *= factor
    return dict(sorted(found.items()))


def _finite(cost: float) -> float:
    return cost if math.isfinite(cost) else math.inf


def _scaled_oracle(
    keys: Array, views: PyTree, data: PyTree, workers: Array, /, *, oracle: Oracle
) -> tuple[Array, PyTree]:
    own, step_sizes = data
    losses, grads = oracle(keys, views, own, workers)
    return losses, jax.tree.map(partial(_scaled, factors=step_sizes[workers]), grads)


def _scaled(rows: Array, *, factors: Array) -> Array:
    return rows * factors.astype(rows.dtype).reshape(-1, *[1] * (rows.ndim - 1))


def _of_own_data(params: Params, data: PyTree, *, objective: Callable[..., Array]) -> Array:
    return objective(params, data[0])


def _vector_oracle(
    keys: Array, views: Array, data: PyTree, workers: Array, /, *, oracle: Oracle, unravel: Unravel
) -> tuple[Array, Array]:
    losses, grads = oracle(keys, jax.vmap(unravel)(views), data, workers)
    return losses, jax.vmap(_ravel)(grads)


def _ravel(tree: PyTree) -> Array:
    return ravel_pytree(tree)[0]


def _vector_init(key: Array, *, init: Callable[[Array], Params]) -> Array:
    return _ravel(init(key))


def _vector_objective(params: Array, data: PyTree, *, objective: Callable[..., Array], unravel: Unravel) -> Array:
    return objective(unravel(params), data)


def _vector_evaluate(
    params: Array, *, evaluate: Callable[[Params], dict[str, Array]], unravel: Unravel
) -> dict[str, Array]:
    return evaluate(unravel(params))
