"""Asynchronous elastic averaging SGD: workers run on their own and now and then one of them meets the anchor.

    i_t       = argmin_i r_t^i                  the worker that finishes next
    v_t       = x_t^{i_t}                       the view: the worker's own parameters
    e_t       = a (x_t^{i_t} - z_t)             if this is its step number H, 2H, ...; else 0
    g_t       = g_{i_t}(v_t, ξ_t)               `grads`
    u_t       = -α g_t                          `updates`
    x_{t+1}^{i_t} = x_t^{i_t} - e_t + u_t       the others keep what they have
    z_{t+1}   = z_t + e_t                       the anchor
    r_{t+1}^i = r_t^i - r_t^{i_t}, and for i_t a fresh time of the clock and, if a meeting is due, of its messages

View: the local parameters of the worker, before it meets the anchor. Staleness is how long ago it last did.
Global parameters: x_t = (z_t + Σ_i x_t^i)/(n + 1), the mean of workers and anchor, a virtual iterate: a meeting moves
both by the same force, so that it does not move x, and each update enters it with weight 1/(n + 1).
Optimiser: one for each worker; its state stays with the worker. The anchor has none.
Limit: none; see `SGD_LIMIT`.

Source: Zhang, Choromanska, LeCun, Deep Learning with Elastic Averaging SGD, NeurIPS 2015, arXiv 1412.6651, Algorithm 1.
Departures: a worker first meets the anchor in its step number H, not in its first one, where both are equal.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, clocks, links, schedules, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT = None
"""Every update enters x with weight 1/(n + 1), 1/2 for one worker; the synchronous form is `elastic_averaging_sgd`."""


class State(NamedTuple):
    """State of asynchronous elastic averaging SGD. Bytes: 4 + P + n * (P + O + 16)."""

    num_steps: Array
    """int32[]. Steps taken: gradients of all workers."""
    anchor_params: Params
    """[...], parameter units. z_t."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    num_local_steps: Stacked[Array]
    """int32[n]. Steps that each worker has taken."""
    meeting_steps: Stacked[Array]
    """int32[n], steps. The steps taken by all when each worker had last met the anchor; 0 at the start."""
    jobs: Stacked[schedules.Jobs]
    """What every worker is at; r_t^i is in `remaining_times`."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    period: int,
    clock: clocks.Clock,
    link: links.Link,
    num_workers: int,
) -> State:
    """Workers and anchor start at `params` [...]."""
    params = arguments.float_params("params", params)
    local_params = stacked.broadcast(params, num_workers)
    meeting_seconds = links.there_and_back(link, params) if period == 1 else 0.0
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        anchor_params=params,
        local_params=local_params,
        num_local_steps=jnp.zeros(num_workers, jnp.int32),
        meeting_steps=jnp.zeros(num_workers, jnp.int32),
        jobs=schedules.start(key, clock, num_workers, message_seconds=meeting_seconds),
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
    clock: clocks.Clock,
    link: links.Link,
    num_workers: int,
) -> tuple[State, Info]:
    """One step of the worker that finishes next: the equations of the module, in their order."""
    key_schedule, key_samples, _ = base.split_key(key)

    # read: i = argmin r, v = x^i
    worker, elapsed = schedules.next_done(state.jobs)
    workers = worker[None]
    views = stacked.take_rows(state.local_params, workers)

    # compute: g = g_i(v, ξ), u = -α g
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    own_states = stacked.take_rows(state.opt_states, workers)
    updates, own_states = stacked.update_optimizers(optimizer, grads, own_states, views)

    # communicate: e = a (x^i - z) if it is due, else 0
    num_own_steps = stacked.take_rows(state.num_local_steps, workers) + 1
    is_due = num_own_steps[0] % period == 0
    own = stacked.first(views)
    force = stacked.scale(jnp.where(is_due, elasticity, 0.0), stacked.subtract(own, state.anchor_params))

    # apply: x^i = x^i - e + u, z = z + e, r = r - r^i and a fresh time for i
    moved = stacked.add(stacked.subtract(own, force), stacked.first(updates))
    met = stacked.take_rows(state.meeting_steps, workers)
    is_due_next = (num_own_steps[0] + 1) % period == 0
    meeting_seconds = jnp.where(is_due_next, links.there_and_back(link, own), 0.0)
    later = schedules.wait(state.jobs, elapsed)
    new_state = State(
        num_steps=state.num_steps + 1,
        anchor_params=stacked.add(state.anchor_params, force),
        local_params=stacked.put_row(state.local_params, workers[0], moved),
        num_local_steps=stacked.put_rows(state.num_local_steps, workers, num_own_steps),
        meeting_steps=stacked.put_rows(state.meeting_steps, workers, jnp.where(is_due, state.num_steps + 1, met)),
        jobs=schedules.begin_one(key_schedule, later, clock, worker, message_seconds=meeting_seconds),
        opt_states=stacked.put_rows(state.opt_states, workers, own_states),
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(1, 1.0 / (num_workers + 1)),
        staleness=state.num_steps - met,
        bits_sent=jnp.where(is_due, 8.0 * stacked.num_bytes(own), 0.0),
        elapsed=elapsed,
    )


def global_params(state: State) -> Params:
    """x_t = (z_t + Σ_i x_t^i)/(n + 1)."""
    n = stacked.num_rows(state.local_params)
    total = stacked.weighted_sum(jnp.full(n, 1.0 / (n + 1)), state.local_params)
    return stacked.add(total, stacked.scale(1.0 / (n + 1), state.anchor_params))


def consistency_bound(constants: Constants, params: Params, *, step_size: StepSize | None) -> float | None:
    """None: how long a worker goes without meeting the anchor depends on all times drawn; no closed form is known."""
    del constants, params, step_size
    return None


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    elasticity: float | None = None,
    period: int = 4,
    clock: clocks.Clock | None = None,
    link: links.Link | None = None,
) -> Algorithm:
    """Asynchronous elastic averaging SGD with n workers and an anchor; one gradient, one step.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`; called with k = 1.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1. A step
            moves x by α/(n + 1) times one gradient.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        elasticity: a in (0, 1); default 0.9/n, as the source has it.
        period: H >= 1, steps of a worker between its meetings with the anchor; the first is in its step H.
        clock: compute times, of `clocks`; default exponential with mean 1 second.
        link: seconds of a message, of `links`: a meeting costs two, of all parameters there and back; default none.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import clocks, oracles
        >>> from elastic_jax.algorithms import asynchronous_elastic_averaging_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = asynchronous_elastic_averaging_sgd.build(
        ...     oracle, num_workers=2, step_size=0.5, elasticity=0.5, period=2, clock=clocks.constant(1.0)
        ... )
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(4):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[4.0], [8.0]]))
        ...     print(info.workers, state.local_params.tolist(), state.anchor_params)
        [0] [[2.0], [0.0]] [0.]
        [1] [[2.0], [4.0]] [0.]
        [0] [[2.0], [4.0]] [1.]
        [1] [[2.0], [4.5]] [2.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    given = 0.9 / num_workers if elasticity is None else elasticity
    elasticity = arguments.real("elasticity", given, above=0.0, below=1.0)
    period = arguments.integer("period", period, low=1)
    clock, link = clocks.check(clock, num_workers=num_workers), links.check(link)
    return Algorithm(
        init=partial(init, optimizer=optimizer, period=period, clock=clock, link=link, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            elasticity=elasticity,
            period=period,
            clock=clock,
            link=link,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size),
        num_workers=num_workers,
    )
