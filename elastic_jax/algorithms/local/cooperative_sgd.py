"""Cooperative SGD: workers move on their own, and a matrix mixes their parameters with those of auxiliary rows.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    y_t^i     = x_t^i + u_t^i                   the local step of workers i < n; y_t^i = x_t^i of auxiliary rows
    x_{t+1}^i = Σ_j W_k,ij y_t^j                if t + 1 = (k + 1) H, all n + v rows
              = y_t^i                           otherwise

View: the local parameters, which drift apart between two mixings, and stay apart where W is not J.
Global parameters: x_t = (1/(n + v)) Σ_i x_t^i over all rows, a virtual iterate: W is doubly stochastic, so that mixing
does not move it, and each update enters it with weight 1/(n + v).
Optimiser: one for each worker; its state stays with the worker and is not mixed.
Limit: without auxiliary rows, H = 1 and W = J, this is synchronous SGD.

Source: Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576: A(τ, W, v) with τ = H. Local SGD, elastic averaging
and gossip are its special cases; each has a module of its own, and equals this one row by row.
Departures: W_k may be drawn anew each time, and need not be symmetric, but must be doubly stochastic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, mixings, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"period": 1}


class State(NamedTuple):
    """State of cooperative SGD. Bytes: 4 + n * (P + O) + num_auxiliary * P."""

    num_steps: Array
    """int32[]. Steps taken, by each worker."""
    auxiliary_params: PyTree
    """[v, ...], parameter units. Rows that take no gradients; () if v = 0."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    num_auxiliary: int,
    num_workers: int,
) -> State:
    """All rows start at `params` [...]."""
    del key
    params = arguments.float_params("params", params)
    local_params = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        auxiliary_params=stacked.broadcast(params, num_auxiliary) if num_auxiliary else (),
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
    mixing: mixings.Mixing,
    num_auxiliary: int,
    period: int,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and the mixing when it is due: the equations of the module."""
    key_schedule, key_samples, _ = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    rows = stacked.add(state.local_params, updates)
    if num_auxiliary:
        rows = stacked.concatenate(rows, state.auxiliary_params)

    # communicate: x^i = Σ_j W_k,ij y^j if t + 1 is a multiple of H, else y^i
    is_due = (state.num_steps + 1) % period == 0
    num_mixings = state.num_steps // period
    rows = lax.cond(is_due, partial(mixing.mix, key_schedule, num_mixings), _keep, rows)

    # apply
    local_params, auxiliary_params = stacked.split(rows, num_workers) if num_auxiliary else (rows, ())
    new_state = State(
        num_steps=state.num_steps + 1,
        auxiliary_params=auxiliary_params,
        local_params=local_params,
        opt_states=opt_states,
    )
    messages = mixing.num_messages(key_schedule, num_mixings)[:num_workers]
    bits = 8.0 * stacked.num_bytes(stacked.first(views)) * messages.astype(jnp.float32)
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, 1.0 / (num_workers + num_auxiliary)),
        bits_sent=jnp.where(is_due, bits, 0.0),
    )


def global_params(state: State, *, num_auxiliary: int) -> Params:
    """x_t = (1/(n + v)) Σ_i x_t^i over all rows."""
    if not num_auxiliary:
        return stacked.worker_mean(state.local_params)
    n = stacked.num_rows(state.local_params)
    weight = jnp.full(n, 1.0 / (n + num_auxiliary))
    others = jnp.full(num_auxiliary, 1.0 / (n + num_auxiliary))
    return stacked.add(
        stacked.weighted_sum(weight, state.local_params), stacked.weighted_sum(others, state.auxiliary_params)
    )


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    mixing: mixings.Mixing,
    period: int,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= (α c M)² with c of `mixings.spread`: how long gradients of others take to be mixed in.

    None for an optimiser other than SGD with a constant step size, M unknown, or a mixing that brings nobody together.
    """
    del params
    missing = mixings.spread(mixing, period=period, num_workers=num_workers)
    if missing == 0:
        return 0.0
    if missing is None or not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    return (step_size * missing) ** 2 * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    mixing: mixings.Mixing | Callable[[int], mixings.Mixing] = mixings.average,
    num_auxiliary: int = 0,
    period: int = 4,
) -> Algorithm:
    """Cooperative SGD with n workers and v auxiliary rows.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1. x moves by
            α n / (n + v) times the mean gradient: compare at equal effective step sizes.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        mixing: W_k on n + v rows, of `mixings`, or a function of their number that makes it; default the average of
            all.
        num_auxiliary: v >= 0, rows without gradients, which start where the workers do.
        period: H >= 1, steps between mixings; the first is after step H.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import mixings, oracles, topologies
        >>> from elastic_jax.algorithms import cooperative_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> line = mixings.constant(topologies.from_matrix([[0.75, 0.25], [0.25, 0.75]]))
        >>> algorithm = cooperative_sgd.build(oracle, num_workers=2, step_size=0.5, mixing=line, period=1)
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[1.0], [3.0]]))
        ...     print(state.local_params.tolist(), algorithm.global_params(state))
        [[0.75], [1.25]] [1.]
        [[1.1875], [1.8125]] [1.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    num_auxiliary = arguments.integer("num_auxiliary", num_auxiliary, low=0)
    mixing = mixings.check(mixing, num_rows=num_workers + num_auxiliary)
    period = arguments.integer("period", period, low=1)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_auxiliary=num_auxiliary, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            mixing=mixing,
            num_auxiliary=num_auxiliary,
            period=period,
            num_workers=num_workers,
        ),
        global_params=partial(global_params, num_auxiliary=num_auxiliary),
        consistency_bound=partial(
            consistency_bound, step_size=size, mixing=mixing, period=period, num_workers=num_workers
        ),
        num_workers=num_workers,
    )


def _keep(rows: PyTree) -> PyTree:
    """Nothing is exchanged."""
    return rows
