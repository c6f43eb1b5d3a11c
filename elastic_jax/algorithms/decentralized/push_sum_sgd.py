"""Push-sum SGD, stochastic gradient push: shares of one's parameters go one way, and a weight goes along with them.

    v_t^i     = x_t^i / w_t^i                   the view: the numerator over its weight
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    y_t^i     = x_t^i + u_t^i                   the local step, on the numerator
    x_{t+1}^i = P_t,ii y_t^i + Σ_{j != i} P_{t-d},ij y_{t-d}^j
    w_{t+1}^i = P_t,ii w_t^i + Σ_{j != i} P_{t-d},ij w_{t-d}^j          nothing arrives before step d

P_t is column-stochastic: what a worker keeps and pushes sums to what it had. It need not be row-stochastic: a worker
that hears from many has a large x^i, and an equally large w^i. What is pushed arrives d steps late (`delay`).

View: v_t^i, which differs from x_t as long as shares of others have not been mixed in.
Global parameters: x_t = (1/n) (Σ_i x_t^i + what is in flight), a virtual iterate: pushing does not move it.
Optimiser: one for each worker, whose state stays with it. It is given the gradient at v^i and v^i itself, and what it
returns is added to x^i: weight decay is a decay of v^i, as if (λ/2) ‖v‖² were in the loss.
Limit: with shares of 1/n to everybody and no delay this is synchronous SGD.

Source: Assran, Loizou, Ballas, Rabbat, Stochastic Gradient Push for Distributed Deep Learning, ICML 2019, arXiv
1811.10792, Algorithm 1 (SGP), and its form in which communication overlaps with computation (τ-OSGP) with τ = d.
Departures: with a delay every step pushes, where the source's overlapping form does so in every τ-th step; each message
is exactly d steps late. Bits: a message is the numerator and its weight, which counts as 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, stacked
from elastic_jax import shares as share_models
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StackedSlots, StepSize

SGD_LIMIT: Mapping[str, Any] = {"shares": share_models.everybody, "delay": 0}

BITS_BESIDE = 32
"""Bits of each message beside the parameters in it: a weight."""


class State(NamedTuple):
    """State of push-sum SGD. Bytes: 4 + n * (P + O + 8) + delay * n * (P + 8)."""

    num_steps: Array
    """int32[]. Steps taken, by each worker."""
    pushed_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i: the numerators."""
    push_weights: Stacked[Array]
    """float[n]. w_t^i > 0; with what is in flight they sum to n."""
    messages: StackedSlots[PyTree]
    """[d, n, ...], parameter units. What arrives at each worker: slot s where t mod d = s; () if d = 0."""
    message_weights: StackedSlots[PyTree]
    """float[d, n]. The weights that arrive with it; () if d = 0."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(key: Array, params: Params, *, optimizer: optax.GradientTransformation, delay: int, num_workers: int) -> State:
    """Every worker starts at `params` [...] with the weight 1, and nothing is in flight."""
    del key
    pushed_params = stacked.broadcast(arguments.float_params("params", params), num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        pushed_params=pushed_params,
        push_weights=jnp.ones(num_workers),
        messages=stacked.scale(0.0, stacked.broadcast(pushed_params, delay)) if delay else (),
        message_weights=jnp.zeros((delay, num_workers)) if delay else (),
        opt_states=stacked.init_optimizers(optimizer, pushed_params),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    shares: share_models.Shares,
    delay: int,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and a push: the equations of the module."""
    key_schedule, key_samples, _ = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x^i / w^i
    views = _quotients(state.pushed_params, state.push_weights)

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    moved = stacked.add(state.pushed_params, updates)

    # communicate: P_ii and Σ_{j != i} P_ij, of y and of w alike
    kept, arriving = shares.push(key_schedule, state.num_steps, (moved, state.push_weights))
    in_flight = state.messages, state.message_weights
    if delay:
        slot, sent = state.num_steps % delay, arriving
        arriving, in_flight = stacked.take_row(in_flight, slot), stacked.put_row(in_flight, slot, sent)

    # apply
    pushed_params, push_weights = stacked.add(kept, arriving)
    messages, message_weights = in_flight
    new_state = State(
        num_steps=state.num_steps + 1,
        pushed_params=pushed_params,
        push_weights=push_weights,
        messages=messages,
        message_weights=message_weights,
        opt_states=opt_states,
    )
    num_messages = shares.num_messages(key_schedule, state.num_steps).astype(jnp.float32)
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, 1.0 / num_workers),
        bits_sent=(8.0 * stacked.num_bytes(stacked.first(views)) + BITS_BESIDE) * num_messages,
    )


def global_params(state: State) -> Params:
    """x_t = (1/n) (Σ_i x_t^i + Σ of what is in flight)."""
    mean = stacked.worker_mean(state.pushed_params)
    if not jax.tree.leaves(state.messages):
        return mean
    shape = state.message_weights.shape
    return stacked.add(mean, stacked.weighted_sum(jnp.full(shape, 1.0 / shape[1]), state.messages, num_axes=2))


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    shares: share_models.Shares,
    delay: int,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= (α c M)² with c of `shares.spread`: how long gradients of others take to be mixed in.

    None for an optimiser other than SGD with a constant step size, M unknown, or shares that are drawn: the weight of a
    worker from which others have not heard for long comes near 0, and its view moves by its whole gradient over it.
    """
    del params
    missing = share_models.spread(shares, delay=delay) if num_workers > 1 else 0.0
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
    shares: share_models.Shares | Callable[[int], share_models.Shares] = share_models.one_peer_exponential,
    delay: int = 0,
) -> Algorithm:
    """Push-sum SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker; it sees v^i as its parameters.
        shares: P_t on n workers, of `shares`, or a function of their number that makes them; default half to one of the
            workers i + 1, i + 2, i + 4, ... in turn.
        delay: d >= 0, steps that a message is on its way beyond the step in which it is sent.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles, shares
        >>> from elastic_jax.algorithms import push_sum_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = push_sum_sgd.build(oracle, num_workers=2, step_size=0.5,
        ...     shares=shares.from_matrix([[0.75, 0.5], [0.25, 0.5]]))
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[8.0], [16.0]]))
        ...     print(state.pushed_params[:, 0], state.push_weights, algorithm.global_params(state))
        [7. 5.] [1.25 0.75] [6.]
        [10.983334  6.883333] [1.3125 0.6875] [8.933333]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    shares = share_models.check(shares, num_workers=num_workers)
    delay = arguments.integer("delay", delay, low=0)
    return Algorithm(
        init=partial(init, optimizer=optimizer, delay=delay, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            shares=shares,
            delay=delay,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(
            consistency_bound, step_size=size, shares=shares, delay=delay, num_workers=num_workers
        ),
        num_workers=num_workers,
    )


def _quotients(rows: PyTree, weights: Array) -> PyTree:
    """x^i / w^i for every worker: [n, ...] and float[n] -> [n, ...]."""
    return jax.tree.map(lambda leaf: leaf / weights.astype(leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1)), rows)
