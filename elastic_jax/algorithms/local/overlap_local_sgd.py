"""Overlap local SGD: workers are drawn to an average that was begun one round ago, so that it costs no time.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    y_t^i     = x_t^i + u_t^i                   the local step
    if t + 1 is a multiple of H, a the pull and β the momentum of the anchor:
    x_{t+1}^i = (1 - a) y_t^i + a z_t           the anchor that was begun a round ago has come
    m_{t+1}   = β m_t + z_t - (1/n) Σ_i x_{t+1}^i
    z_{t+1}   = z_t - m_{t+1}                   the next one; with β = 0 the mean (1/n) Σ_i x_{t+1}^i
    otherwise x_{t+1}^i = y_t^i, and anchor and momentum stay

View: the local parameters; a round shrinks their differences by 1 - a.
Global parameters: x_t = (1 - a) (1/n) Σ_i x_t^i + a z_t, a virtual iterate: what the mean would be if the pull came
now. Each update enters it with weight (1 - a)/n: the step is shorter than that of local SGD. `shift`: -a β m_t where
t + 1 is a multiple of H.
Optimiser: one for each worker; its state stays with the worker.
Limit: none; see `SGD_LIMIT`.

Source: Wang, Liang, Joshi, Overlap Local-SGD, ICASSP 2020, arXiv 2002.09539.
Departures: m is in parameter units, as is all that is sent; the source divides it by the step size and multiplies it
again.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from elastic_jax import arguments, base, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT = None
"""One worker with H = 1 takes steps of (1 - a) α: there is no limit at the same α. Its sibling without that, which has
one, is `cocod_sgd`."""


class State(NamedTuple):
    """State of overlap local SGD. Bytes: 4 + 2 * P + n * (P + O)."""

    num_steps: Array
    """int32[]. Steps taken, by each worker."""
    anchor_params: Params
    """[...], parameter units. z_t: on its way, and used when the round is over."""
    anchor_momentum: Params
    """[...], parameter units. m_t."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(key: Array, params: Params, *, optimizer: optax.GradientTransformation, num_workers: int) -> State:
    """Workers and anchor start at `params` [...], without momentum."""
    del key
    params = arguments.float_params("params", params)
    local_params = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        anchor_params=params,
        anchor_momentum=stacked.scale(0.0, params),
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
    pull: float,
    anchor_decay: float,
    period: int,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and the pull when a round is over: the equations of the module."""
    key_samples = base.split_key(key).samples
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    moved = stacked.add(state.local_params, updates)

    # communicate: x^i = (1 - a) y^i + a z, m = β m + z - x̄, z = z - m if t + 1 is a multiple of H
    is_due = (state.num_steps + 1) % period == 0
    meet = partial(_meet, pull=pull, anchor_decay=anchor_decay)
    new_rows = lax.cond(is_due, meet, _keep, moved, state.anchor_params, state.anchor_momentum)

    # apply
    local_params, anchor_params, anchor_momentum = new_rows
    new_state = State(
        num_steps=state.num_steps + 1,
        anchor_params=anchor_params,
        anchor_momentum=anchor_momentum,
        local_params=local_params,
        opt_states=opt_states,
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, (1.0 - pull) / num_workers),
        bits_sent=jnp.where(is_due, 8.0 * stacked.num_bytes(state.anchor_params), 0.0),
        shift=stacked.scale(jnp.where(is_due, -pull * anchor_decay, 0.0), state.anchor_momentum),
    )


def global_params(state: State, *, pull: float) -> Params:
    """x_t = (1 - a) (1/n) Σ_i x_t^i + a z_t."""
    mean = stacked.worker_mean(state.local_params)
    return stacked.add(stacked.scale(1.0 - pull, mean), stacked.scale(pull, state.anchor_params))


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    pull: float,
    anchor_decay: float,
    period: int,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= (α c M)², c = (H - 1) (1 + (1 - a) (1 - 2/n)) + 2 H (1 - 1/n) (1 - a) / a.

    Of a gradient of this round, of which there are at most H - 1 of each worker, x has (1 - a)/n, and x^i all if it is
    its own and else nothing. What was generated m rounds ago is in x and in the mean of all alike, and x^i differs from
    that mean by (1 - a)^m of what it had. None with momentum of the anchor, for an optimiser other than SGD with a
    constant step size, or M unknown.
    """
    del params
    if anchor_decay > 0 or not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    n = num_workers
    in_round = 1 - (1 - pull) / n + (n - 1) * (1 - pull) / n
    missing = (period - 1) * in_round + 2 * period * (1 - 1 / n) * (1 - pull) / pull
    return (step_size * missing) ** 2 * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    pull: float = 0.6,
    anchor_decay: float = 0.0,
    period: int = 4,
) -> Algorithm:
    """Overlap local SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1. x moves by
            (1 - a) α times the mean gradient: compare at equal effective step sizes.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        pull: a in (0, 1), how far each worker is drawn to the anchor.
        anchor_decay: β in [0, 1) of the anchor's momentum.
        period: H >= 1, steps of a round, in which the average of the last one is on its way.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles
        >>> from elastic_jax.algorithms import overlap_local_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = overlap_local_sgd.build(oracle, num_workers=2, step_size=0.5, pull=0.5, period=1)
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[4.0], [8.0]]))
        ...     print(state.local_params.tolist(), state.anchor_params, algorithm.global_params(state))
        [[1.0], [2.0]] [1.5] [1.5]
        [[2.0], [3.25]] [2.625] [2.625]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    pull = arguments.real("pull", pull, above=0.0, below=1.0)
    anchor_decay = arguments.real("anchor_decay", anchor_decay, low=0.0, below=1.0)
    period = arguments.integer("period", period, low=1)
    return Algorithm(
        init=partial(init, optimizer=optimizer, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            pull=pull,
            anchor_decay=anchor_decay,
            period=period,
            num_workers=num_workers,
        ),
        global_params=partial(global_params, pull=pull),
        consistency_bound=partial(
            consistency_bound,
            step_size=size,
            pull=pull,
            anchor_decay=anchor_decay,
            period=period,
            num_workers=num_workers,
        ),
        num_workers=num_workers,
    )


def _meet(
    local_params: PyTree, anchor_params: PyTree, anchor_momentum: PyTree, *, pull: float, anchor_decay: float
) -> tuple[PyTree, PyTree, PyTree]:
    """The anchor has come, and the next one is begun."""
    local_params = jax.tree.map(lambda rows, one: (1.0 - pull) * rows + pull * one[None], local_params, anchor_params)
    behind = stacked.subtract(anchor_params, stacked.worker_mean(local_params))
    anchor_momentum = stacked.add(stacked.scale(anchor_decay, anchor_momentum), behind)
    return local_params, stacked.subtract(anchor_params, anchor_momentum), anchor_momentum


def _keep(local_params: PyTree, anchor_params: PyTree, anchor_momentum: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    """Nothing is exchanged."""
    return local_params, anchor_params, anchor_momentum
