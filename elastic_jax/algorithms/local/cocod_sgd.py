"""CoCoD-SGD: local SGD whose average was begun one round ago, with what was done meanwhile added on top.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    y_t^i     = x_t^i + u_t^i                   the local step
    if t + 1 is a multiple of H:
    x_{t+1}^i = (1/n) Σ_j z_t^j + y_t^i - z_t^i         the average of where the round began, and the worker's own way
    z_{t+1}^i = x_{t+1}^i                       what is averaged during the next round
    otherwise x_{t+1}^i = y_t^i, z_{t+1}^i = z_t^i

View: the local parameters, which differ by the ways of this round and of the last one.
Global parameters: x_t = (1/n) Σ_i x_t^i, a virtual iterate: what is corrected has the mean zero.
Optimiser: one for each worker; its state stays with the worker.
Limit: with one worker this is SGD.

Source: Shen, Xu, Cheng, Liu, Luo, Faster Distributed Deep Net Training: Computation and Communication Decoupled
Stochastic Gradient Descent, IJCAI 2019, arXiv 1906.12043.
Departures: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"num_workers": 1}


class State(NamedTuple):
    """State of CoCoD-SGD. Bytes: 4 + n * (2 * P + O)."""

    num_steps: Array
    """int32[]. Steps taken, by each worker."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    round_params: Stacked[Params]
    """[n, ...], parameter units. z_t^i: where each worker began this round; on its way to all others."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(key: Array, params: Params, *, optimizer: optax.GradientTransformation, num_workers: int) -> State:
    """Every worker starts at `params` [...]."""
    del key
    local_params = stacked.broadcast(arguments.float_params("params", params), num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        local_params=local_params,
        round_params=jax.tree.map(jnp.copy, local_params),
        opt_states=stacked.init_optimizers(optimizer, local_params),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    period: int,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and the correction when a round is over: the equations of the module."""
    key_samples = base.split_key(key).samples
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    moved = stacked.add(state.local_params, updates)

    # communicate: x^i = (1/n) Σ_j z^j + y^i - z^i, z^i = x^i if t + 1 is a multiple of H
    is_due = (state.num_steps + 1) % period == 0
    local_params, round_params = lax.cond(is_due, _correct, _keep, moved, state.round_params)

    # apply
    new_state = State(
        num_steps=state.num_steps + 1,
        local_params=local_params,
        round_params=round_params,
        opt_states=opt_states,
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, 1.0 / num_workers),
        bits_sent=jnp.where(is_due, 8.0 * stacked.num_bytes(views) / num_workers, 0.0),
    )


def global_params(state: State) -> Params:
    """x_t = (1/n) Σ_i x_t^i."""
    return stacked.worker_mean(state.local_params)


def consistency_bound(
    constants: Constants, params: Params, *, step_size: StepSize | None, period: int, num_workers: int
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² (2 (1 - 1/n) (2 H - 1) M)²: the ways of two rounds, less the step to come.

    At the end of a round x^i - x is the worker's own way in it less the mean of all ways; see `local_sgd` for the rest.
    None for an optimiser other than SGD with a constant step size, or M unknown.
    """
    del params
    if num_workers == 1:
        return 0.0
    if not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    return (step_size * 2 * (1 - 1 / num_workers) * (2 * period - 1)) ** 2 * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    period: int = 4,
) -> Algorithm:
    """CoCoD-SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        period: H >= 1, steps of a round, in which the average of where it began is on its way.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles
        >>> from elastic_jax.algorithms import cocod_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = cocod_sgd.build(oracle, num_workers=2, step_size=0.5, period=1)
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[4.0], [8.0]]))
        ...     print(state.local_params.tolist(), algorithm.global_params(state))
        [[2.0], [4.0]] [3.]
        [[4.0], [5.0]] [4.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    period = arguments.integer("period", period, low=1)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            period=period,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size, period=period, num_workers=num_workers),
        num_workers=num_workers,
    )


def _correct(local_params: PyTree, round_params: PyTree) -> tuple[PyTree, PyTree]:
    """The average has come: what was done meanwhile is added to it."""
    means = stacked.broadcast(stacked.worker_mean(round_params), stacked.num_rows(round_params))
    local_params = stacked.add(means, stacked.subtract(local_params, round_params))
    return local_params, local_params


def _keep(local_params: PyTree, round_params: PyTree) -> tuple[PyTree, PyTree]:
    """Nothing is exchanged."""
    return local_params, round_params
