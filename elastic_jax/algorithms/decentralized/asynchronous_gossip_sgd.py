"""Asynchronous gossip SGD: whoever finishes averages with a random neighbour, and then adds its gradient.

    i_t       = argmin_i r_t^i                  the worker that finishes next
    v_t       = x_s^{i_t}                       the view: its own parameters, as they were when it began
    g_t       = g_{i_t}(v_t, ξ_t)               `grads`
    u_t       = -α g_t                          `updates`
    j_t       uniform over the neighbours of i_t
    x_{t+1}^{i_t} = (x_t^{i_t} + x_t^{j_t})/2 + u_t
    x_{t+1}^{j_t} = (x_t^{i_t} + x_t^{j_t})/2   the others keep what they have
    r_{t+1}^i = r_t^i - r_t^{i_t}, and for i_t a fresh time of the clock and that of its messages;
                it begins anew at x_{t+1}^{i_t}

View: a copy of the worker's own parameters, which neighbours may have averaged with theirs since. Staleness is how long
ago it was made.
Global parameters: x_t = (1/n) Σ_i x_t^i, a virtual iterate: averaging a pair does not move it.
Optimiser: one for each worker; its state stays with the worker.
Limit: none; see `SGD_LIMIT`.

Source: Lian, Zhang, Zhang, Liu, Asynchronous Decentralized Parallel Stochastic Gradient Descent, ICML 2018, arXiv
1710.06952, Algorithm 1 (AD-PSGD).
Departures: any connected graph; the source splits workers into two halves, one of which asks and the other answers, so
that no two wait for each other, which simulated meetings cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from elastic_jax import arguments, base, clocks, links, schedules, stacked, topologies
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT = None
"""A step is one gradient, which enters x with weight 1/n; with one worker there is nobody to average with."""


class State(NamedTuple):
    """State of asynchronous gossip SGD. Bytes: 4 + n * (2 * P + O + 12)."""

    num_steps: Array
    """int32[]. Steps taken: gradients of all workers."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    read_params: Stacked[Params]
    """[n, ...], parameter units. Where each worker takes its gradient: x^i as it was when it began."""
    read_steps: Stacked[Array]
    """int32[n], steps. The steps taken by all when each worker began; 0 at the start."""
    jobs: Stacked[schedules.Jobs]
    """What every worker is at; r_t^i is in `remaining_times`."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    clock: clocks.Clock,
    link: links.Link,
    num_workers: int,
) -> State:
    """Every worker starts at `params` [...], and begins a gradient there."""
    params = arguments.float_params("params", params)
    local_params = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        local_params=local_params,
        read_params=jax.tree.map(jnp.copy, local_params),
        read_steps=jnp.zeros(num_workers, jnp.int32),
        jobs=schedules.start(key, clock, num_workers, message_seconds=links.there_and_back(link, params)),
        opt_states=stacked.init_optimizers(optimizer, local_params),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    topology: topologies.Topology,
    clock: clocks.Clock,
    link: links.Link,
    num_workers: int,
) -> tuple[State, Info]:
    """One gradient, of the worker that finishes next, and its meeting: the equations of the module, in their order."""
    key_schedule, key_samples, _ = base.split_key(key)

    # read: i = argmin r, v = what i began with
    worker, elapsed = schedules.next_done(state.jobs)
    workers = worker[None]
    views, read_steps = stacked.take_rows((state.read_params, state.read_steps), workers)

    # compute: g = g_i(v, ξ), u = -α g
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    own_states = stacked.take_rows(state.opt_states, workers)
    updates, own_states = stacked.update_optimizers(optimizer, grads, own_states, views)

    # communicate: j uniform over the neighbours of i, (x^i + x^j)/2
    partner = _draw_neighbour(jax.random.fold_in(key_schedule, 1), workers[0], topology)
    pair = jnp.stack([workers[0], partner])
    mean = stacked.worker_mean(stacked.take_rows(state.local_params, pair))

    # apply: x^i = (x^i + x^j)/2 + u, x^j = (x^i + x^j)/2, r = r - r^i, and i begins anew
    own = stacked.add(mean, stacked.first(updates))
    later, message_seconds = schedules.wait(state.jobs, elapsed), links.there_and_back(link, own)
    local_params = stacked.put_row(stacked.put_row(state.local_params, partner, mean), workers[0], own)
    new_state = State(
        num_steps=state.num_steps + 1,
        local_params=local_params,
        read_params=stacked.put_row(state.read_params, workers[0], own),
        read_steps=stacked.put_rows(state.read_steps, workers, state.num_steps[None] + 1),
        jobs=schedules.begin_one(key_schedule, later, clock, worker, message_seconds=message_seconds),
        opt_states=stacked.put_rows(state.opt_states, workers, own_states),
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(1, 1.0 / num_workers),
        staleness=state.num_steps - read_steps,
        # its own parameters, and those of the neighbour in answer
        bits_sent=2 * 8.0 * stacked.num_bytes(mean),
        elapsed=elapsed,
    )


def global_params(state: State) -> Params:
    """x_t = (1/n) Σ_i x_t^i."""
    return stacked.worker_mean(state.local_params)


def consistency_bound(constants: Constants, params: Params, *, step_size: StepSize | None) -> float | None:
    """None: who meets whom how often depends on all times drawn; no closed form is known."""
    del constants, params, step_size
    return None


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    topology: topologies.Topology | Callable[[int], topologies.Topology] = topologies.complete,
    clock: clocks.Clock | None = None,
    link: links.Link | None = None,
) -> Algorithm:
    """Asynchronous gossip SGD with n workers; one gradient, one step.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`; called with k = 1.
        num_workers: n >= 2.
        step_size: α > 0 of plain SGD, a float or an optax schedule of a worker's own steps, parameter / gradient units;
            default 0.1. A step moves x by α/n times one gradient.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        topology: who is whose neighbour, a connected graph of `topologies`, or a function of n that makes it.
        clock: compute times, of `clocks`; default exponential with mean 1 second.
        link: seconds of a message, of `links`: a meeting costs two, of all parameters there and back; default none. The
            neighbour goes on computing meanwhile.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import clocks, oracles
        >>> from elastic_jax.algorithms import asynchronous_gossip_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = asynchronous_gossip_sgd.build(oracle, num_workers=2, step_size=0.5, clock=clocks.constant(1.0))
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(4):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[4.0], [8.0]]))
        ...     print(info.workers, info.views.tolist(), state.local_params.tolist())
        [0] [[0.0]] [[2.0], [0.0]]
        [1] [[0.0]] [[1.0], [5.0]]
        [0] [[2.0]] [[4.0], [3.0]]
        [1] [[5.0]] [[3.5], [5.0]]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=2)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    topology = topologies.check(topology, num_workers=num_workers)
    clock, link = clocks.check(clock, num_workers=num_workers), links.check(link)
    return Algorithm(
        init=partial(init, optimizer=optimizer, clock=clock, link=link, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            topology=topology,
            clock=clock,
            link=link,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size),
        num_workers=num_workers,
    )


def _draw_neighbour(key: Array, worker: Array, topology: topologies.Topology) -> Array:
    """int32[]. Uniform over the neighbours of `worker`."""
    degrees = topologies.degrees(topology).astype(np.int32)
    table = np.zeros((len(degrees), int(degrees.max())), np.int32)
    for row, found in zip(table, topologies.neighbours(topology), strict=True):
        row[: len(found)] = found
    number = jax.random.randint(key, (), 0, jnp.asarray(degrees)[worker], jnp.int32)
    return jnp.asarray(table)[worker, number]
