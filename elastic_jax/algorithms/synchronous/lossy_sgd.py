"""Lossy SGD: synchronous SGD over channels that drop messages, which are sent again or lost for ever.

    v_t^i       = y_t^i + (1/n) Σ_j S_t^ij      the view: what worker i has received, and its stand-ins if any
    g_t^i       = g_i(v_t^i, ξ_t^i)             `grads`
    u_t^i       = -α g_t^i                      `updates`
    piggyback, what was not delivered goes with the next message:
    P̂^ij        = P_t^ij + u_t^j                what j has to send to i
    y_{t+1}^i   = y_t^i + (1/n) Σ_{j in R} P̂^ij R = R_t^i: whose channel to i works, i's own always
    P_{t+1}^ij  = 0 if j in R, else P̂^ij        `pendings`
    S_{t+1}^ij  = 0 if j in R, else S_t^ij + u_t^i
                                                `stand_ins`, with substitution; else 0
    x_t         = y_t^i + (1/n) Σ_j P_t^ij      the same for every i
    otherwise, what was not delivered is lost:
    y_{t+1}^i   = y_t^i + (1/n) Σ_{j in R} u_t^j + (1/n) |not in R| u_t^i        the last term with substitution
    x_{t+1}     = x_t + (1/n) Σ_j u_t^j

View: the worker's own copy of the parameters, from which the messages that were dropped are missing. With substitution
its own updates of the same steps stand in for them: until they arrive, or for ever. Staleness is the age of the oldest
message that is missing and on its way; what is lost for ever has none.
Global parameters: x_t, virtual: everything generated. With piggyback it is what a worker would have if all channels
delivered; else it is stored.
Optimiser: one for each worker, acting on its own gradients.
Limit: without drops this is synchronous SGD.

Source: Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, synchronous message passing with message
drops, in its norm-bounded and its variance-bounded (substitution) form.
Departures: a dropped message is not lost but goes with the next one, unless `piggyback=False`; a sender knows what was
delivered. Bits: one message for all receivers to whom nothing is pending, and one for each other receiver.
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
from elastic_jax import drops as drop_models
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"drops": drop_models.none()}


class State(NamedTuple):
    """State of lossy SGD.

    Bytes: 4 + n * (P + O + 4 * n) + (piggyback == 0) * P + piggyback * (1 + substitute) * n * n * P.
    """

    num_steps: Array
    """int32[]. Steps taken."""
    params: Params
    """[...], parameter units. x_t, which no machine stores; () with piggyback."""
    received_params: Stacked[Params]
    """[n, ...], parameter units. y_t^i: the parameters with everything that worker i has received."""
    pendings: Stacked[PyTree]
    """[n receiver, n sender, ...], parameter units. P_t^ij: what j has to send to i; () without piggyback."""
    stand_ins: Stacked[PyTree]
    """[n receiver, n sender, ...], parameter units. S_t^ij: what i uses for it; () but with both."""
    num_missing: Stacked[Array]
    """int32[n receiver, n sender]. How many messages of j the parameters of i lack."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    piggyback: bool,
    substitute: bool,
    num_workers: int,
) -> State:
    """Every worker starts at `params` [...], with nothing missing."""
    del key
    params = arguments.float_params("params", params)
    received_params = stacked.broadcast(params, num_workers)
    nothing = stacked.scale(0.0, jax.vmap(partial(stacked.broadcast, num_workers=num_workers))(received_params))
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        params=() if piggyback else params,
        received_params=received_params,
        pendings=nothing if piggyback else (),
        stand_ins=jax.tree.map(jnp.copy, nothing) if piggyback and substitute else (),
        num_missing=jnp.zeros((num_workers, num_workers), jnp.int32),
        opt_states=stacked.init_optimizers(optimizer, received_params),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    drops: drop_models.DropModel,
    piggyback: bool,
    substitute: bool,
    max_missing: int | None,
    num_workers: int,
) -> tuple[State, Info]:
    """One round of all n workers: the equations of the module, in their order."""
    key_schedule, key_samples, _ = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)
    weights = jnp.full(num_workers, 1.0 / num_workers)
    num_missing = state.num_missing

    # read: v^i = y^i + (1/n) Σ_j S^ij
    views = state.received_params
    if piggyback and substitute:
        views = stacked.add(views, jax.vmap(stacked.worker_mean)(state.stand_ins))

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)

    # communicate: R^i, where nothing is dropped beyond the budget
    is_delivered = drops.draw(key_schedule, state.num_steps, num_workers)
    is_delivered = _within_budget(is_delivered, num_missing, piggyback=piggyback, max_missing=max_missing)

    # apply
    shares = jnp.where(is_delivered, 1.0 / num_workers, 0.0)
    if piggyback:
        # P̂^ij = P^ij + u^j, y^i = y^i + (1/n) Σ_R P^ij + (1/n) Σ_R u^j, so that P̂ is made once, where it is kept
        pendings = jax.tree.map(lambda old, new: old + new[None], state.pendings, updates)
        received = stacked.add(
            jax.vmap(stacked.weighted_sum)(shares, state.pendings), stacked.weighted_sum(shares, updates)
        )
        new_num_missing = jnp.where(is_delivered, 0, num_missing + 1)
    else:
        # y^i = y^i + (1/n) Σ_R u^j + (1/n) |not in R| u^i
        own = jnp.diag(jnp.sum(1.0 / num_workers - shares, axis=1)) if substitute else 0.0
        received = stacked.weighted_sum(shares + own, updates)
        new_num_missing = jnp.where(is_delivered, num_missing, num_missing + 1)
    if piggyback and substitute:
        # S^ij = S^ij + u^i
        stand_ins = jax.tree.map(lambda old, new: old + new[:, None], state.stand_ins, updates)
    new_state = State(
        num_steps=state.num_steps + 1,
        params=() if piggyback else stacked.add(state.params, stacked.weighted_sum(weights, updates)),
        received_params=stacked.add(state.received_params, received),
        pendings=_keep(~is_delivered, pendings) if piggyback else (),
        stand_ins=_keep(~is_delivered, stand_ins) if piggyback and substitute else (),
        num_missing=new_num_missing,
        opt_states=opt_states,
    )
    one_message = 8.0 * stacked.num_bytes(stacked.first(views))
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=weights,
        staleness=jnp.max(num_missing, axis=1) if piggyback else None,
        bits_sent=one_message * (_num_messages(num_missing).astype(jnp.float32) if piggyback else 1.0),
    )


