"""Local SGD: every worker takes H steps on its own parameters, then all parameters are averaged.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    y_t^i     = x_t^i + u_t^i                   the local step
    x_{t+1}^i = (1/n) Σ_j y_t^j                 if t + 1 is a multiple of H
              = y_t^i                           otherwise

View: the local parameters, which drift apart between two averagings.
Global parameters: x_t = (1/n) Σ_i x_t^i, a virtual iterate except right after an averaging.
Optimiser: one for each worker; its state stays with the worker and is not averaged.
Limit: with H = 1 this is synchronous SGD.

Source: Stich, Local SGD Converges Fast and Communicates Little, ICLR 2019, arXiv 1805.09767, Algorithm 1; PASGD in
Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, A(τ, J, 0) with τ = H.
Departures: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"period": 1}


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
    period: int,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and the averaging when it is due: the equations of the module."""
    key_samples = base.split_key(key).samples
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    moved = stacked.add(state.local_params, updates)

    # communicate: x^i = (1/n) Σ_j y^j if t + 1 is a multiple of H, else y^i
    is_due = (state.num_steps + 1) % period == 0
    local_params = lax.cond(is_due, _average, _keep, moved)

    # apply
    new_state = State(num_steps=state.num_steps + 1, local_params=local_params, opt_states=opt_states)
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, 1.0 / num_workers),
        bits_sent=jnp.where(is_due, 8.0 * stacked.num_bytes(views) / num_workers, 0.0),
    )


def global_params(state: State) -> Params:
    """x_t = (1/n) Σ_i x_t^i: what an averaging now would give."""
    return stacked.worker_mean(state.local_params)


def consistency_bound(
    constants: Constants, params: Params, *, step_size: StepSize | None, period: int, num_workers: int
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² (2 (1 - 1/n) (H - 1) M)²: at most H - 1 steps since the last averaging.

    x_t - x_t^i = -α Σ_s (ḡ_s - g_s^i), and ‖ḡ - g^i‖ <= (1 - 1/n) ‖g^i‖ + (1/n) Σ_{j≠i} ‖g^j‖ <= 2 (1 - 1/n) M in L².
    None for an optimiser other than SGD with a constant step size, or M unknown.
    """
    del params
    missing = 2 * (1 - 1 / num_workers) * (period - 1)
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
) -> Algorithm:
    """Local SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        period: H >= 1, steps between averagings; the first is after step H.

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
    period = arguments.integer("period", period, low=1)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            period=period,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size, period=period, num_workers=num_workers),
        num_workers=num_workers,
    )


def _average(local_params: PyTree) -> PyTree:
    """The mean over workers, handed to every worker."""
    return stacked.broadcast(stacked.worker_mean(local_params), stacked.num_rows(local_params))


def _keep(local_params: PyTree) -> PyTree:
    """Nothing is exchanged."""
    return local_params
