"""Elastic scheduling SGD: a worker goes on before a round is complete; what is late is put right one step later.

    v_t^i     = y_t^i                           the view: what had come when the barrier opened, `received_params`
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`, sent to all
    R_t^i     = what is received of them when the barrier of worker i opens
    x_{t+1}   = x_t + (1/n) Σ_j u_t^j           the whole round, complete before the next barrier opens
    y_{t+1}^i = x_{t+1} - (1/n) Σ_{j not in R_t^i} u_t^j                       over workers
    y_{t+1}^i = x_{t+1} - P_t^i (1/n) Σ_j u_t^j                                over layers, P_t^i those not received
    and with `substitute` the worker's own update stands in for each that is late: u_t^j - u_t^i in the place of u_t^j

View: the global parameters without what is late (the norm-bounded scheduler), or with the worker's own updates in its
place (the variance-bounded one); nothing is later than one step.
Global parameters: x_t, what every machine stores once the round is complete.
Optimiser: one for each worker, acting on its own gradients.
Limit: with a barrier that waits for everything this is synchronous SGD.

Source: Nadiradze, Markov, Chatterjee, Kungurtsev, Alistarh, Elastic Consistency, AAAI 2021, arXiv 2001.05918, the
elastic scheduler; its rule over layers as in the authors' public code.
Departures: rules are evaluated once all norms of a round are known (the public code compares with a sum that still
grows); the order in which pieces come is part of the barrier. The step size is folded into what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, stacked
from elastic_jax import barriers as barrier_models
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"barrier": barrier_models.everything()}


class State(NamedTuple):
    """State of elastic scheduling SGD. Bytes: 4 + P + n * P + n * O + 4 * n."""

    num_steps: Array
    """int32[]. Steps taken."""
    params: Params
    """[...], parameter units. x_t: complete rounds."""
    received_params: Stacked[Params]
    """[n, ...], parameter units. y_t^i: what had come when the barrier opened."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""
    num_late: Stacked[Array]
    """int32[n]. How many pieces of the last round each worker went on without."""


def init(key: Array, params: Params, *, optimizer: optax.GradientTransformation, num_workers: int) -> State:
    """Every machine starts at `params` [...], with nothing late."""
    del key
    params = arguments.float_params("params", params)
    received = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        params=params,
        received_params=received,
        opt_states=stacked.init_optimizers(optimizer, received),
        num_late=jnp.zeros(num_workers, jnp.int32),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    barrier: barrier_models.Barrier,
    substitute: bool,
    num_workers: int,
) -> tuple[State, Info]:
    """One round of all n workers: the equations of the module, in their order."""
    key_schedule, key_samples, _ = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = y^i
    views = state.received_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)

    # communicate: R^i, and Σ of what is late
    is_late = ~barrier.received(key_schedule, state.num_steps, updates)
    late = (_late_workers if barrier.over == "workers" else _late_layers)(is_late, updates, substitute=substitute)

    # apply: x = x + (1/n) Σ u^j, y^i = x - (1/n) Σ of what is late
    weights = jnp.full(num_workers, 1.0 / num_workers)
    new_params = stacked.add(state.params, stacked.weighted_sum(weights, updates))
    new_state = State(
        num_steps=state.num_steps + 1,
        params=new_params,
        received_params=jax.tree.map(lambda whole, part: whole[None] - part, new_params, late),
        opt_states=opt_states,
        num_late=jnp.sum(is_late, axis=1, dtype=jnp.int32),
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=weights,
        staleness=jnp.minimum(state.num_late, 1),
        bits_sent=8 * stacked.num_bytes(new_params),
    )