def global_params(state: State, *, piggyback: bool) -> Params:
    """x_t = y_t^0 + (1/n) Σ_j P_t^0j: everything generated, as worker 0 would have it if all were delivered."""
    if not piggyback:
        return state.params
    return stacked.add(stacked.first(state.received_params), stacked.worker_mean(stacked.first(state.pendings)))


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    drops: drop_models.DropModel,
    piggyback: bool,
    substitute: bool,
    max_missing: int | None,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² E[K²] M² / n², K being how many messages are missing from a view; what is known is taken.

    K <= f with a budget (`max_missing`); K <= (n - 1) h with piggyback and at most h drops in a row; E[K²] = ((n - 1) q
    + (n - 1)² q²) / (1 - q)² with piggyback and independent drops of rate q, whose numbers in a row are geometric: this
    holds on average over schedules. With substitution K differences of two gradients are missing: 4 E[K²] M²; and for
    identical workers (ζ = 0), K <= k, an oblivious schedule and α <= n / (6 L k), 1.5² k² σ², with 1.5 for the 3 of
    arXiv 2001.05918, Table 1. The smallest is taken. None for an optimiser other than SGD with a constant step size,
    for constants unknown, and where messages are lost for ever without a budget: then ‖x_t - v_t‖ grows without end.
    """
    del params
    others = num_workers - 1
    most = [] if max_missing is None else [max_missing]
    if drops.rate == 0 or others == 0:
        most.append(0)
    if piggyback and drops.max_consecutive is not None:
        most.append(others * drops.max_consecutive)
    squares = [float(number) ** 2 for number in most]
    if piggyback and drops.rate is not None:
        squares.append((others * drops.rate + (others * drops.rate) ** 2) / (1 - drops.rate) ** 2)
    if min(squares, default=1.0) == 0:
        return 0.0
    if not isinstance(step_size, float):
        return None
    known = []
    if squares and constants.grad_second_moment is not None:
        known.append((1 + substitute) ** 2 * min(squares) * constants.grad_second_moment)
    smoothness, variance = constants.smoothness, constants.grad_variance
    is_identical = constants.heterogeneity == 0 and not drops.is_adaptive
    if most and substitute and is_identical and smoothness is not None and variance is not None:  # noqa: SIM102
        if 6 * step_size * smoothness * min(most) <= num_workers:
            known.append((1.5 * min(most)) ** 2 * variance)
    return (step_size / num_workers) ** 2 * min(known) if known else None


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    drops: drop_models.DropModel | None = None,
    piggyback: bool = True,
    substitute: bool = False,
    max_missing: int | None = None,
) -> Algorithm:
    """Synchronous SGD with n workers and channels that drop messages.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        drops: a model of `drops`; default each message with probability 0.1.
        piggyback: what was not delivered goes with the next message; else it is lost for ever.
        substitute: a worker uses its own updates in the place of those that it does not have.
        max_missing: f >= 0: a drop after which more than f messages would be missing from a view does not happen;
            without piggyback that is how many a receiver loses in the whole run. Default no limit.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import drops, oracles
        >>> from elastic_jax.algorithms import lossy_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = lossy_sgd.build(oracle, num_workers=2, step_size=0.5, drops=drops.alternating())
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[1.0], [3.0]]))
        ...     print(state.received_params[:, 0], state.pendings[..., 0].tolist(), algorithm.global_params(state))
        [0.25 0.75] [[0.0, 1.5], [0.5, 0.0]] [1.]
        [1.75 1.75] [[0.0, 0.0], [0.0, 0.0]] [1.75]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    drops = drop_models.random(0.1) if drops is None else drops
    num_workers = drop_models.check_fits(drops, num_workers=num_workers)
    arguments.flag("piggyback", piggyback)
    arguments.flag("substitute", substitute)
    if max_missing is not None:
        max_missing = arguments.integer("max_missing", max_missing, low=0)
    return Algorithm(
        init=partial(init, optimizer=optimizer, piggyback=piggyback, substitute=substitute, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            drops=drops,
            piggyback=piggyback,
            substitute=substitute,
            max_missing=max_missing,
            num_workers=num_workers,
        ),
        global_params=partial(global_params, piggyback=piggyback),
        consistency_bound=partial(
            consistency_bound,
            step_size=size,
            drops=drops,
            piggyback=piggyback,
            substitute=substitute,
            max_missing=max_missing,
            num_workers=num_workers,
        ),
        num_workers=num_workers,
    )


