"""Shared-memory SGD: processes read and write one memory without locks, so that a read misses parts of recent writes.

    i_t       uniform                           the process that makes step t
    v_t       = m_t - Σ_{s=t-τ}^{t-1} D_{t,s} w_s   the view: of write s the coordinates in D_{t,s} are not yet visible
    g_t       = g_{i_t}(v_t, ξ_t)               `grads`
    u_t       = -α g_t                          `updates`
    w_t       = C(e_t^{i_t} + u_t)              the write
    e_{t+1}^{i_t} = e_t^{i_t} + u_t - w_t       `memories`, with error feedback; else lost
    m_{t+1}   = m_t + w_t                       the shared memory, one gradient and no 1/n

View: the memory without what the read model hides of the last τ writes; D_{t,s} is a diagonal matrix of 0 and 1.
Global parameters: x_t = m_t + Σ_i e_t^i, the virtual iterate of the analysis with error feedback: the memories of the
processes add up, since each is to be written whole; then x_{t+1} = x_t + u_t. Else x_t = m_t, stored.
Optimiser: one for each process, acting on its own gradients, since what is written and remembered is the update.
Limit: with one process and a read that misses nothing this is SGD.

Source: Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the single-step model and Table 1, row of
shared memory; Niu, Recht, Ré, Wright, Hogwild!, NeurIPS 2011, arXiv 1106.5730, for writes without locks.
Departures: steps are numbered by their first write, and which process makes a step and what it sees are drawn, not
timed. Memories have the step size folded in and the sign of an update: x - v is plus both sums, where the paper has
minus.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, base, compressors, stacked
from elastic_jax import reads as read_models
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"num_workers": 1, "reads": read_models.whole(0)}

_WORKER = 1 << 30
"""Folded into the key of the schedule for i_t; read models fold in the numbers of leaves, which are smaller."""


class State(NamedTuple):
    """State of shared-memory SGD. Bytes: 4 + (max_delay + 1) * P + n * O + n * P * error_feedback."""

    num_steps: Array
    """int32[]. Steps taken: writes made."""
    params: Params
    """[...], parameter units. m_t: the shared memory."""
    writes: PyTree
    """[max_delay, ...], parameter units. The last writes: w_s is at slot s mod max_delay; () if max_delay is 0."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each process's optimiser."""
    memories: Stacked[PyTree]
    """[n, ...], parameter units. e_t^i: what was held back; () without error feedback."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    reads: read_models.ReadModel,
    max_delay: int,
    error_feedback: bool,
    num_workers: int,
) -> State:
    """The memory is `params` [...], and nothing has been written or held back."""
    del key
    params = arguments.float_params("params", params)
    read_models.check_fits(reads, params)
    local_params = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        params=params,
        writes=stacked.scale(0.0, stacked.broadcast(params, max_delay)) if max_delay else (),
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
    reads: read_models.ReadModel,
    max_delay: int,
    compressor: compressors.Compressor,
    error_feedback: bool,
    num_workers: int,
) -> tuple[State, Info]:
    """One write: the equations of the module, in their order."""
    key_schedule, key_samples, key_messages = base.split_key(key)
    workers = jax.random.randint(jax.random.fold_in(key_schedule, _WORKER), (1,), 0, num_workers, jnp.int32)

    # read: v = m - Σ_s D_s w_s
    writes = read_models.newest_first(state.writes, state.num_steps, max_delay=max_delay)
    unseen = reads.draw(key_schedule, state.num_steps, writes)
    views = stacked.broadcast(read_models.view(state.params, writes, unseen, max_delay=max_delay), 1)

    # compute: g = g_i(v, ξ), u = -α g
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    own_states = stacked.take_rows(state.opt_states, workers)
    updates, own_states = stacked.update_optimizers(optimizer, grads, own_states, views)

    # communicate: w = C(e^i + u)
    unsent = stacked.add(stacked.take_rows(state.memories, workers), updates) if error_feedback else updates
    messages = compressors.compress_rows(compressor, stacked.worker_keys(key_messages, workers), unsent)
    write = stacked.first(messages)

    # apply: m = m + w, e^i = e^i + u - w
    kept = stacked.subtract(unsent, messages)
    new_state = State(
        num_steps=state.num_steps + 1,
        params=stacked.add(state.params, write),
        writes=stacked.put_row(state.writes, state.num_steps % max_delay, write) if max_delay else (),
        opt_states=stacked.put_rows(state.opt_states, workers, own_states),
        memories=stacked.put_rows(state.memories, workers, kept) if error_feedback else (),
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates if error_feedback else messages,
        weights=jnp.ones(1),
        staleness=read_models.staleness(unseen, state.num_steps, max_delay=max_delay)[None],
        bits_sent=compressor.bits(state.params),
    )


def global_params(state: State, *, error_feedback: bool, num_workers: int) -> Params:
    """x_t = m_t + Σ_i e_t^i: the virtual iterate, as if nothing had been held back."""
    if not error_feedback:
        return state.params
    return stacked.add(state.params, stacked.weighted_sum(jnp.ones(num_workers), state.memories))


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    reads: read_models.ReadModel,
    compressor: compressors.Compressor,
    error_feedback: bool,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t‖² <= α² (n b + τ κ (1 + b))² M², with b = √γ / (1 - √γ) for error feedback and b = 0 without.

    γ is the fraction lost by the compressor and κ its norm, E‖C(w)‖² <= κ² ‖w‖². A memory is at most α b M, a write
    at most κ α (1 + b) M; n memories and τ writes are missing, whatever the read model hides of them (Minkowski).
    Sending everything leaves α² τ² M², which is tight; arXiv 2001.05918, Table 1, has √d τ M for its τ M. Without error
    feedback x is the stored memory, and α² κ² τ² M² says nothing about what was lost. None for an optimiser other than
    SGD with a constant step size, for a compressor without the factors, and where M is unknown.
    """
    lost = compressors.residual_fraction(compressor, params) if error_feedback else 0.0
    norm = compressors.norm_factor(compressor, params)
    second_moment = constants.grad_second_moment
    if reads.max_delay == 0 and lost == 0:
        return 0.0
    if lost is None or norm is None or not isinstance(step_size, float) or second_moment is None:
        return None
    held = lost**0.5 / (1 - lost**0.5)
    missing = num_workers * held + reads.max_delay * norm * (1 + held)
    return (step_size * missing) ** 2 * second_moment


