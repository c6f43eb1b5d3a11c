"""Synchronous SGD: every worker takes its gradient at the same parameters, and all of them are waited for.

    v_t^i     = x̂_t                             the view: the parameters every machine stores
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    w_t^i     = e_t^i + u_t^i                   what is left to send
    m_t^i     = C(w_t^i)                        `messages`
    e_{t+1}^i = w_t^i - m_t^i                   `memories`, with error feedback; else lost
    x̂_{t+1}   = x̂_t + (1/n) Σ_i m_t^i           the stored parameters

View: all views are the stored parameters, which differ from the global ones by what compression held back.
Global parameters: x_t = x̂_t + (1/n) Σ_i e_t^i, the virtual iterate of the analysis, stored by no machine with error
feedback; then x_{t+1} = x_t + (1/n) Σ_i u_t^i. Without compression or without memory they are the stored ones.
Optimiser: one for each worker, acting on its own gradients, since what is sent and remembered is the update.
Limit: with the identity compressor this is SGD with n times the batch.

Source: Seide et al., Interspeech 2014; Stich, Cordonnier, Jaggi, Sparsified SGD with Memory, NeurIPS 2018, arXiv
1809.07599, Algorithm 1, with n workers as in Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918.
Departures: the step size is folded into the memory (parameter units); the memory carries the sign of an update, so
that x - v is plus its mean, where the paper's ε gives minus.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, compressors, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {}


class State(NamedTuple):
    """State of synchronous SGD. Bytes: 4 + P + n * O + n * P * error_feedback."""

    num_steps: Array
    """int32[]. Steps taken."""
    params: Params
    """[...], parameter units. x̂_t: what every machine stores."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""
    memories: Stacked[PyTree]
    """[n, ...], parameter units. e_t^i: what was held back; () without error feedback."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    error_feedback: bool,
    num_workers: int,
) -> State:
    """Every machine starts at `params` [...], with nothing held back."""
    del key
    params = arguments.float_params("params", params)
    local_params = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        params=params,
        opt_states=stacked.init_optimizers(optimizer, local_params),
        memories=stacked.scale(0.0, local_params) if error_feedback else (),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    compressor: compressors.Compressor,
    error_feedback: bool,
    num_workers: int,
) -> tuple[State, Info]:
    """One round of all n workers: the equations of the module, in their order."""
    _, key_samples, key_messages = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x̂
    views = stacked.broadcast(state.params, num_workers)

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)

    # communicate: w^i = e^i + u^i, m^i = C(w^i)
    unsent = stacked.add(state.memories, updates) if error_feedback else updates
    messages = compressors.compress_rows(compressor, stacked.worker_keys(key_messages, workers), unsent)

    # apply: e^i = w^i - m^i, x̂ = x̂ + (1/n) Σ m^i
    weights = jnp.full(num_workers, 1.0 / num_workers)
    new_state = State(
        num_steps=state.num_steps + 1,
        params=stacked.add(state.params, stacked.weighted_sum(weights, messages)),
        opt_states=opt_states,
        memories=stacked.subtract(unsent, messages) if error_feedback else (),
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates if error_feedback else messages,
        weights=weights,
        bits_sent=compressor.bits(state.params),
    )


def global_params(state: State, *, error_feedback: bool) -> Params:
    """x_t = x̂_t + (1/n) Σ_i e_t^i: the virtual iterate, as if nothing had been held back."""
    return stacked.add(state.params, stacked.worker_mean(state.memories)) if error_feedback else state.params


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    compressor: compressors.Compressor,
    error_feedback: bool,
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² b(γ)² M², b(γ) = √γ / (1 - √γ), γ the fraction lost by the compressor.

    By Minkowski's inequality, ‖e_{t+1}‖ <= √γ (‖e_t‖ + α M) in L²; at least as small as the constant
    √((2 - γ) γ / (1 - γ)³) M of arXiv 2001.05918, Table 1. Without error feedback the stored parameters are the global
    ones and the distance is 0. None for an optimiser other than SGD with a constant step size, for a compressor that
    is no contraction, and where M is unknown.
    """
    if not error_feedback:
        return 0.0
    lost = compressors.residual_fraction(compressor, params)
    second_moment = constants.grad_second_moment
    if lost is None or not isinstance(step_size, float) or (second_moment is None and lost > 0):
        return None
    return step_size**2 * lost / (1 - lost**0.5) ** 2 * (second_moment or 0.0)


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    compressor: compressors.Compressor | None = None,
    error_feedback: bool = False,
) -> Algorithm:
    """Synchronous SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        compressor: C, of `compressors`; default sends everything.
        error_feedback: keep what the compressor holds back and send it later; else it is lost.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import compressors, oracles
        >>> from elastic_jax.algorithms import synchronous_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = synchronous_sgd.build(oracle, num_workers=2, step_size=0.5,
        ...     compressor=compressors.top_k(0.5), error_feedback=True)
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(2))
        >>> state, info = algorithm.step(jax.random.key(1), state, jnp.array([[1.0, 2.0], [3.0, 8.0]]))
        >>> print(state.params, algorithm.global_params(state))
        [0.  2.5] [1.  2.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    compressor = compressors.check(compressor)
    arguments.flag("error_feedback", error_feedback)
    return Algorithm(
        init=partial(init, optimizer=optimizer, error_feedback=error_feedback, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            compressor=compressor,
            error_feedback=error_feedback,
            num_workers=num_workers,
        ),
        global_params=partial(global_params, error_feedback=error_feedback),
        consistency_bound=partial(
            consistency_bound, step_size=size, compressor=compressor, error_feedback=error_feedback
        ),
        num_workers=num_workers,
    )
