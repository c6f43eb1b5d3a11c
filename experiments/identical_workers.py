"""Problems of the paper's setting, in which all workers draw from one distribution: every f_i is f.

Two extremes of what views can miss are linear functions f(x) = ⟨a, x⟩, g = a + s z / √d with z standard gaussian: all
gradients the same (s = 0), so that those missing add up and bounds by M are attained; or nothing but independent noise
(a = 0), of which n gradients have √n times the norm of one. For both ‖a‖² + s² = M² = 1, exactly and everywhere.

Problems that stand side by side are one problem, whose parameters are the trees of all of them by name: one program
runs them all under one schedule, and what concerns one of them is a leaf of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import stacked
from elastic_jax.base import Constants, Oracle, Params, Problem, PyTree, Shards


def linear(*, num_workers: int, dim: int, noise: float) -> Problem:
    """f(x) = ⟨a, x⟩ with a the same in every coordinate, ‖a‖² = 1 - noise².

    Args:
        num_workers: n >= 1.
        dim: d >= 1.
        noise: s in [0, 1].
    """
    slope = ((1 - noise**2) / dim) ** 0.5
    return Problem(
        oracle=partial(_oracle, slope=slope, noise=noise / dim**0.5),
        init=partial(_zeros, dim=dim),
        data=(),
        objective=partial(_objective, slope=slope),
        evaluate=_nothing,
        constants=Constants(
            smoothness=0.0,
            strong_convexity=0.0,
            grad_variance=noise**2,
            grad_second_moment=1.0,
            heterogeneity=0.0,
        ),
        num_workers=num_workers,
    )


def shared(problem: Problem, *, num_workers: int) -> Problem:
    """`problem`, built for one worker, for n workers who all draw from that worker's examples: ζ = 0."""
    assert problem.num_workers == 1
    assert isinstance(problem.data, Shards)
    return problem._replace(
        data=jax.tree.map(lambda leaf: jnp.repeat(leaf, num_workers, axis=0), problem.data),
        constants=problem.constants._replace(heterogeneity=0.0),
        num_workers=num_workers,
    )


def side_by_side(built: Mapping[str, Problem]) -> Problem:
    """Several problems of as many workers as one; its parameters and data are {name: ...}, its constants unknown."""
    first = next(iter(built.values()))
    return Problem(
        oracle=partial(_oracles, oracles={name: problem.oracle for name, problem in built.items()}),
        init=partial(_inits, inits={name: problem.init for name, problem in built.items()}),
        data={name: problem.data for name, problem in built.items()},
        objective=partial(_objectives, objectives={name: problem.objective for name, problem in built.items()}),
        evaluate=_nothing,
        constants=Constants(),
        num_workers=first.num_workers,
    )


def _oracles(
    keys: Array, views: PyTree, data: PyTree, workers: Array, /, *, oracles: Mapping[str, Oracle]
) -> tuple[Array, PyTree]:
    found = {name: oracle(keys, views[name], data[name], workers) for name, oracle in oracles.items()}
    losses = jnp.sum(jnp.stack([losses for losses, _ in found.values()]), axis=0)
    return losses, {name: grads for name, (_, grads) in found.items()}


def _inits(key: Array, *, inits: Mapping[str, Callable[[Array], Params]]) -> Params:
    return {name: init(key) for name, init in inits.items()}


def _objectives(params: Params, data: PyTree, *, objectives: Mapping[str, Callable[[Params, PyTree], Array]]) -> Array:
    return jnp.sum(jnp.stack([objective(params[name], data[name]) for name, objective in objectives.items()]))


def _oracle(
    keys: Array, views: Array, data: PyTree, workers: Array, /, *, slope: float, noise: float
) -> tuple[Array, Array]:
    del data, workers
    grads = jnp.full_like(views, slope)
    if noise:
        draws = jax.vmap(partial(jax.random.normal, shape=views.shape[1:], dtype=views.dtype))(keys)
        grads = grads + jnp.asarray(noise, views.dtype) * draws
    return jnp.asarray(slope, views.dtype) * jnp.sum(views, axis=1), grads


def _zeros(key: Array, *, dim: int) -> Array:
    del key
    return jnp.zeros(dim)


def _objective(params: Array, data: PyTree, *, slope: float) -> Array:
    del data
    return slope * stacked.vdot(params, jnp.ones_like(params))


def _nothing(params: Params) -> dict[str, Array]:
    del params
    return {}
