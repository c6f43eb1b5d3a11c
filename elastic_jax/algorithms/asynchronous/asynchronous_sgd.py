"""Asynchronous SGD by message passing: every worker goes on with what has reached it, its own gradients at once.

    y_t^i     = y_{t-1}^i + (1/n) Σ m_s^j over all (s, j) with s + 1 + δ_s^{ij} = t      `received_params`
    v_t^i     = y_t^i                           the view; with `substitute`, + (1/n) Σ_{(s,j) missing} m_s^i
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    w_t^i     = e_t^i + u_t^i                   what is left to send
    m_t^i     = C(w_t^i)                        `messages`, to all, δ_t^{ij} steps on their way, δ_t^{ii} = 0
    e_{t+1}^i = w_t^i - m_t^i                   `memories`, with error feedback; else lost

View: everything that has arrived; (s, j) is missing from it while s + 1 + δ_s^{ij} > t. With `substitute` the worker's
own message of the same step stands in for each that is missing, and leaves when that one comes. With `drops` some are
lost for ever, and a stand-in stays. Staleness is the age of the oldest message that is on its way.
Global parameters: x_t = y_t^i + (1/n) Σ_{(s,j) missing} m_s^j + (1/n) Σ_j e_t^j, the same for every i and stored by no
machine; x_{t+1} = x_t + (1/n) Σ_i u_t^i.
Optimiser: one for each worker, acting on its own gradients.
Limit: with a constant delay of 0 this is synchronous SGD.

Source: Nadiradze, Markov, Chatterjee, Kungurtsev, Alistarh, Elastic Consistency, AAAI 2021, arXiv 2001.05918,
asynchronous message passing, and its variance-bounded scheduler for the stand-ins.
Departures: a delay is drawn for each step, sender and receiver from the schedule's own key; channels keep the order of
messages unless `fifo` is off. The step size is folded into what is sent and remembered (parameter units). The messages
on their way are kept once for all receivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, compressors, stacked
from elastic_jax import delays as delay_models
from elastic_jax import drops as drop_models
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StackedSlots, StepSize

SGD_LIMIT: Mapping[str, Any] = {"delays": delay_models.constant(0)}


class State(NamedTuple):
    """State of asynchronous SGD.

    Bytes: 4 + n * O + n * P + (max_delay + 1) * n * (P + 4 * n) + n * P * error_feedback
    + (P + 4 * n) * (drops.max_consecutive != 0).
    """

    num_steps: Array
    """int32[]. Steps taken."""
    messages: StackedSlots[Params]
    """[max_delay + 1, n, ...], parameter units. m_s^j of the last steps, at slot s mod (max_delay + 1)."""
    due_steps: StackedSlots[Array]
    """int32[max_delay + 1, n, n], steps. By slot, receiver and sender: when the message of step s is in; -1: never."""
    lost_params: PyTree
    """[...], parameter units. What worker 0 will never receive, less what stands in for it; () without drops."""
    received_params: Stacked[Params]
    """[n, ...], parameter units. y_{t-1}^i: what each worker had received before this step."""
    num_lost: Stacked[PyTree]
    """int32[n]. How many messages each worker will never receive; () without drops."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""
    memories: Stacked[PyTree]
    """[n, ...], parameter units. e_t^i: what was held back; () without error feedback."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    max_delay: int,
    drops: drop_models.DropModel,
    error_feedback: bool,
    num_workers: int,
) -> State:
    """Every worker starts at `params` [...], and nothing is on its way."""
    del key
    params = arguments.float_params("params", params)
    received = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        messages=stacked.broadcast(stacked.scale(0.0, received), max_delay + 1),
        due_steps=jnp.zeros((max_delay + 1, num_workers, num_workers), jnp.int32),
        lost_params=stacked.scale(0.0, params) if _can_drop(drops) else (),
        received_params=received,
        num_lost=jnp.zeros(num_workers, jnp.int32) if _can_drop(drops) else (),
        opt_states=stacked.init_optimizers(optimizer, received),
        memories=stacked.scale(0.0, received) if error_feedback else (),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    delays: delay_models.DelayModel,
    max_delay: int,
    fifo: bool,
    drops: drop_models.DropModel,
    max_lost: int | None,
    compressor: compressors.Compressor,
    error_feedback: bool,
    substitute: bool,
    num_workers: int,
) -> tuple[State, Info]:
    """One step of all n workers: the equations of the module, in their order."""
    key_schedule, key_samples, key_messages = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)
    t, slot = state.num_steps, state.num_steps % (max_delay + 1)

    # read: y^i = y^i + (1/n) Σ_{(s,j) due} m_s^j, v^i = y^i + (1/n) Σ_{(s,j) missing} m_s^i
    received = stacked.add(state.received_params, _sum_messages(state, state.due_steps == t))
    num_missing = jnp.sum(state.due_steps > t, axis=2)
    views = received
    if substitute:
        views = stacked.add(received, stacked.weighted_sums(num_missing.astype(float) / num_workers, state.messages))

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)

    # communicate: w^i = e^i + u^i, m^i = C(w^i), on its way until t + 1 + δ^{ij}
    unsent = stacked.add(state.memories, updates) if error_feedback else updates
    messages = compressors.compress_rows(compressor, stacked.worker_keys(key_messages, workers), unsent)
    due = t + 1 + delays.draw_pairs(key_schedule, t, jnp.sqrt(stacked.norms_sq(messages)))
    if fifo:
        due = jnp.maximum(due, jnp.max(state.due_steps, axis=0))
    lost_params, num_lost = state.lost_params, state.num_lost
    if _can_drop(drops):
        is_lost = _within_budget(~drops.draw(key_schedule, t, num_workers), num_lost, max_lost=max_lost)
        due, num_lost = jnp.where(is_lost, -1, due), num_lost + jnp.sum(is_lost, axis=1, dtype=jnp.int32)
        shares = jnp.where(is_lost, 1.0 / num_workers, 0.0)
        if substitute:
            own = jnp.diag(jnp.sum(shares, axis=1))
            received, shares = stacked.add(received, stacked.weighted_sum(own, messages)), shares - own
        lost_params = stacked.add(lost_params, stacked.weighted_sum(shares[0], messages))

    # apply: e^i = w^i - m^i
    new_state = State(
        num_steps=t + 1,
        messages=stacked.put_row(state.messages, slot, messages),
        due_steps=stacked.put_row(state.due_steps, slot, due),
        lost_params=lost_params,
        received_params=received,
        num_lost=num_lost,
        opt_states=opt_states,
        memories=stacked.subtract(unsent, messages) if error_feedback else (),
    )
    ages = (t - jnp.arange(max_delay + 1, dtype=jnp.int32) - 1) % (max_delay + 1) + 1
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates if error_feedback else messages,
        weights=jnp.full(num_workers, 1.0 / num_workers),
        staleness=jnp.max(jnp.where(num_missing > 0, ages[:, None], 0), axis=0),
        bits_sent=(num_workers - 1) * compressor.bits(stacked.first(views)),
    )


def global_params(state: State, *, drops: drop_models.DropModel, error_feedback: bool) -> Params:
    """x_t = y^i + (1/n) Σ m_s^j + (1/n) Σ_j e^j, told from the first worker: all delivered, nothing held back."""
    missing = stacked.first(_sum_messages(state, state.due_steps >= state.num_steps))
    delivered = stacked.add(stacked.first(state.received_params), missing)
    delivered = stacked.add(delivered, state.lost_params) if _can_drop(drops) else delivered
    return stacked.add(delivered, stacked.worker_mean(state.memories)) if error_feedback else delivered


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    delays: delay_models.DelayModel,
    fifo: bool,
    drops: drop_models.DropModel,
    max_lost: int | None,
    compressor: compressors.Compressor,
    error_feedback: bool,
    substitute: bool,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² B²: at most K = (n - 1) τ messages are late, and f lost, each with weight 1/n.

    B = K M / n, arXiv 2001.05918, Table 1, and (K + f) M / n with drops and a budget f. With a compressor C, b = √γ /
    (1 - √γ) and κ with E‖C(w)‖² <= κ² ‖w‖²:

        no memory             κ K M / n                 the messages themselves are what x is made of
        memory, in order      (K / n + b) M             what is missing of one sender, and its memory, telescope
        memory, out of order  (κ (1 + b) K / n + b) M; so with drops, or an adversary who looks at the messages
        stand-ins             (2 κ (1 + b) K / n + b) M, since a difference of two messages is missing; and without a
                              compressor or an adversary, where all f_i are the same and α <= n / (6 L K), also
                              1.5 K σ / n, half of the paper's 3 K σ / n

    None for an optimiser other than SGD with a constant step size, for a compressor that is no contraction beside a
    memory, where the constants are unknown, and for messages lost without a budget: then the distance has no limit.
    """
    if _can_drop(drops) and max_lost is None and num_workers > 1:
        return None
    num_missing = (num_workers - 1) * delays.max_delay + (max_lost or 0) * _can_drop(drops) * (num_workers > 1)
    late = num_missing / num_workers
    gain = compressors.norm_factor(compressor, params)
    lost = compressors.residual_fraction(compressor, params) if error_feedback else 0.0
    if late == 0 and lost == 0:
        return 0.0
    if not isinstance(step_size, float) or lost is None or gain is None:
        return None
    held_back = lost**0.5 / (1 - lost**0.5)
    bounds = []
    if constants.grad_second_moment is not None:
        of_message = gain * (1 + held_back)
        telescopes = error_feedback and fifo and not (delays.is_adaptive or _can_drop(drops))
        of_missing = 2 * of_message if substitute else 1.0 if telescopes else of_message
        bounds.append((late * of_missing + held_back) ** 2 * constants.grad_second_moment)
    smoothness, variance = constants.smoothness, constants.grad_variance
    is_simple = substitute and gain == 1 and held_back == 0 and constants.heterogeneity == 0 and not delays.is_adaptive
    is_simple = is_simple and not drops.is_adaptive
    if is_simple and smoothness is not None and variance is not None and 6 * smoothness * late * step_size <= 1:
        bounds.append((1.5 * late) ** 2 * variance)
    return step_size**2 * min(bounds) if bounds else None


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    delays: delay_models.DelayModel | None = None,
    max_delay: int | None = None,
    fifo: bool = True,
    drops: drop_models.DropModel | None = None,
    max_lost: int | None = None,
    substitute: bool = False,
    compressor: compressors.Compressor | None = None,
    error_feedback: bool = False,
) -> Algorithm:
    """Asynchronous SGD by message passing with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        delays: a model of `delays`, steps, drawn for each sender and receiver; default uniform on {0, ..., 4}.
        max_delay: >= 0, steps, how far ahead the mail is kept; default what `delays` needs. A model that may draw more
            is an error.
        fifo: a channel delivers in the order of sending: a message waits for those sent before it.
        drops: a model of `drops`: messages that never come; default none.
        max_lost: f >= 0: a message that would be more than the f-th that a worker loses in the run is not lost;
            default no limit.
        substitute: a worker's own messages stand in for those of others that it misses.
        compressor: C, of `compressors`; default sends everything.
        error_feedback: keep what the compressor holds back and send it later; else it is lost.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import delays, oracles
        >>> from elastic_jax.algorithms import asynchronous_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = asynchronous_sgd.build(oracle, num_workers=2, step_size=0.5, delays=delays.constant(1))
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(3):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[1.0], [3.0]]))
        ...     print(info.views[:, 0], info.staleness, algorithm.global_params(state))
        [0. 0.] [0 0] [1.]
        [0.25 0.75] [1 1] [1.75]
        [1.1875 1.5625] [1 1] [2.0625]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    delays = delay_models.uniform(4) if delays is None else delays
    max_delay = delay_models.check_fits(delays, max_delay=max_delay, num_workers=num_workers, takes_pairs=True)
    drops = drop_models.none() if drops is None else drops
    num_workers = drop_models.check_fits(drops, num_workers=num_workers)
    max_lost = None if max_lost is None else arguments.integer("max_lost", max_lost, low=0)
    compressor = compressors.check(compressor)
    arguments.flag("fifo", fifo)
    arguments.flag("error_feedback", error_feedback)
    arguments.flag("substitute", substitute)
    return Algorithm(
        init=partial(
            init,
            optimizer=optimizer,
            max_delay=max_delay,
            drops=drops,
            error_feedback=error_feedback,
            num_workers=num_workers,
        ),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            delays=delays,
            max_delay=max_delay,
            fifo=fifo,
            drops=drops,
            max_lost=max_lost,
            compressor=compressor,
            error_feedback=error_feedback,
            substitute=substitute,
            num_workers=num_workers,
        ),
        global_params=partial(global_params, drops=drops, error_feedback=error_feedback),
        consistency_bound=partial(
            consistency_bound,
            step_size=size,
            delays=delays,
            fifo=fifo,
            drops=drops,
            max_lost=max_lost,
            compressor=compressor,
            error_feedback=error_feedback,
            substitute=substitute,
            num_workers=num_workers,
        ),
        num_workers=num_workers,
    )


def _sum_messages(state: State, is_chosen: Array) -> Params:
    """(1/n) Σ_{(s,j) chosen} m_s^j for every receiver: bool[slot, receiver, sender] -> [n, ...]."""
    weights = jnp.where(is_chosen.transpose(1, 0, 2), 1.0 / is_chosen.shape[1], 0.0)
    return stacked.weighted_sum(weights, state.messages, num_axes=2)


def _can_drop(drops: drop_models.DropModel) -> bool:
    return drops.max_consecutive != 0


def _within_budget(is_lost: Array, num_lost: Array, *, max_lost: int | None) -> Array:
    """What is really lost, bool[n, n]: of each receiver the first senders, while it may still lose some."""
    if max_lost is None:
        return is_lost
    counts = num_lost[:, None] + jnp.cumsum(is_lost.astype(jnp.int32), axis=1)
    return is_lost & (counts <= max_lost)
