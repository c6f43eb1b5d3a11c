"""Federated averaging: in each round a sample of the workers starts from the server, which then takes their mean.

    S_r       a sample of c workers, uniform, drawn when round r begins
    v_t^i     = x_t^i, i in S_r                 the view: the participant's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    y_t^i     = x_t^i + u_t^i                   the local step; q_i = p_i / Σ_{j in S_r} p_j
    x_{t+1}^i = Σ_{j in S_r} q_j y_t^j          for all i in S_{r+1}, if t + 1 is a multiple of H
              = y_t^i                           otherwise

View: the participant's parameters, which drift apart in a round.
Global parameters: x_t = Σ_{i in S_r} q_i x_t^i, what the server would take now, a virtual iterate except when a round
is over. Workers that are not in the sample have no parameters.
Optimiser: one for each worker; when a worker is sampled again its state is what it left behind (`kept`), or new
(`reset`).
Limit: with H = 1 and all workers, equal weights, this is synchronous SGD.

Source: McMahan, Moore, Ramage, Hampson, Agüera y Arcas, Communication-Efficient Learning of Deep Networks from
Decentralized Data, AISTATS 2017, arXiv 1602.05629, Algorithm 1.
Departures: local steps are counted, not epochs. The sample overwrites those who were not in it: this is no mixing by
doubly stochastic matrices, for which see `local_sgd` with `num_sampled`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, mixings, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"period": 1}

COOPERATIVE: tuple[tuple[Mapping[str, Any], Callable[[int], Mapping[str, Any]]], ...] = (
    ({"period": 3}, lambda n: {"period": 3, "mixing": mixings.average(n)}),
)
"""Arguments, with which everybody takes part, and those at which `cooperative_sgd` with n workers is the same."""

OPT_STATES = ("kept", "reset")


class State(NamedTuple):
    """State of federated averaging. Bytes: 4 + num_sampled * (4 + P) + n * O."""

    num_steps: Array
    """int32[]. Steps taken, by each participant."""
    participants: Stacked[Array]
    """int32[c]. S_r, ascending."""
    local_params: Stacked[Params]
    """[c, ...], parameter units. x_t^i of the participants."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(
    key: Array, params: Params, *, optimizer: optax.GradientTransformation, num_sampled: int, num_workers: int
) -> State:
    """The first participants start at `params` [...]."""
    params = arguments.float_params("params", params)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        participants=_draw(key, num_sampled=num_sampled, num_workers=num_workers),
        local_params=stacked.broadcast(params, num_sampled),
        opt_states=stacked.init_optimizers(optimizer, stacked.broadcast(params, num_workers)),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    period: int,
    num_sampled: int,
    worker_weights: tuple[float, ...],
    opt_states_at_joining: str,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of the c participants, and the server when a round is over: the equations of the module."""
    key_schedule, key_samples, _ = base.split_key(key)
    workers, is_everybody = state.participants, num_sampled == num_workers
    weights = _shares(workers, worker_weights)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    own_states = state.opt_states if is_everybody else stacked.take_rows(state.opt_states, workers)
    if opt_states_at_joining == "reset":
        is_new = jnp.broadcast_to(state.num_steps % period == 0, (num_sampled,))
        own_states = stacked.where_rows(is_new, stacked.init_optimizers(optimizer, views), own_states)
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, own_states = stacked.update_optimizers(optimizer, grads, own_states, views)
    moved = stacked.add(state.local_params, updates)

    # communicate: x^i = Σ_S q_j y^j for the participants of the next round if t + 1 is a multiple of H, else y^i
    is_due = (state.num_steps + 1) % period == 0
    local_params = lax.cond(is_due, _serve, _keep, moved, weights)
    drawn = _draw(key_schedule, num_sampled=num_sampled, num_workers=num_workers)

    # apply
    new_state = State(
        num_steps=state.num_steps + 1,
        participants=jnp.where(is_due, drawn, workers),
        local_params=local_params,
        opt_states=own_states if is_everybody else stacked.put_rows(state.opt_states, workers, own_states),
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=weights,
        bits_sent=jnp.where(is_due, 8.0 * stacked.num_bytes(stacked.first(views)), 0.0),
    )


def global_params(state: State, *, worker_weights: tuple[float, ...]) -> Params:
    """x_t = Σ_{i in S_r} q_i x_t^i."""
    return stacked.weighted_sum(_shares(state.participants, worker_weights), state.local_params)


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    period: int,
    num_sampled: int,
    worker_weights: tuple[float, ...],
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² (2 (1 - q) (H - 1) M)², q the least share that a participant can have; see `local_sgd`.

    None for an optimiser other than SGD with a constant step size, or M unknown.
    """
    del params
    ascending = sorted(worker_weights)
    least = ascending[0] / (ascending[0] + sum(ascending[len(ascending) - num_sampled + 1 :]))
    missing = 2 * (1 - least) * (period - 1)
    if missing == 0:
        return 0.0
    if not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    return (step_size * missing) ** 2 * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    period: int = 4,
    num_sampled: int | None = None,
    worker_weights: Sequence[float] | None = None,
    opt_states_at_joining: str = "kept",
) -> Algorithm:
    """Federated averaging with n workers, c of them in a round.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`; called with k = c.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        period: H >= 1, local steps of a round.
        num_sampled: c in [1, n], participants of a round; default all.
        worker_weights: n numbers > 0, p_i up to a common factor, e.g. how many examples each worker has; default equal.
        opt_states_at_joining: "kept" or "reset".

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles
        >>> from elastic_jax.algorithms import federated_averaging_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = federated_averaging_sgd.build(oracle, num_workers=2, step_size=0.5, worker_weights=[1, 3])
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(4):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[0.0], [16.0]]))
        ...     print(state.local_params.tolist(), algorithm.global_params(state))
        [[0.0], [8.0]] [6.]
        [[0.0], [12.0]] [9.]
        [[0.0], [14.0]] [10.5]
        [[11.25], [11.25]] [11.25]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    period = arguments.integer("period", period, low=1)
    given = num_workers if num_sampled is None else num_sampled
    num_sampled = arguments.integer("num_sampled", given, low=1, high=num_workers)
    weights = arguments.weights("worker_weights", worker_weights, number=num_workers)
    arguments.one_of("opt_states_at_joining", opt_states_at_joining, OPT_STATES)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_sampled=num_sampled, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            period=period,
            num_sampled=num_sampled,
            worker_weights=weights,
            opt_states_at_joining=opt_states_at_joining,
            num_workers=num_workers,
        ),
        global_params=partial(global_params, worker_weights=weights),
        consistency_bound=partial(
            consistency_bound, step_size=size, period=period, num_sampled=num_sampled, worker_weights=weights
        ),
        num_workers=num_workers,
    )


def _draw(key: Array, *, num_sampled: int, num_workers: int) -> Array:
    """int32[c]: a uniform sample, ascending."""
    drawn = jax.random.permutation(key, jnp.arange(num_workers, dtype=jnp.int32))[:num_sampled]
    return jnp.sort(drawn)


def _shares(participants: Array, worker_weights: tuple[float, ...]) -> Array:
    """float[c]: q_i of the participants."""
    weights = jnp.asarray(worker_weights)[participants]
    return weights / jnp.sum(weights)


def _serve(local_params: PyTree, weights: Array) -> PyTree:
    """The server takes the mean and hands it to all who come next."""
    return stacked.broadcast(stacked.weighted_sum(weights, local_params), weights.shape[0])


def _keep(local_params: PyTree, weights: Array) -> PyTree:
    """Nothing is exchanged."""
    del weights
    return local_params
