"""AdaSync SGD: the server waits for few gradients at first, and for more as the loss falls. One step is one arrival.

    i       = argmin_j r^j                      the worker that is done next
    v_t     = s^i                               the view: what it has read; x_t where others are stopped
    g_t     = g_i(v_t, ξ_t)                     `grads`
    b, m    = b + g_t, m + 1                    the buffer
    u_t     = -α g_t                            `updates`, of which 1/K enters x with g_t, and the rest of b as `shift`
    x_{t+1} = x_t - (α/K) b, b = m = 0          if m = K: an update; else x_{t+1} = x_t
    K       = max(K, K(F(x_0)/F(x_{t+1})))      at the first update after each window, see `schedules.growing`

                    who comes                       after an update
    k_sync          rests                           all read x_{t+1} and begin; the others are stopped
    k_batch_sync    begins anew at x_t              the same
    k_async         rests                           the K read x_{t+1} and begin; the others go on
    k_batch_async   reads x_{t+1}, begins anew      nothing

View: x_t for k_sync and k_batch_sync, else the parameters that the worker read when it began, some arrivals ago.
F is the mean of all workers' losses at x on batches that stay the same: of the run's data with keys that are fixed.
Where a step is given one batch in the place of a data set, it is of that batch.
Global parameters: x_t is stored at the server.
Optimiser: one, at the server, acting on the mean of the K gradients.
Limit: with one worker this is SGD.

Source: Dutta, Wang, Joshi, Slow and Stale Gradients Can Win the Race, 2020, arXiv 2003.10579, AdaSync.
Departures: K changes at the first update after a window's end, when the buffer is empty. K is a number of the state:
nothing is compiled anew. Only gradients that are used are computed; F costs n losses once in a window. Under `vmap` it
is computed in every step, as a condition then is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, clocks, links, schedules, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"num_workers": 1}

LIGHTER_BY = ("growth",)
"""A gradient that waits for others has the weight 0, the last one 1/K."""


class State(NamedTuple):
    """State of AdaSync SGD.

    Bytes: 20 + 2 * P + O + n * P * (waiting != 'k_sync') * (waiting != 'k_batch_sync') + 12 * n.
    """

    num_steps: Array
    """int32[]. Arrivals."""
    num_awaited: Array
    """int32[]. K."""
    num_come: Array
    """int32[]. m: gradients in the buffer."""
    first_loss: Array
    """float32[]. F(x_0); NaN before it is known."""
    window_seconds: Array
    """float32[], simulated seconds since F was computed last."""
    params: Params
    """[...], parameter units. x_t: what the server stores."""
    grad_sum: PyTree
    """[...], gradient units. b: the sum of the gradients that wait."""
    opt_state: PyTree
    """The state of the server's optimiser."""
    snapshots: Stacked[PyTree]
    """[n, ...], parameter units. s^i: what each worker has read; () where all compute at x_t."""
    read_steps: Stacked[Array]
    """int32[n], steps. When each has read it."""
    jobs: Stacked[schedules.Jobs]
    """What every worker is at; who rests needs ∞ seconds."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    clock: clocks.Clock,
    link: links.Link,
    growth: schedules.Growth,
    waiting: str,
    num_workers: int,
) -> State:
    """Every worker has read `params` [...] and begins."""
    params = arguments.float_params("params", params)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        num_awaited=jnp.full((), growth.num_awaited, jnp.int32),
        num_come=jnp.zeros((), jnp.int32),
        first_loss=jnp.full((), jnp.nan, jnp.float32),
        window_seconds=jnp.zeros((), jnp.float32),
        params=params,
        grad_sum=jax.tree.map(jnp.zeros_like, params),
        opt_state=optimizer.init(params),
        snapshots=stacked.broadcast(params, num_workers) if waiting.endswith("_async") else (),
        read_steps=jnp.zeros(num_workers, jnp.int32),
        jobs=schedules.start(key, clock, num_workers, message_seconds=links.there_and_back(link, params)),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    clock: clocks.Clock,
    link: links.Link,
    growth: schedules.Growth,
    waiting: str,
    window: float,
    num_workers: int,
) -> tuple[State, Info]:
    """One arrival: the equations of the module, in their order."""
    key_schedule, key_samples, _ = base.split_key(key)
    params, is_late = state.params, waiting.endswith("_async")

    # read: i = argmin r, v = s^i
    worker, elapsed = schedules.next_done(state.jobs)
    workers = worker[None]
    views = stacked.take_rows(state.snapshots, workers) if is_late else stacked.broadcast(params, 1)

    # compute: g = g_i(v, ξ), b = b + g, m = m + 1, u = -α g
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    grad_sum, num_come = stacked.add(state.grad_sum, stacked.first(grads)), state.num_come + 1
    is_full = num_come >= state.num_awaited
    share = 1 / state.num_awaited.astype(float)
    updates = jax.vmap(lambda grad: optimizer.update(grad, state.opt_state, params)[0])(grads)
    update, opt_state = optimizer.update(stacked.scale(share, grad_sum), state.opt_state, params)

    # apply: x = x - (α/K) b, b = m = 0 where m = K
    chosen = partial(jax.tree.map, partial(jnp.where, is_full))
    new_params = chosen(stacked.add(params, update), params)
    weights = jnp.where(is_full, share, 0.0)[None]
    moved = chosen(update, stacked.scale(0.0, update))
    shift = stacked.subtract(moved, stacked.weighted_sum(weights, updates))  # exactly 0 where K = 1

    # begin: who reads x and computes anew
    is_begun, jobs = _begin(
        key_schedule, state, worker, elapsed, is_full, clock, waiting, links.there_and_back(link, params)
    )
    snapshots = _read(state.snapshots, is_begun, new_params) if is_late else ()

    # K = max(K, K(F(x_0)/F(x)))
    is_first = state.num_steps == 0
    seconds = state.window_seconds + elapsed
    is_over = is_first | (is_full & (seconds >= window))
    point = jax.tree.map(partial(jnp.where, is_first), params, new_params)
    loss = lax.cond(
        is_over, partial(_loss, oracle, point, data, num_workers), lambda: jnp.full((), jnp.nan, jnp.float32)
    )
    first_loss = jnp.where(is_first, loss, state.first_loss)
    new_state = State(
        num_steps=state.num_steps + 1,
        num_awaited=growth.awaited(first_loss, loss, state.num_awaited),
        num_come=jnp.where(is_full, 0, num_come),
        first_loss=first_loss,
        window_seconds=jnp.where(is_over & ~is_first, 0.0, seconds),
        params=new_params,
        grad_sum=chosen(jax.tree.map(jnp.zeros_like, grad_sum), grad_sum),
        opt_state=chosen(opt_state, state.opt_state),
        snapshots=snapshots,
        read_steps=jnp.where(is_begun, state.num_steps + 1, state.read_steps),
        jobs=jobs,
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=weights,
        staleness=(state.num_steps - stacked.take_rows(state.read_steps, workers)) * int(is_late),
        bits_sent=8 * stacked.num_bytes(params),
        elapsed=elapsed,
        shift=shift,
    )


def _begin(
    key: Array,
    state: State,
    worker: Array,
    elapsed: Array,
    is_full: Array,
    clock: clocks.Clock,
    waiting: str,
    message_seconds: float,
) -> tuple[Array, schedules.Jobs]:
    """bool[n], who begins anew after this arrival, and what everybody is at then."""
    jobs = schedules.wait(state.jobs, elapsed)
    num_workers = state.read_steps.shape[0]
    is_it = jnp.arange(num_workers, dtype=jnp.int32) == worker
    if waiting.startswith("k_batch"):
        jobs = schedules.begin_one(key, jobs, clock, worker, message_seconds=message_seconds)
        if waiting == "k_batch_async":
            return is_it, jobs
    else:
        jobs = jobs._replace(remaining_times=jnp.where(is_it, jnp.inf, jobs.remaining_times))
    resting = jnp.isinf(jobs.remaining_times) if waiting == "k_async" else jnp.ones(num_workers, bool)
    own = jax.random.fold_in(key, num_workers)
    all_begin = partial(schedules.begin, own, jobs, clock, resting, message_seconds=message_seconds)
    return is_full & resting, lax.cond(is_full, all_begin, lambda: jobs)


def _read(snapshots: PyTree, is_begun: Array, params: Params) -> PyTree:
    """Row by row, so that what nobody reads costs nothing; who begins alone is not sorted for."""
    number = jnp.sum(is_begun.astype(jnp.int32))
    first = jnp.argmax(is_begun)[None].astype(jnp.int32)
    order = lax.cond(
        number > 1,
        lambda: jnp.argsort(~is_begun, stable=True).astype(jnp.int32),
        lambda: jnp.broadcast_to(first, is_begun.shape),
    )
    return lax.fori_loop(0, number, lambda place, rows: stacked.put_row(rows, order[place], params), snapshots)


def _loss(oracle: Oracle, params: Params, data: PyTree, num_workers: int) -> Array:
    """F(x): float32[]."""
    workers = jnp.arange(num_workers, dtype=jnp.int32)
    keys = stacked.worker_keys(jax.random.key(0), workers)
    return jnp.mean(oracle(keys, stacked.broadcast(params, num_workers), data, workers)[0]).astype(jnp.float32)


def global_params(state: State) -> Params:
    """x_t: the parameters of the server."""
    return state.params


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    clock: clocks.Clock,
    link: links.Link,
    growth: schedules.Growth,
    waiting: str,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t‖² <= α² E[s²] M², s the updates that a view lacks where K stays K_0: with a larger K they are fewer.

    0 where all compute at x_t. None where the clock knows no E[s²], messages take time besides, or k_async and workers
    take turns, whose groups change with K; for an optimiser other than SGD with a constant step size, or M unknown.
    """
    del params
    moment = clock.staleness_second_moment(num_workers, num_awaited=growth.num_awaited, rule=waiting)
    if moment == 0 and (growth.num_awaited == num_workers or not waiting.endswith("_async")):
        return 0.0
    if moment is None or link.takes_time or (waiting == "k_async" and clock.order == "in turn"):
        return None
    if not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    return step_size**2 * moment * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    num_awaited: int = 1,
    waiting: str = "k_async",
    window: float = 10.0,
    clock: clocks.Clock | None = None,
    link: links.Link | None = None,
) -> Algorithm:
    """AdaSync SGD with n workers; one arrival, one step.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`; called with k = 1, and with k = n for F.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule (of the number of updates), parameter / gradient
            units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, at the server, of the mean of the K gradients.
        num_awaited: K_0, in [1, n]: K at the start; n stays.
        waiting: who rests and who is stopped: "k_sync", "k_batch_sync", "k_async" or "k_batch_async".
        window: simulated seconds, > 0, after which F is computed anew.
        clock: compute times, of `clocks`; default exponential with mean 1 second. For k_sync and k_async it must know
            E X_{K:P}, which recorded times do not.
        link: seconds of a message, of `links`: a gradient costs two, of all parameters there and back; default none.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import clocks, oracles
        >>> from elastic_jax.algorithms import adasync_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = adasync_sgd.build(
        ...     oracle, num_workers=4, step_size=0.2, waiting="k_batch_async", window=1.0, clock=clocks.constant()
        ... )
        >>> state = algorithm.init(jax.random.key(0), jnp.ones(1))
        >>> for t in range(12):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.zeros((4, 1)))
        ...     if t % 3 == 2:
        ...         print(info.workers, info.weights, state.num_awaited, f"{float(state.params[0]):.3f}")
        [2] [0.] 2 0.600
        [1] [0.5] 4 0.260
        [0] [0.] 4 0.260
        [3] [0.] 4 0.177
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    waiting = arguments.one_of("waiting", waiting, schedules.growing.RULES)
    window = arguments.real("window", window, above=0.0)
    clock, link = clocks.check(clock, num_workers=num_workers), links.check(link)
    growth = schedules.growth(clock, num_workers, num_awaited, rule=waiting)
    bound: dict[str, Any] = {
        "clock": clock,
        "link": link,
        "growth": growth,
        "waiting": waiting,
        "num_workers": num_workers,
    }
    return Algorithm(
        init=partial(init, optimizer=optimizer, **bound),
        step=partial(step, oracle=base.check_oracle(oracle), optimizer=optimizer, window=window, **bound),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size, **bound),
        num_workers=num_workers,
    )
