"""CHOCO-SGD: gossip between estimates of the workers' parameters, which compressed differences keep near them.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`
    h_t^i     = x_t^i + u_t^i                   the local step
    quantising first:
    x̂_{t+1}^i = x̂_t^i + C(h_t^i - x̂_t^i)        `estimates`, the same at all who hold one
    x_{t+1}^i = h_t^i + γ Σ_j W_ij (x̂_{t+1}^j - x̂_{t+1}^i)
    mixing first:
    x_{t+1}^i = h_t^i + γ Σ_j W_ij (x̂_t^j - x̂_t^i)
    x̂_{t+1}^i = x̂_t^i + C(x_{t+1}^i - x̂_t^i)

What is sent is C(...), to each neighbour. One order is the other one half a step later: mixing first, x_{t+1} is what
h_t is, quantising first, but for where gradients are taken.

View: the local parameters, which never become equal unless γ W + (1 - γ) I = J.
Global parameters: x_t = (1/n) Σ_i x_t^i, a virtual iterate: W is symmetric and all who hold an estimate of i hold the
same one, so that mixing does not move it, whatever the compressor loses.
Optimiser: one for each worker; its state stays with the worker and is not mixed.
Limit: on the complete graph, with γ = 1 and nothing lost, quantising first, this is synchronous SGD; on any graph it is
gossip then, which adapts first, or combines first where mixing comes first.

Source: Koloskova, Stich, Jaggi, Decentralized Stochastic Optimization and Gossip Algorithms with Compressed
Communication, ICML 2019, arXiv 1902.00340, Algorithm 2, which quantises first; scripts of its authors mix first.
Departures: x̂_0 = x_0, which all workers know, where the source has 0: its algorithm, with parameters counted from x_0.
By default γ is the δ of the compressor, a rule of thumb: the γ for which the source proves a rate is far smaller (see
the statement CH:P1), and what is best is found by trying. Too large a γ diverges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from elastic_jax import arguments, base, compressors, descriptions, mixings, stacked, topologies
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {
    "topology": topologies.complete,
    "compressor": compressors.identity(),
    "consensus_step_size": 1.0,
    "quantize_first": True,
}

COOPERATIVE: tuple[tuple[Mapping[str, Any], Callable[[int], Mapping[str, Any]]], ...] = (
    ({"consensus_step_size": 1.0}, lambda n: {"period": 1, "mixing": mixings.around_ring(n)}),
    (
        {"consensus_step_size": 0.5, "topology": topologies.star},
        lambda n: {"period": 1, "mixing": mixings.constant(_slower(topologies.star(n), 0.5))},
    ),
)
"""Arguments, and those at which `cooperative_sgd` with n workers is the same, row by row."""


class State(NamedTuple):
    """State of CHOCO-SGD. Bytes: 4 + n * (2 * P + O)."""

    num_steps: Array
    """int32[]. Steps taken, by each worker."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    estimates: Stacked[Params]
    """[n, ...], parameter units. x̂_t^i: what worker i and its neighbours know of x_t^i."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's optimiser."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    compressor: compressors.Compressor,
    consensus_step_size: float | None,
    num_workers: int,
) -> State:
    """Every worker starts at `params` [...], and is known to do so."""
    del key
    params = arguments.float_params("params", params)
    _known_step_size(consensus_step_size, compressor, params)
    local_params = stacked.broadcast(params, num_workers)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        local_params=local_params,
        estimates=stacked.broadcast(arguments.float_params("params", params), num_workers),
        opt_states=stacked.init_optimizers(optimizer, local_params),
    )


def step(
    key: Array,
    state: State,
    data: PyTree,
    *,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    topology: topologies.Topology,
    compressor: compressors.Compressor,
    consensus_step_size: float | None,
    quantize_first: bool,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, one message of each, and the mixing: the equations of the module."""
    _, key_samples, key_messages = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)
    estimates = state.estimates

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, h^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    local_params = stacked.add(state.local_params, updates)

    # communicate: x̂^i = x̂^i + C(x^i - x̂^i), x^i = x^i + γ Σ_j W_ij (x̂^j - x̂^i), in the order asked for
    params = stacked.first(views)
    correct = partial(_correct, compressor=compressor, keys=stacked.worker_keys(key_messages, workers))
    size = _known_step_size(consensus_step_size, compressor, params)
    if quantize_first:
        estimates = correct(estimates, local_params)
        local_params = _draw_near(local_params, estimates, topology, size)
    else:
        local_params = _draw_near(local_params, estimates, topology, size)
        estimates = correct(estimates, local_params)

    # apply
    new_state = State(
        num_steps=state.num_steps + 1, local_params=local_params, estimates=estimates, opt_states=opt_states
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, 1.0 / num_workers),
        bits_sent=float(compressor.bits(params)) * jnp.asarray(_num_messages(topology), jnp.float32),
    )