def build(
    oracle: Oracle,
    *,
    num_workers: int,
    step_size: StepSize | None = None,
    optimizer: optax.GradientTransformation | None = None,
    reads: read_models.ReadModel | None = None,
    compressor: compressors.Compressor | None = None,
    error_feedback: bool = False,
) -> Algorithm:
    """Shared-memory SGD with n processes; one gradient, one step.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`; called with k = 1.
        num_workers: n >= 1, processes.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1. A step
            applies one whole gradient: compare with a synchronous method at α / n, or by gradients.
        optimizer: an optax optimiser instead of plain SGD, one copy for each process, which counts its own steps.
        reads: a model of `reads`; default `reads.ages(4)`: each coordinate misses its last 0 to 4 writes.
        compressor: C, of `compressors`; default writes everything.
        error_feedback: keep what the compressor holds back and write it later; else it is lost.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import oracles, reads
        >>> from elastic_jax.algorithms import shared_memory_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> one_late = reads.trace([[[False, True]]])  # of the last write the second coordinate is unseen
        >>> algorithm = shared_memory_sgd.build(oracle, num_workers=1, step_size=0.5, reads=one_late)
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(2))
        >>> for t in range(3):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[4.0, 4.0]]))
        ...     print(info.views[0], info.staleness, algorithm.global_params(state))
        [0. 0.] [0] [2. 2.]
        [2. 0.] [1] [3. 4.]
        [3. 2.] [1] [3.5 5. ]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    reads = read_models.check(reads)
    compressor = compressors.check(compressor)
    arguments.flag("error_feedback", error_feedback)
    return Algorithm(
        init=partial(
            init,
            optimizer=optimizer,
            reads=reads,
            max_delay=reads.max_delay,
            error_feedback=error_feedback,
            num_workers=num_workers,
        ),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            reads=reads,
            max_delay=reads.max_delay,
            compressor=compressor,
            error_feedback=error_feedback,
            num_workers=num_workers,
        ),
        global_params=partial(global_params, error_feedback=error_feedback, num_workers=num_workers),
        consistency_bound=partial(
            consistency_bound,
            step_size=size,
            reads=reads,
            compressor=compressor,
            error_feedback=error_feedback,
            num_workers=num_workers,
        ),
        num_workers=num_workers,
    )
