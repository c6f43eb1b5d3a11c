"""Local SGD: workers take steps on their own parameters, and now and then these are averaged.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    y_t^i     = x_t^i + u_t^i                   the local step
    x_{t+1}^i = Σ_{j in D} p_j y_t^j / Σ_{j in D} p_j           i in D: who averages now
              = y_t^i                           otherwise
    D         = {i in S : t + 1 is a multiple of H_i}           S is a fresh sample of the workers, or all

View: the local parameters, which drift apart between two averagings.
Global parameters: x_t = Σ_i p_i x_t^i, a virtual iterate except right after an averaging of all: no averaging moves it.
Optimiser: one for each worker; at an averaging its state stays with the worker (`kept`), is averaged as the parameters
are, numbers that are no floats being kept (`averaged`), or starts anew (`reset`).
Limit: with H = 1 and equal weights, everybody averaging, this is synchronous SGD.

Source: Stich, Local SGD Converges Fast and Communicates Little, ICLR 2019, arXiv 1805.09767, Algorithm 1; McMahan et
al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017, arXiv 1602.05629, for the
weights; PASGD in Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, A(τ, J, 0) with τ = H.
Departures: a sample is replaced by its own mean, and the others keep what they have, so that the mean of all stays; a
server that hands its parameters to whom it samples next is `federated_averaging_sgd`. A worker may have its own H_i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from elastic_jax import arguments, base, mixings, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"period": 1}

COOPERATIVE: tuple[tuple[Mapping[str, Any], Callable[[int], Mapping[str, Any]]], ...] = (
    ({"period": 3}, lambda n: {"period": 3, "mixing": mixings.average(n)}),
    ({"period": 2, "num_sampled": 2}, lambda n: {"period": 2, "mixing": mixings.sampled(n, 2)}),
)
"""Arguments, and those at which `cooperative_sgd` with n workers is the same, row by row."""

OPT_STATES = ("kept", "averaged", "reset")


class State(NamedTuple):
    """State of local SGD. Bytes: 4 + n * (P + O)."""

    num_steps: Array
    """int32[]. Steps taken, by each worker."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(key: Array, params: Params, *, optimizer: optax.GradientTransformation, num_workers: int) -> State:
    """Every worker starts at `params` [...]."""
    del key
    local_params = stacked.broadcast(arguments.float_params("params", params), num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
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
    period: int | tuple[int, ...],
    worker_weights: tuple[float, ...],
    num_sampled: int | None,
    opt_states_at_averaging: str,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and the averaging when it is due: the equations of the module."""
    key_schedule, key_samples, _ = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)
    weights = jnp.asarray(worker_weights)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    moved = stacked.add(state.local_params, updates)

    # communicate: x^i = Σ_D p_j y^j / Σ_D p_j of those in D, else y^i
    is_due = jnp.broadcast_to((state.num_steps + 1) % jnp.asarray(period, jnp.int32) == 0, (num_workers,))
    if num_sampled is not None:
        is_due = is_due & mixings.draw_sample(key_schedule, num_workers=num_workers, num_sampled=num_sampled)
    is_everybody = isinstance(period, int) and num_sampled is None
    average = partial(_average, weights=weights, is_everybody=is_everybody)
    local_params, opt_states = lax.cond(
        jnp.any(is_due),
        partial(_exchange, average=average, optimizer=optimizer, opt_states_at_averaging=opt_states_at_averaging),
        _keep,
        moved,
        opt_states,
        is_due,
    )

    # apply
    new_state = State(num_steps=state.num_steps + 1, local_params=local_params, opt_states=opt_states)
    sent = (local_params, opt_states) if opt_states_at_averaging == "averaged" else local_params
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=weights,
        bits_sent=jnp.where(is_due, 8.0 * _num_float_bytes(sent) / num_workers, 0.0),
    )


def global_params(state: State, *, worker_weights: tuple[float, ...]) -> Params:
    """x_t = Σ_i p_i x_t^i: what an averaging of all would give now."""
    return stacked.weighted_sum(jnp.asarray(worker_weights), state.local_params)


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    period: int | tuple[int, ...],
    worker_weights: tuple[float, ...],
    num_sampled: int | None,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² (2 (1 - min_i p_i) (H - 1) M)²: at most H - 1 steps since all were averaged.

    x_t - x_t^i = -α Σ_s Σ_j (p_j - a_ij(s)) g_s^j, where a_ij(s) >= 0 is what x^i has of g_s^j and Σ_j a_ij = 1, so
    that Σ_j |p_j - a_ij| <= 2 (1 - min p). H is the least common multiple of the periods. A sample of equal workers
    with one period: (α c M)² with c of `mixings.spread`. None for other samples, for an optimiser other than SGD with a
    constant step size, or M unknown.
    """
    del params
    if num_sampled is None:
        missing: float | None = 2 * (1 - min(worker_weights)) * (math.lcm(*np.atleast_1d(period).tolist()) - 1)
    elif isinstance(period, int) and max(worker_weights) == min(worker_weights):
        missing = mixings.spread(mixings.sampled(num_workers, num_sampled), period=period, num_workers=num_workers)
    else:
        missing = None
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
    period: int | Sequence[int] = 4,
    worker_weights: Sequence[float] | None = None,
    num_sampled: int | None = None,
    opt_states_at_averaging: str = "kept",
) -> Algorithm:
    """Local SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        period: H >= 1, steps between averagings; the first is after step H. Or n of them: worker i averages after steps
            H_i, 2 H_i, ..., with those that are due at the same time.
        worker_weights: n numbers > 0, p_i up to a common factor, e.g. how many examples each worker has; default equal.
        num_sampled: c in [1, n], workers of those that are due that average, drawn anew each time; default all.
        opt_states_at_averaging: "kept", "averaged" or "reset".

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles
        >>> from elastic_jax.algorithms import local_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = local_sgd.build(oracle, num_workers=2, step_size=0.5, period=2)
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[1.0], [3.0]]))
        ...     print(state.local_params.tolist(), algorithm.global_params(state))
        [[0.5], [1.5]] [1.]
        [[1.5], [1.5]] [1.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    periods = _periods(period, num_workers=num_workers)
    weights = arguments.weights("worker_weights", worker_weights, number=num_workers)
    if num_sampled is not None:
        num_sampled = arguments.integer("num_sampled", num_sampled, low=1, high=num_workers)
    arguments.one_of("opt_states_at_averaging", opt_states_at_averaging, OPT_STATES)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            period=periods,
            worker_weights=weights,
            num_sampled=num_sampled,
            opt_states_at_averaging=opt_states_at_averaging,
            num_workers=num_workers,
        ),
        global_params=partial(global_params, worker_weights=weights),
        consistency_bound=partial(
            consistency_bound,
            step_size=size,
            period=periods,
            worker_weights=weights,
            num_sampled=num_sampled,
            num_workers=num_workers,
        ),
        num_workers=num_workers,
    )


def _periods(period: int | Sequence[int], *, num_workers: int) -> int | tuple[int, ...]:
    """One period, or one for each worker."""
    if not isinstance(period, (list, tuple)):
        return arguments.integer("period", period, low=1)
    periods = arguments.integers("period", period, low=1)
    if len(periods) != num_workers:
        raise ValueError(
            f"period = {periods} has {len(periods)} numbers; it must be one, or num_workers = {num_workers}"
        )
    return periods


def _exchange(
    local_params: PyTree,
    opt_states: PyTree,
    is_due: Array,
    *,
    average: Callable[[PyTree, Array], PyTree],
    optimizer: optax.GradientTransformation,
    opt_states_at_averaging: str,
) -> tuple[PyTree, PyTree]:
    """The averaging of parameters, and what becomes of the optimisers of those who took part."""
    local_params = average(local_params, is_due)
    if opt_states_at_averaging == "averaged":
        opt_states = jax.tree.map(lambda leaf: average(leaf, is_due) if _is_float(leaf) else leaf, opt_states)
    if opt_states_at_averaging == "reset":
        opt_states = stacked.where_rows(is_due, stacked.init_optimizers(optimizer, local_params), opt_states)
    return local_params, opt_states


def _keep(local_params: PyTree, opt_states: PyTree, is_due: Array) -> tuple[PyTree, PyTree]:
    """Nothing is exchanged."""
    del is_due
    return local_params, opt_states


def _average(rows: PyTree, is_due: Array, *, weights: Array, is_everybody: bool) -> PyTree:
    """Rows of those who are due become their weighted mean."""
    shares = weights if is_everybody else jnp.where(is_due, weights, 0) / jnp.sum(weights, where=is_due)
    means = stacked.broadcast(stacked.weighted_sum(shares, rows), is_due.shape[0])
    return means if is_everybody else stacked.where_rows(is_due, means, rows)


def _is_float(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _num_float_bytes(tree: PyTree) -> int:
    return stacked.num_bytes([leaf for leaf in jax.tree.leaves(tree) if _is_float(leaf)])
