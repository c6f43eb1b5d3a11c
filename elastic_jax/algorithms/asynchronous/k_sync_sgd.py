"""K-sync SGD: all workers begin at the same parameters, and the first K that are done make the update.

    I_t     = the K workers that are done first; the others are stopped
    v_t^i   = x_t                               the view, of everybody
    g_t^i   = g_i(v_t^i, ξ_t^i), i ∈ I_t        `grads`
    u_t^i   = -α g_t^i                          `updates`
    x_{t+1} = x_t + (1/K) Σ_{i ∈ I_t} u_t^i     the global step; it takes X_{K:n}, the K-th smallest of n times

View: x_t; there is no staleness. Who is stopped has computed for nothing: only K gradients are evaluated here.
Global parameters: x_t is stored at the server.
Optimiser: one, at the server, acting on the mean of the K gradients.
Limit: with K = n this is synchronous SGD.

Source: Dutta, Joshi, Ghosh, Dube, Nagpurkar, Slow and Stale Gradients, AISTATS 2018, arXiv 1803.01113, K-sync SGD.
Departures: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, clocks, links, schedules, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, StepSize

SGD_LIMIT: Mapping[str, Any] = {"num_workers": 1}


class State(NamedTuple):
    """State of K-sync SGD. Bytes: 4 + P + O + schedule.state_bytes."""

    num_steps: Array
    """int32[]. Updates made."""
    params: Params
    """[...], parameter units. x_t: what the server stores."""
    opt_state: PyTree
    """The state of the server's optimiser."""
    schedule_state: PyTree
    """What every worker is at."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    schedule: schedules.Schedule,
    link: links.Link,
) -> State:
    """Every worker has read `params` [...] and begins."""
    params = arguments.float_params("params", params)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        schedule_state=schedule.init(key, links.there_and_back(link, params)),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    schedule: schedules.Schedule,
    link: links.Link,
) -> tuple[State, Info]:
    """One update: the equations of the module, in their order."""
    key_schedule, key_samples, _ = base.split_key(key)

    # read: I, v^i = x
    message_seconds = links.there_and_back(link, state.params)
    schedule_state, done = schedule.next_round(key_schedule, state.schedule_state, state.num_steps, message_seconds)
    views = stacked.broadcast(state.params, schedule.num_awaited)

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i
    losses, grads = schedules.gradients(oracle, key_samples, schedule, done, views, data)
    weights = jnp.full(schedule.num_awaited, 1.0 / schedule.num_awaited)
    update, opt_state, updates, shift = stacked.update_one_optimizer(
        optimizer, grads, weights, state.opt_state, state.params
    )

    # apply: x = x + (1/K) Σ u^i
    new_state = State(
        num_steps=state.num_steps + 1,
        params=stacked.add(state.params, update),
        opt_state=opt_state,
        schedule_state=schedule_state,
    )
    return new_state, base.info(
        workers=done.workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=weights,
        bits_sent=8 * stacked.num_bytes(state.params),
        elapsed=done.elapsed,
        shift=shift,
    )


def global_params(state: State) -> Params:
    """x_t: the parameters of the server."""
    return state.params


def consistency_bound(constants: Constants, params: Params, *, step_size: StepSize | None) -> float:
    """0, whatever the step size: all gradients of an update are taken at x_t."""
    del constants, params, step_size
    return 0.0


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    num_awaited: int = 1,
    clock: clocks.Clock | None = None,
    link: links.Link | None = None,
) -> Algorithm:
    """K-sync SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`; called with k = K.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, at the server, of the mean of the K gradients.
        num_awaited: K, in [1, n]; n is synchronous SGD.
        clock: compute times, of `clocks`; default exponential with mean 1 second.
        link: seconds of a message, of `links`: a gradient costs two, of all parameters there and back; default none.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import clocks, oracles
        >>> from elastic_jax.algorithms import k_sync_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> clock = clocks.recorded([[1.0], [5.0], [2.0]])
        >>> algorithm = k_sync_sgd.build(oracle, num_workers=3, step_size=0.5, num_awaited=2, clock=clock)
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> state, info = algorithm.step(jax.random.key(1), state, jnp.array([[1.0], [3.0], [5.0]]))
        >>> print(info.workers, info.elapsed, state.params)
        [0 2] 2.0 [1.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    schedule = schedules.k_sync(num_workers, num_awaited, clock=clock)
    link = links.check(link)
    return Algorithm(
        init=partial(init, optimizer=optimizer, schedule=schedule, link=link),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            schedule=schedule,
            link=link,
        ),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size),
        num_workers=num_workers,
    )
