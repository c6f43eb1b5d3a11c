"""SwarmSGD: pairs of workers take local steps and average, and nobody waits for more than a partner.

    {i, j}    a random edge, or all pairs of a random matching of the graph
    each of i, j takes h steps, one in each step of the method:
    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    x_{t+1}^i = x_t^i + u_t^i
    after the last of them they meet; U^i is the sum of what i has added since s^i:
    blocking        x^i <- (x^i + Q(x^j))/2
    non-blocking    b^i = (s^i + Q(s^j))/2,     x^i <- b^i + U^i,     s^i <- x^i for one of the two, b^i for the other
    lagged          x^i <- (s^i + Q(s^j - U_last^j))/2 + U^i,     s^i <- x^i,     U_last^i <- U^i
    and so does j at the same time; then others are drawn

h is H, or geometric with mean H, for each worker its own; who has fewer begins later. Q is the identity, or a
quantiser, which decodes near the receiver's own x^i or s^i (see `exchanges`). In the non-blocking form parameters are
exchanged as they were when they were last committed: who commits ends its batch, the other one's goes on, and none is
counted twice. In the lagged form what is read lacks the last batch too, for good.

View: the local parameters. Staleness is how long ago the worker last met another.
Global parameters: x_t = (1/n) Σ_i x_t^i, a virtual iterate. Meetings do not move it, with two exceptions, told in
`shift`: the errors of a quantiser, whose mean is zero, and half of each batch before the last in the lagged form.
Optimiser: one for each worker; its state stays with the worker.
Time: `elapsed` is parallel time, 2/n for each meeting, so that each worker meets once in a unit of it, on average.
Limit: two workers with H = 1 are synchronous SGD.

Source: Nadiradze, Sabour, Davies, Li, Alistarh, Asynchronous Decentralized SGD with Quantized and Local Updates,
NeurIPS 2021, arXiv 1910.12308, Algorithm 1 and its non-blocking and quantised versions.
Departures: the steps of a turn are taken just before the meeting, not spread over the time since the last one, which
for the blocking form makes no difference to any worker; in the non-blocking form one of the two commits, so that the
mean is conserved; the cubic lattice in the place of the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, compressors, exchanges, meetings, stacked, topologies
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"num_workers": 2, "local_steps": 1}

MODES = ("blocking", "non_blocking", "lagged")


class State(NamedTuple):
    """State of SwarmSGD.

    Bytes: 4 + 12 * meeting.num_active + n * (P * (1 + (mode != "blocking") + (mode == "lagged")) + O)
        + n * (4 + 4 * has_distances).
    """

    num_steps: Array
    """int32[]. Steps taken."""
    next_workers: Array
    """int32[k]. Who is about to meet."""
    next_partners: Array
    """int32[k]. Whom each of them will meet: a position among them, its own for who rests."""
    remaining_steps: Array
    """int32[k], steps. How many each takes before that."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    base_params: Stacked[PyTree]
    """[n, ...], parameter units. s_t^i; () in the blocking form."""
    last_batches: Stacked[PyTree]
    """[n, ...], parameter units. U_last^i; () but in the lagged form."""
    distances: Stacked[PyTree]
    """float32[n], parameter units. d^i, of a quantiser whose distance runs; () without."""
    meeting_steps: Stacked[Array]
    """int32[n], steps. Steps taken when each worker had last met another; 0 at the start."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    meeting: meetings.Meetings,
    local_steps: int,
    distribution: str,
    mode: str,
    has_distances: bool,
    num_workers: int,
) -> State:
    """Every worker starts at `params` [...]; who meets first is drawn."""
    local_params = stacked.broadcast(arguments.float_params("params", params), num_workers)
    workers, partners, remaining = _next(key, meeting, local_steps, distribution)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        next_workers=workers,
        next_partners=partners,
        remaining_steps=remaining,
        local_params=local_params,
        base_params=() if mode == "blocking" else jax.tree.map(jnp.copy, local_params),
        last_batches=jax.tree.map(jnp.zeros_like, local_params) if mode == "lagged" else (),
        distances=jnp.zeros(num_workers, jnp.float32) if has_distances else (),
        meeting_steps=jnp.zeros(num_workers, jnp.int32),
        opt_states=stacked.init_optimizers(optimizer, local_params),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    meeting: meetings.Meetings,
    local_steps: int,
    distribution: str,
    mode: str,
    quantizer: compressors.Compressor | None,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of each who is about to meet, and the meeting when all are done: the equations of the module."""
    key_schedule, key_samples, key_messages = base.split_key(key)
    num_active = meeting.num_active
    workers, partners = state.next_workers, state.next_partners
    rows = None if meeting.is_everybody else workers  # everybody's rows are the whole stack, in its order
    own = partial(stacked.take_rows, indices=rows)
    is_active = state.remaining_steps == jnp.max(state.remaining_steps)

    # read: v^i = x^i
    views, met = own(state.local_params), own(state.meeting_steps)

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, of those who have most steps left
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    old_opt_states = own(state.opt_states)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, old_opt_states, views)
    steps = updates
    if distribution != "fixed":
        opt_states = stacked.where_rows(is_active, opt_states, old_opt_states)
        steps = stacked.where_rows(is_active, updates, stacked.scale(0.0, updates))
    live = stacked.add(views, steps)
    distances = exchanges.moved(own(state.distances), steps, quantizer=quantizer)
    before = _Turn(live, own(state.base_params), own(state.last_batches), distances)

    # communicate: when no steps are left they meet, and others are drawn
    remaining = state.remaining_steps - is_active.astype(jnp.int32)
    is_due = jnp.all(remaining == 0)
    keys = stacked.worker_keys(key_messages, workers)
    meet = partial(_meet, mode=mode, quantizer=quantizer)
    after, num_failures = lax.cond(is_due, meet, _keep, before, keys, key_schedule, partners)
    drawn = _next(key_schedule, meeting, local_steps, distribution)
    upcoming = jax.tree.map(partial(jnp.where, is_due), drawn, (workers, partners, remaining))

    # apply
    is_met = is_due & (partners != jnp.arange(num_active, dtype=jnp.int32))
    put = partial(stacked.put_rows, indices=rows)
    new_state = State(
        num_steps=state.num_steps + 1,
        next_workers=upcoming[0],
        next_partners=upcoming[1],
        remaining_steps=upcoming[2],
        local_params=put(state.local_params, new_rows=after.live),
        base_params=put(state.base_params, new_rows=after.base),
        last_batches=put(state.last_batches, new_rows=after.last_batch),
        distances=put(state.distances, new_rows=after.distance),
        meeting_steps=put(state.meeting_steps, new_rows=jnp.where(is_met, state.num_steps + 1, met)),
        opt_states=put(state.opt_states, new_rows=opt_states),
    )
    told = views
    if distribution != "fixed":
        told = stacked.where_rows(is_active, views, stacked.broadcast(global_params(state), num_active))
    is_conserved = quantizer is None and mode != "lagged"
    share = jnp.full(num_active, 1.0 / num_workers)
    return new_state, base.info(
        workers=jnp.where(is_active, workers, -1),
        views=told,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.where(is_active, 1.0 / num_workers, 0.0),
        staleness=jnp.where(is_active, state.num_steps - met, 0),
        bits_sent=jnp.where(is_met, exchanges.message_bits(quantizer, stacked.first(views)), 0.0),
        elapsed=jnp.sum(is_met) / num_workers,
        shift=None if is_conserved else stacked.weighted_sum(share, stacked.subtract(after.live, live)),
        num_failures=num_failures,
    )


