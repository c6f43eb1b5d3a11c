"""Parameter-server SGD: the server applies each gradient as it arrives, and its sender reads the parameters anew.

    i_t     = argmin_i r_t^i                    the worker that finishes next
    v_t     = s_t^{i_t}                         the view: what that worker read when it last came
    g_t     = g_{i_t}(v_t, ξ_t)                 `grads`
    u_t     = -α g_t                            `updates`
    x_{t+1} = x_t + u_t                         the global step, one gradient and no 1/n
    s_{t+1}^{i_t} = x_{t+1}                     the worker reads again; the others keep what they have
    r_{t+1}^i = r_t^i - r_t^{i_t}, and for i_t a fresh time of the clock and that of its messages

View: the parameters at the worker's previous arrival; meanwhile the other workers have moved x.
Global parameters: x_t is stored at the server.
Optimiser: one, at the server, acting on gradients in their order of arrival.
Limit: with one worker this is SGD.

Source: Dutta, Joshi, Ghosh, Dube, Nagpurkar, Slow and Stale Gradients, AISTATS 2018, arXiv 1803.01113, asynchronous SGD
(K-async with K = 1); the single-step model of Nadiradze et al., arXiv 2001.05918.
Departures: a gradient is computed when it arrives, from the view and the sample its worker holds; the result is
the same, and no gradient is computed that never arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, clocks, links, schedules, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"num_workers": 1}


class State(NamedTuple):
    """State of parameter-server SGD. Bytes: 4 + P + O + n * (P + 12)."""

    num_steps: Array
    """int32[]. Steps taken: gradients applied."""
    params: Params
    """[...], parameter units. x_t: what the server stores."""
    opt_state: PyTree
    """The state of the server's optimiser."""
    snapshots: Stacked[Params]
    """[n, ...], parameter units. s_t^i: what each worker read when it last came."""
    read_steps: Stacked[Array]
    """int32[n], steps. When each worker read."""
    jobs: Stacked[schedules.Jobs]
    """What every worker is at; r_t^i is in `remaining_times`."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    clock: clocks.Clock,
    link: links.Link,
    num_workers: int,
) -> State:
    """Every worker has read `params` [...] and starts to compute."""
    params = arguments.float_params("params", params)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        snapshots=stacked.broadcast(params, num_workers),
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
) -> tuple[State, Info]:
    """One arrival: the equations of the module, in their order."""
    key_schedule, key_samples, _ = base.split_key(key)

    # read: i = argmin r, v = s^i
    worker, elapsed = schedules.next_done(state.jobs)
    workers = worker[None]
    views = stacked.take_rows(state.snapshots, workers)

    # compute: g = g_i(v, ξ), u = -α g
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    update, opt_state = optimizer.update(stacked.first(grads), state.opt_state, state.params)

    # apply: x = x + u, s^i = x, r = r - r^i and a fresh time for i
    later, message_seconds = schedules.wait(state.jobs, elapsed), links.there_and_back(link, update)
    new_params = stacked.add(state.params, update)
    new_state = State(
        num_steps=state.num_steps + 1,
        params=new_params,
        opt_state=opt_state,
        snapshots=stacked.put_row(state.snapshots, workers[0], new_params),
        read_steps=stacked.put_row(state.read_steps, workers[0], state.num_steps + 1),
        jobs=schedules.begin_one(key_schedule, later, clock, worker, message_seconds=message_seconds),
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=stacked.broadcast(update, 1),
        weights=jnp.ones(1),
        staleness=state.num_steps - stacked.take_rows(state.read_steps, workers),
        bits_sent=8 * stacked.num_bytes(new_params),
        elapsed=elapsed,
    )


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
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t‖² <= α² E[s²] M², s the staleness: s gradients are missing from the view.

    arXiv 2001.05918, Table 1 (single steps), with the second moment of the staleness that the clock implies where the
    paper has its maximum τ. None where the clock knows no closed form, messages take time besides, for an optimiser
    other than SGD with a constant step size, or M unknown.
    """
    del params
    staleness_second_moment = clock.staleness_second_moment(num_workers)
    if staleness_second_moment == 0:
        return 0.0
    if link.takes_time or staleness_second_moment is None:
        return None
    if not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    return step_size**2 * staleness_second_moment * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    clock: clocks.Clock | None = None,
    link: links.Link | None = None,
) -> Algorithm:
    """Parameter-server SGD with n workers; one gradient, one step.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`; called with k = 1.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1. A step
            applies one whole gradient: compare with a synchronous method at α / n, or by gradients.
        optimizer: an optax optimiser instead of plain SGD, at the server.
        clock: compute times, of `clocks`; default exponential with mean 1 second.
        link: seconds of a message, of `links`: a gradient costs two, of all parameters there and back; default none.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import clocks, oracles
        >>> from elastic_jax.algorithms import parameter_server_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = parameter_server_sgd.build(oracle, num_workers=2, step_size=0.5, clock=clocks.constant())
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(3):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[1.0], [3.0]]))
        ...     print(info.workers, info.staleness, info.views[0], algorithm.global_params(state))
        [0] [0] [0.] [0.5]
        [1] [1] [0.] [2.]
        [0] [1] [0.5] [2.25]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    clock, link = clocks.check(clock, num_workers=num_workers), links.check(link)
    return Algorithm(
        init=partial(init, optimizer=optimizer, clock=clock, link=link, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            clock=clock,
            link=link,
        ),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size, clock=clock, link=link, num_workers=num_workers),
        num_workers=num_workers,
    )