def global_params(state: State) -> Params:
    """x_t: all rounds, complete."""
    return state.params


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    barrier: barrier_models.Barrier,
    substitute: bool,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² B²: at most one round is late, and of it what the barrier lets be late.

    arXiv 2001.05918, Table 1. Of all of the following that are known the smallest, with q = (n - 1)/n, and over layers
    s = √(σ²(1 - 1/n) + (2 L α q M)²) >= ‖ḡ - g^i‖ where all f_i are the same:

        absent, over workers   q M; β M where the barrier keeps the missing norm below a β-fraction
        absent, over layers    M; β M as above; c M + s where the late layers hold a c-fraction of the own norm
        stand-ins              2 q M; where all f_i are the same and α <= 1/(6 L q), also 1.5 q σ, half of the paper's
                               3 σ; over layers 1.061 √(1 - 1/n) σ

    What is late may depend on the gradients: all that could have been late are counted. None for an optimiser other
    than SGD with a constant step size, and where the constants are unknown.
    """
    others = (num_workers - 1) / num_workers
    if barrier.missing_of_all == 0 or (num_workers == 1 and (substitute or barrier.over == "workers")):
        return 0.0
    if not isinstance(step_size, float):
        return None
    over_layers, square = barrier.over == "layers", constants.grad_second_moment
    drift, variance = None, constants.grad_variance
    if constants.heterogeneity == 0 and constants.smoothness is not None:
        drift = 2 * constants.smoothness * step_size * others  # times B: how far ∇f at the views may differ
    bounds = []
    if substitute:
        if square is not None:
            bounds.append((2 * others) ** 2 * square)
        if drift is not None and variance is not None and 3 * drift <= 1:
            bounds.append(9 / 8 * others * variance if over_layers else (1.5 * others) ** 2 * variance)
    elif square is not None:
        bounds.append(min(1.0 if over_layers else others, barrier.missing_of_all) ** 2 * square)
        if barrier.missing_of_own is not None and drift is not None and variance is not None:
            own = barrier.missing_of_own(len(jax.tree.leaves(params)))
            bounds.append((own * square**0.5 + (variance * others + drift**2 * square) ** 0.5) ** 2)
    return step_size**2 * min(bounds) if bounds else None


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    barrier: barrier_models.Barrier | None = None,
    substitute: bool = False,
) -> Algorithm:
    """Elastic scheduling SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        barrier: for what a worker waits, of `barriers`; default half of the messages, in whatever order they come,
            which looks at no norm. The rules of the paper and of its code are `own_norm_squared`, `own_norm_sum`.
        substitute: a worker's own updates stand in for those that are late.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import barriers, oracles
        >>> from elastic_jax.algorithms import elastic_scheduling_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = elastic_scheduling_sgd.build(oracle, num_workers=2, step_size=0.5,
        ...     barrier=barriers.number(0.5))
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
    barrier = barrier_models.number(0.5) if barrier is None else barrier
    barrier = barrier_models.check_fits(barrier, num_workers=num_workers)
    arguments.flag("substitute", substitute)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            barrier=barrier,
            substitute=substitute,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(
            consistency_bound, step_size=size, barrier=barrier, substitute=substitute, num_workers=num_workers
        ),
        num_workers=num_workers,
    )


def _late_workers(is_late: Array, updates: PyTree, *, substitute: bool) -> PyTree:
    """(1/n) Σ_{j late} u^j, or u^j - u^i, for every worker i: bool[n, n] and [n, ...] -> [n, ...]."""
    n = is_late.shape[0]
    late = jnp.where(is_late, 1.0 / n, 0.0)
    if substitute:
        late = late - jnp.diag(jnp.sum(late, axis=1))
    return stacked.weighted_sum(late, updates)


def _late_layers(is_late: Array, updates: PyTree, *, substitute: bool) -> PyTree:
    """P^i (1/n) Σ_j u^j, or less u^i, for every worker i: bool[n, m] and [n, ...] -> [n, ...]."""
    leaves, treedef = jax.tree.flatten(updates)
    means = jax.tree.leaves(stacked.worker_mean(updates))
    parts = []
    for layer, (leaf, mean) in enumerate(zip(leaves, means, strict=True)):
        whole = mean[None] - leaf if substitute else jnp.broadcast_to(mean, leaf.shape)
        column = is_late[:, layer].reshape(-1, *[1] * (leaf.ndim - 1))
        parts.append(jnp.where(column, whole, jnp.zeros((), leaf.dtype)))
    return jax.tree.unflatten(treedef, parts)
