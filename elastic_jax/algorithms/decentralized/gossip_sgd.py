"""Gossip SGD: workers step on their own parameters and average with their neighbours, never with all.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    if t + 1 = (k + 1) H, W_k what is drawn:
    x_{t+1}^i = Σ_j W_k,ij (x_t^j + u_t^j)      adapt, then combine
              = Σ_j W_k,ij x_t^j + u_t^i        combine, then adapt
    otherwise:
    x_{t+1}^i = x_t^i + u_t^i

View: the local parameters, which never become equal unless W = J.
Global parameters: x_t = (1/n) Σ_i x_t^i, a virtual iterate: W is doubly stochastic, so that mixing does not move it.
Optimiser: one for each worker; its state stays with the worker and is not mixed.
Limit: with W = J and H = 1, adapting first, this is synchronous SGD.

Source: Lian, Zhang, Zhang, Hsieh, Zhang, Liu, Can Decentralized Algorithms Outperform Centralized Algorithms?, NeurIPS
2017, arXiv 1705.09056, Algorithm 1 (D-PSGD), which combines first; Koloskova, Loizou, Boreiri, Jaggi, Stich, A Unified
Theory of Decentralized SGD, ICML 2020, arXiv 2003.10422, for matrices that change; Wang, Joshi, Cooperative SGD, JMLR
2021, arXiv 1808.07576, A(τ, W, 0) with τ = H, for the period.
Departures: adapts first by default, as Cooperative SGD does. Combining first, gradients are taken at x^i before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, mixings, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"mixing": mixings.average, "period": 1}

COOPERATIVE: tuple[tuple[Mapping[str, Any], Callable[[int], Mapping[str, Any]]], ...] = (
    ({"period": 2}, lambda n: {"period": 2, "mixing": mixings.around_ring(n)}),
    ({"mixing": mixings.one_peer_exponential}, lambda n: {"period": 1, "mixing": mixings.one_peer_exponential(n)}),
    ({"mixing": lambda n: mixings.sampled(n, 2)}, lambda n: {"period": 1, "mixing": mixings.sampled(n, 2)}),
)
"""Arguments, and those at which `cooperative_sgd` with n workers is the same, row by row."""


class State(NamedTuple):
    """State of gossip SGD. Bytes: 4 + n * (P + O)."""

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
    mixing: mixings.Mixing,
    combine_first: bool,
    period: int,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and the mixing when it is due: the equations of the module."""
    key_schedule, key_samples, _ = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)

    # communicate: Σ_j W_k,ij (x^j + u^j), or Σ_j W_k,ij x^j + u^i, if t + 1 is a multiple of H
    is_due = (state.num_steps + 1) % period == 0
    num_mixings = state.num_steps // period
    exchanged = state.local_params if combine_first else stacked.add(state.local_params, updates)
    exchanged = lax.cond(is_due, partial(mixing.mix, key_schedule, num_mixings), _keep, exchanged)

    # apply
    local_params = stacked.add(exchanged, updates) if combine_first else exchanged
    new_state = State(num_steps=state.num_steps + 1, local_params=local_params, opt_states=opt_states)
    messages = mixing.num_messages(key_schedule, num_mixings).astype(jnp.float32)
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, 1.0 / num_workers),
        bits_sent=jnp.where(is_due, 8.0 * stacked.num_bytes(stacked.first(views)) * messages, 0.0),
    )


def global_params(state: State) -> Params:
    """x_t = (1/n) Σ_i x_t^i."""
    return stacked.worker_mean(state.local_params)


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    mixing: mixings.Mixing,
    combine_first: bool,
    period: int,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= (α c M)² with c of `mixings.spread`: how long gradients of others take to be mixed in.

    None for an optimiser other than SGD with a constant step size, M unknown, or a mixing that brings nobody together.
    """
    del params
    missing = mixings.spread(mixing, period=period, num_workers=num_workers, is_late=combine_first)
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
    mixing: mixings.Mixing | Callable[[int], mixings.Mixing] = mixings.around_ring,
    combine_first: bool = False,
    period: int = 1,
) -> Algorithm:
    """Gossip SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        mixing: W_k on n rows, of `mixings`, or a function of their number that makes it; default the two neighbours on
            a ring with 1/3 each.
        combine_first: mix x^i before the update is added, as D-PSGD does, instead of after it.
        period: H >= 1, steps between mixings; the first is in step H.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles
        >>> from elastic_jax.algorithms import gossip_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = gossip_sgd.build(oracle, num_workers=4, step_size=0.5)
        >>> state, data = algorithm.init(jax.random.key(0), jnp.zeros(1)), jnp.array([[0.0], [18.0], [36.0], [18.0]])
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, data)
        ...     print(state.local_params[:, 0], algorithm.global_params(state))
        [ 6.  9. 12.  9.] [9.]
        [10.  13.5 17.  13.5] [13.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    mixing = mixings.check(mixing, num_rows=num_workers)
    arguments.flag("combine_first", combine_first)
    period = arguments.integer("period", period, low=1)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            mixing=mixing,
            combine_first=combine_first,
            period=period,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(
            consistency_bound,
            step_size=size,
            mixing=mixing,
            combine_first=combine_first,
            period=period,
            num_workers=num_workers,
        ),
        num_workers=num_workers,
    )


def _keep(rows: PyTree) -> PyTree:
    """Nothing is exchanged."""
    return rows