def global_params(state: State) -> Params:
    """x_t = (1/n) Σ_i x_t^i."""
    return stacked.worker_mean(state.local_params)


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    meeting: meetings.Meetings,
    local_steps: int,
    distribution: str,
    mode: str,
    quantizer: compressors.Compressor | None,
) -> float | None:
    """E‖x_t - v_t^i‖² <= (α c M)² with c of `meetings.edges` or `meetings.matchings`, on average over who meets.

    None for an optimiser other than SGD with a constant step size, M unknown, geometric numbers of steps, of which no
    largest is known, and all but the exact blocking form, where what is exchanged is not what was reached.
    """
    del params
    is_plain = distribution == "fixed" and mode == "blocking" and quantizer is None
    if not is_plain or not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    return (step_size * meeting.spread(local_steps)) ** 2 * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    topology: topologies.Topology | Callable[[int], topologies.Topology] = topologies.complete,
    local_steps: int = 2,
    distribution: str = "fixed",
    mode: str = "blocking",
    quantizer: compressors.Compressor | None = None,
    parallel: bool = False,
) -> Algorithm:
    """SwarmSGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`; called with k = 2, or n if `parallel`.
        num_workers: n >= 2.
        step_size: α > 0 of plain SGD, a float or an optax schedule of a worker's own steps, parameter / gradient units;
            default 0.1. A gradient moves x by α/n.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        topology: who may meet, a connected graph of `topologies`, or a function of n that makes it.
        local_steps: H >= 1, steps of a worker before each meeting, or their mean.
        distribution: of the number of steps: "fixed", or "geometric", as of workers with independent Poisson clocks.
        mode: "blocking", "non_blocking" or "lagged".
        quantizer: Q, of `compressors`, e.g. `compressors.lattice(256)`; None sends parameters whole.
        parallel: one matching a round, all workers at once, instead of one edge after the other: for accelerators. With
            an odd n, or a graph without perfect matchings, some take their steps and rest while the others meet.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles
        >>> from elastic_jax.algorithms import swarm_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = swarm_sgd.build(oracle, num_workers=3, step_size=0.5, local_steps=1)
        >>> state, data = algorithm.init(jax.random.key(3), jnp.zeros(1)), jnp.array([[4.0], [8.0], [16.0]])
        >>> for t in range(3):
        ...     state, info = algorithm.step(jax.random.key(10 + t), state, data)
        ...     print(info.workers, state.local_params.tolist(), algorithm.global_params(state))
        [1 0] [[3.0], [3.0], [0.0]] [2.]
        [1 2] [[3.0], [6.75], [6.75]] [5.5]
        [2 1] [[3.0], [9.375], [9.375]] [7.25]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=2)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    topology = topologies.check(topology, num_workers=num_workers)
    arguments.flag("parallel", parallel)
    meeting = meetings.matchings(topology) if parallel else meetings.edges(topology)
    local_steps = arguments.integer("local_steps", local_steps, low=1)
    arguments.one_of("distribution", distribution, meetings.DISTRIBUTIONS)
    arguments.one_of("mode", mode, MODES)
    quantizer = None if quantizer is None else compressors.check(quantizer, has_reference=True, name="quantizer")
    bound: dict[str, Any] = {
        "meeting": meeting,
        "local_steps": local_steps,
        "distribution": distribution,
        "mode": mode,
    }
    return Algorithm(
        init=partial(
            init,
            optimizer=optimizer,
            **bound,
            has_distances=exchanges.has_distances(quantizer),
            num_workers=num_workers,
        ),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            **bound,
            quantizer=quantizer,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size, **bound, quantizer=quantizer),
        num_workers=num_workers,
    )


class _Turn(NamedTuple):
    """The rows of the k workers of a turn."""

    live: PyTree
    """[k, ...]. x^i."""
    base: PyTree
    """[k, ...]. s^i; () in the blocking form."""
    last_batch: PyTree
    """[k, ...]. U_last^i; () but in the lagged form."""
    distance: PyTree
    """float32[k]. d^i; () where none are kept."""


def _meet(
    before: _Turn, keys: Array, key_schedule: Array, partners: Array, *, mode: str, quantizer: Any
) -> tuple[_Turn, Array]:
    """The exchange of the form that is chosen."""
    # x^i, s^i or s^i - U_last^i is sent, and averaged with x^i or s^i
    start = before.live if mode == "blocking" else before.base
    message = stacked.subtract(start, before.last_batch) if mode == "lagged" else start
    received = exchanges.exchange(keys, message, start, before.distance, partners, quantizer=quantizer)
    average = stacked.scale(0.5, stacked.add(start, received.rows))
    if mode == "blocking":
        return _Turn(average, (), (), received.distances), received.num_failures
    batch = stacked.subtract(before.live, before.base)
    live = stacked.add(average, batch)
    if mode == "lagged":
        return _Turn(live, live, batch, received.distances), received.num_failures
    is_committing = meetings.one_of_each(jax.random.fold_in(key_schedule, 2), partners)
    committed = stacked.where_rows(is_committing, live, average)
    return _Turn(live, committed, (), received.distances), received.num_failures


def _keep(before: _Turn, keys: Array, key_schedule: Array, partners: Array) -> tuple[_Turn, Array]:
    """Nobody meets."""
    del keys, key_schedule
    return before, jnp.zeros(partners.shape, jnp.int32)


def _next(key: Array, meeting: meetings.Meetings, local_steps: int, distribution: str) -> tuple[Array, Array, Array]:
    """Who meets next, whom, and after how many steps."""
    workers, partners = meeting.draw(key)
    key_steps = jax.random.fold_in(key, 1) if distribution != "fixed" else key
    steps = meetings.draw_steps(key_steps, meeting.num_active, local_steps=local_steps, distribution=distribution)
    return workers, partners, steps