def global_params(state: State) -> Params:
    """x_t = (1/n) Σ_i x_t^i."""
    return stacked.worker_mean(state.local_params)


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    topology: topologies.Topology,
    compressor: compressors.Compressor,
    consensus_step_size: float | None,
    quantize_first: bool,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= (α c M)² where nothing is lost: rows are mixed by (1 - γ) I + γ W then; c of `mixings.spread`.

    None where the compressor loses something: the proof that rows come together, by 1 - ρ² δ/82 in a step at a γ of its
    own, makes a constant too large to tell anything, and for any other γ there is none. None for an optimiser other
    than SGD with a constant step size, or M unknown.
    """
    if num_workers == 1:
        return 0.0
    if compressor.contraction_factor(params) != 1:
        return None
    size = _known_step_size(consensus_step_size, compressor, params)
    mixing = mixings.constant(_slower(topology, size))
    missing = mixings.spread(mixing, period=1, num_workers=num_workers, is_late=not quantize_first)
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
    topology: topologies.Topology | Callable[[int], topologies.Topology] = topologies.ring,
    compressor: compressors.Compressor | None = None,
    consensus_step_size: float | None = None,
    quantize_first: bool = True,
) -> Algorithm:
    """CHOCO-SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser instead of plain SGD, one copy for each worker.
        topology: W on n workers, of `topologies`, or a function of their number that makes it; default a ring.
        compressor: C, a contraction of `compressors`; default sends everything.
        consensus_step_size: γ in (0, 1], how far a worker goes toward its neighbours; default the δ of the compressor.
        quantize_first: estimates are corrected before the mixing that uses them, as in the source; else after it.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax import compressors, oracles
        >>> from elastic_jax.algorithms import choco_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = choco_sgd.build(oracle, num_workers=2, step_size=0.5, compressor=compressors.top_k(0.5))
        >>> state, data = algorithm.init(jax.random.key(0), jnp.zeros(2)), jnp.array([[8.0, 4.0], [0.0, 16.0]])
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, data)
        ...     print(state.estimates.tolist(), state.local_params.tolist(), algorithm.global_params(state))
        [[4.0, 0.0], [0.0, 8.0]] [[3.0, 4.0], [1.0, 6.0]] [2. 5.]
        [[4.0, 4.0], [0.0, 11.0]] [[4.5, 5.75], [1.5, 9.25]] [3.  7.5]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    topology = topologies.check(topology, num_workers=num_workers)
    compressor = compressors.check(compressor)
    if consensus_step_size is not None:
        consensus_step_size = arguments.fraction("consensus_step_size", consensus_step_size)
    arguments.flag("quantize_first", quantize_first)
    return Algorithm(
        init=partial(
            init,
            optimizer=optimizer,
            compressor=compressor,
            consensus_step_size=consensus_step_size,
            num_workers=num_workers,
        ),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            optimizer=optimizer,
            topology=topology,
            compressor=compressor,
            consensus_step_size=consensus_step_size,
            quantize_first=quantize_first,
            num_workers=num_workers,
        ),
        global_params=global_params,
        consistency_bound=partial(
            consistency_bound,
            step_size=size,
            topology=topology,
            compressor=compressor,
            consensus_step_size=consensus_step_size,
            quantize_first=quantize_first,
            num_workers=num_workers,
        ),
        num_workers=num_workers,
    )


def _known_step_size(consensus_step_size: float | None, compressor: compressors.Compressor, params: PyTree) -> float:
    """γ, for parameters [...] of these shapes."""
    if consensus_step_size is not None:
        return consensus_step_size
    kept = compressor.contraction_factor(params)
    if kept is None:
        raise ValueError(
            "consensus_step_size = None is the δ of the compressor, and this one is no contraction on these params: "
            f"{descriptions.as_text(compressor)}; it must be a number in (0, 1], or the compressor "
            "compressors.contracted(...)"
        )
    return kept


def _correct(estimates: PyTree, rows: PyTree, *, compressor: compressors.Compressor, keys: Array) -> PyTree:
    """x̂^i + C(x^i - x̂^i)."""
    return stacked.add(estimates, compressors.compress_rows(compressor, keys, stacked.subtract(rows, estimates)))


def _draw_near(rows: PyTree, estimates: PyTree, topology: topologies.Topology, size: float) -> PyTree:
    """x^i + γ Σ_j W_ij (x̂^j - x̂^i)."""
    return stacked.add(rows, stacked.scale(size, stacked.subtract(topologies.mix(topology, estimates), estimates)))


def _slower(topology: topologies.Topology, size: float) -> topologies.Topology:
    """(1 - γ) I + γ W."""
    matrix = (1 - size) * np.eye(len(topology.mixing_matrix)) + size * topology.mixing_matrix
    return topology._replace(mixing_matrix=matrix)


def _num_messages(topology: topologies.Topology) -> np.ndarray:
    """int32[n]: how many others mix in what each sends."""
    is_sent = (topology.mixing_matrix != 0) & ~np.eye(len(topology.mixing_matrix), dtype=bool)
    return np.count_nonzero(is_sent, axis=1).astype(np.int32)