def _within_budget(is_delivered: Array, num_missing: Array, *, piggyback: bool, max_missing: int | None) -> Array:
    """What is delivered: bool[n, n]; of a receiver's drops only the first ones, by sender, that the budget allows."""
    if max_missing is None:
        return is_delivered
    if piggyback:
        num_after = jnp.cumsum(jnp.where(is_delivered, 0, num_missing + 1), axis=1)
    else:
        num_after = jnp.sum(num_missing, axis=1, keepdims=True) + jnp.cumsum(~is_delivered, axis=1)
    return is_delivered | (num_after > max_missing)


def _num_messages(num_missing: Array) -> Array:
    """int32[n]: what each sends, one message to all others for whom nothing is pending, and one to each of the rest."""
    is_other = ~jnp.eye(num_missing.shape[0], dtype=bool)
    num_pending = jnp.sum((num_missing > 0) & is_other, axis=0, dtype=jnp.int32)
    return num_pending + jnp.any((num_missing == 0) & is_other, axis=0).astype(jnp.int32)


def _keep(is_kept: Array, rows: PyTree) -> PyTree:
    """Rows [n, n, ...] where `is_kept` bool[n, n], else 0."""
    return jax.tree.map(
        lambda leaf: jnp.where(is_kept.reshape(*is_kept.shape, *[1] * (leaf.ndim - 2)), leaf, jnp.zeros_like(leaf)),
        rows,
    )
