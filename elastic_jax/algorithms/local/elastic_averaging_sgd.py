"""Elastic averaging SGD: workers keep their own parameters, tied to an anchor by springs.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    y_t^i     = x_t^i + u_t^i                   the local step
    x_{t+1}^i = y_t^i - a (y_t^i - z_t)         if t + 1 is a multiple of H, else y_t^i
    z_{t+1}   = z_t + a Σ_i (y_t^i - z_t)       if t + 1 is a multiple of H, else z_t; both of the old y and z

View: the local parameters, which are held near the anchor and never become equal.
Global parameters: x_t = (z_t + Σ_i x_t^i)/(n + 1), the mean of workers and anchor, a virtual iterate: springs do not
move it, and each update enters it with weight 1/(n + 1).
Optimiser: one for each worker; its state stays with the worker. The anchor has none.
Limit: none; see `SGD_LIMIT`.

Source: Zhang, Choromanska, LeCun, Deep Learning with Elastic Averaging SGD, NeurIPS 2015, arXiv 1412.6651, the
synchronous form with their elasticity a = α ρ; A(τ, W_a, 1) with τ = H in Wang, Joshi, Cooperative SGD, JMLR 2021,
arXiv 1808.07576, whose best a = 2/(n + 2) is the default.
Departures: adapts, then combines, as Cooperative SGD does; the original takes the elastic force at x_t^i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, mixings, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT = None
"""x moves by α n/(n + 1) times the mean gradient, so that at the same α there is no limit; in general this is
`cooperative_sgd` with one auxiliary row."""

COOPERATIVE: tuple[tuple[Mapping[str, Any], Callable[[int], Mapping[str, Any]]], ...] = (
    ({"period": 2}, lambda n: {"period": 2, "num_auxiliary": 1, "mixing": mixings.elastic(n)}),
    ({"period": 1, "elasticity": 0.3}, lambda n: {"period": 1, "num_auxiliary": 1, "mixing": mixings.elastic(n, 0.3)}),
)
"""Arguments, and those at which `cooperative_sgd` with n workers is the same, row by row."""


class State(NamedTuple):
    """State of elastic averaging SGD. Bytes: 4 + P + n * (P + O)."""

    num_steps: Array
    """int32[]. Steps taken, by each worker."""
    anchor_params: Params
    """[...], parameter units. z_t."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(key: Array, params: Params, *, optimizer: optax.GradientTransformation, num_workers: int) -> State:
    """Workers and anchor start at `params` [...]."""
    del key
    params = arguments.float_params("params", params)
    local_params = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        anchor_params=params,
        local_params=local_params,
        opt_states=stacked.init_optimizers(optimizer, local_params),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    elasticity: float,
    period: int,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and the springs when they are due: the equations of the module."""
    key_samples = base.split_key(key).samples
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    moved = stacked.add(state.local_params, updates)

    # communicate: x^i = y^i - a (y^i - z), z = z + a Σ_i (y^i - z) if t + 1 is a multiple of H
    is_due = (state.num_steps + 1) % period == 0
    pull = partial(_pull, elasticity=elasticity)
    local_params, anchor_params = lax.cond(is_due, pull, _keep, moved, state.anchor_params)

    # apply
    new_state = State(
        num_steps=state.num_steps + 1,
        anchor_params=anchor_params,
        local_params=local_params,
        opt_states=opt_states,
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, 1.0 / (num_workers + 1)),
        bits_sent=jnp.where(is_due, 8.0 * stacked.num_bytes(state.anchor_params), 0.0),
    )


def global_params(state: State) -> Params:
    """x_t = (z_t + Σ_i x_t^i)/(n + 1)."""
    n = stacked.num_rows(state.local_params)
    total = stacked.weighted_sum(jnp.full(n, 1.0 / (n + 1)), state.local_params)
    return stacked.add(total, stacked.scale(1.0 / (n + 1), state.anchor_params))


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    elasticity: float,
    period: int,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= (α c M)² with c of `mixings.spread`: how long gradients of others take through the anchor.

    None for an optimiser other than SGD with a constant step size, or M unknown.
    """
    del params
    mixing = mixings.elastic(num_workers, elasticity)
    missing = mixings.spread(mixing, period=period, num_workers=num_workers)
    if missing is None or not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    return (step_size * missing) ** 2 * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    elasticity: float | None = None,
    period: int = 4,
) -> Algorithm:
    """Elastic averaging SGD with n workers and an anchor.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1. x moves by
            α n / (n + 1) times the mean gradient: compare at equal effective step sizes.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        elasticity: a, 0 < a < 2/(n + 1), beyond which the springs overshoot; default 2/(n + 2), the fastest.
        period: H >= 1, steps between pulls; the first is after step H.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles
        >>> from elastic_jax.algorithms import elastic_averaging_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = elastic_averaging_sgd.build(oracle, num_workers=2, step_size=0.5, period=1)
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[4.0], [8.0]]))
        ...     print(state.local_params.tolist(), state.anchor_params, algorithm.global_params(state))
        [[1.0], [2.0]] [3.] [2.]
        [[2.75], [4.0]] [3.75] [3.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    elasticity = mixings.stable_elasticity(elasticity, num_workers=num_workers)
    period = arguments.integer("period", period, low=1)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            elasticity=elasticity,
            period=period,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(
            consistency_bound, step_size=size, elasticity=elasticity, period=period, num_workers=num_workers
        ),
        num_workers=num_workers,
    )


def _pull(local_params: PyTree, anchor_params: PyTree, *, elasticity: float) -> tuple[PyTree, PyTree]:
    """Both ends of every spring move by the same force."""
    forces = jax.tree.map(lambda rows, one: elasticity * (rows - one[None]), local_params, anchor_params)
    total = stacked.weighted_sum(jnp.ones(stacked.num_rows(local_params)), forces)
    return stacked.subtract(local_params, forces), stacked.add(anchor_params, total)


def _keep(local_params: PyTree, anchor_params: PyTree) -> tuple[PyTree, PyTree]:
    """Nothing is exchanged."""
    return local_params, anchor_params
