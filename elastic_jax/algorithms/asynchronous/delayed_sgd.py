"""Delayed SGD: in every step all workers contribute, each with a gradient at parameters some steps old.

    v_t^i   = x_{t - τ_t^i}                     the view, from one ring of past parameters
    g_t^i   = g_i(v_t^i, ξ_t^i)                 `grads`
    u_t^i   = -α g_t^i                          `updates`
    x_{t+1} = x_t + (1/n) Σ_i u_t^i             the global step

View: the parameters of τ_t^i steps ago; in the first steps, which have no such past, the starting point.
Global parameters: x_t is stored, the newest entry of the ring.
Optimiser: one for each worker, acting on its own gradients.
Limit: with a constant delay of 0 this is synchronous SGD.

Source: Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the parallel-step model; Koloskova, Stich,
Jaggi, arXiv 2206.08307, for the notions of delay.
Departures: delays are integers drawn independently in each step, and a worker's own gradients are as late to it as
those of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, stacked
from elastic_jax import delays as delay_models
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"delays": delay_models.constant(0)}


class State(NamedTuple):
    """State of delayed SGD. Bytes: 4 + (max_delay + 1) * P + n * O."""

    num_steps: Array
    """int32[]. Steps taken."""
    history: Params
    """[max_delay + 1, ...], parameter units. Past global parameters: x_s is at slot s mod (max_delay + 1)."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(
    key: Array, params: Params, *, optimizer: optax.GradientTransformation, max_delay: int, num_workers: int
) -> State:
    """All past parameters are the starting point `params` [...]."""
    del key
    params = arguments.float_params("params", params)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        history=stacked.broadcast(params, max_delay + 1),
        opt_states=stacked.init_optimizers(optimizer, stacked.broadcast(params, num_workers)),
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
    num_workers: int,
) -> tuple[State, Info]:
    """One step of all n workers: the equations of the module, in their order."""
    key_schedule, key_samples, _ = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x_{t - τ^i}
    drawn = delays.draw(key_schedule, state.num_steps, workers)
    staleness = jnp.minimum(drawn, state.num_steps)
    slots = jnp.where(drawn <= max_delay, (state.num_steps - staleness) % (max_delay + 1), -1)
    views = stacked.take_rows(state.history, slots)

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)

    # apply: x = x + (1/n) Σ u^i
    weights = jnp.full(num_workers, 1.0 / num_workers)
    new_params = stacked.add(global_params(state), stacked.weighted_sum(weights, updates))
    new_state = State(
        num_steps=state.num_steps + 1,
        history=stacked.put_row(state.history, (state.num_steps + 1) % (max_delay + 1), new_params),
        opt_states=opt_states,
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=weights,
        staleness=staleness,
        bits_sent=8 * stacked.num_bytes(new_params),
    )


def global_params(state: State) -> Params:
    """x_t: the newest entry of the ring."""
    ring = stacked.num_rows(state.history)
    return stacked.take_row(state.history, state.num_steps % ring)


def consistency_bound(
    constants: Constants, params: Params, *, step_size: StepSize | None, delays: delay_models.DelayModel
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² τ² M²: at most τ steps are missing, each a mean of gradients.

    arXiv 2001.05918, Table 1 (asynchronous message passing), with τ M for its (n - 1) τ M / n, since here a worker's
    own gradients are missing too. None for an optimiser other than SGD with a constant step size, or M unknown.
    """
    del params
    if delays.max_delay == 0:
        return 0.0
    if not isinstance(step_size, float) or constants.grad_second_moment is None:
        return None
    return (step_size * delays.max_delay) ** 2 * constants.grad_second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    delays: delay_models.DelayModel | None = None,
    max_delay: int | None = None,
) -> Algorithm:
    """Delayed SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        delays: a model of `delays`, steps; default uniform on {0, ..., 4}.
        max_delay: >= 0, steps, the past that is kept; default what `delays` needs. A model that may draw more is an
            error; a draw of a model that breaks its promise turns the view into NaN.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import delays, oracles
        >>> from elastic_jax.algorithms import delayed_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = delayed_sgd.build(oracle, num_workers=2, step_size=0.5, delays=delays.constant(1))
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(3):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[1.0], [3.0]]))
        ...     print(info.views[0], info.staleness, algorithm.global_params(state))
        [0.] [0 0] [1.]
        [0.] [1 1] [2.]
        [1.] [1 1] [2.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    delays = delay_models.uniform(4) if delays is None else delays
    max_delay = delay_models.check_fits(delays, max_delay=max_delay, num_workers=num_workers)
    return Algorithm(
        init=partial(init, optimizer=optimizer, max_delay=max_delay, num_workers=num_workers),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            delays=delays,
            max_delay=max_delay,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(consistency_bound, step_size=size, delays=delays),
        num_workers=num_workers,
    )
