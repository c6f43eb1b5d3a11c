"""Outer-optimiser SGD: what a round of local steps has come to is a gradient for a second, outer optimiser.

    v_t^i     = x_t^i                           the view: the worker's own parameters
    g_t^i     = g_i(v_t^i, ξ_t^i)               `grads`
    u_t^i     = -α g_t^i                        `updates`, by the inner optimiser
    y_t^i     = x_t^i + u_t^i                   the local step
    for fragment f = 1 ... F of the parameters (F = 1: all of them), o_f = ⌊f H / F⌋:
    if t + 1 is o_f and a multiple of H more:
    Δ         = (1/n) Σ_i C(z_t - y_t^i)        the pseudo-gradient: old minus new, as it is sent
    z_{t+1}   = z_t + outer(Δ)                  the worker mean for plain SGD of step size 1, if C = id
    if t + 1 - D is o_f and a multiple of H more, D = `overlap`:
    x_{t+1}^i = b y_t^i + (1 - b) z_{t+1}       b = `merge`, how much of its own a worker keeps
    otherwise x_{t+1}^i = y_t^i, z_{t+1} = z_t

View: the local parameters, which drift apart in a round.
Global parameters: x_t = (1/n) Σ_i x_t^i, a virtual iterate. `shift` is what merging moves the mean by: outer momentum,
with an overlap what was done meanwhile and is overwritten, and what C lost, for good: no worker remembers it.
Optimiser: the inner one is one for each worker, its state stays with the worker; the outer one is one for each
fragment.
Limit: with H = 1 and plain SGD of step size 1 outside, C = id, this is synchronous SGD.

Source: Wang, Tantia, Ballas, Rabbat, SlowMo, ICLR 2020, arXiv 1910.00643: outer SGD with momentum, as in BMUF, Chen,
Huo, ICASSP 2016; Douillard et al., DiLoCo, 2023, arXiv 2311.08105: inner AdamW, outer Nesterov momentum (the default),
0.7 and 0.9; Douillard et al., Streaming DiLoCo with overlapping communication, 2025, arXiv 2501.18512, for fragments
and C = `compressors.powers_of_two(4)`.
Departures: SlowMo divides Δ by the inner step size and multiplies it again, which is the same while that is constant;
fragments are whole leaves in the order of the tree, with about as many numbers each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from elastic_jax import arguments, base, compressors, mixings, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree, Stacked, StepSize

SGD_LIMIT: Mapping[str, Any] = {"period": 1, "outer_optimizer": optax.sgd(1.0)}

COOPERATIVE: tuple[tuple[Mapping[str, Any], Callable[[int], Mapping[str, Any]]], ...] = (
    ({"period": 3, "outer_optimizer": optax.sgd(1.0)}, lambda n: {"period": 3, "mixing": mixings.average(n)}),
)
"""Arguments, and those at which `cooperative_sgd` with n workers is the same, row by row."""

OUTER_STEP_SIZE, OUTER_DECAY = 0.7, 0.9
"""Of the default outer optimiser, those of DiLoCo."""


class State(NamedTuple):
    """State of outer-optimiser SGD. Bytes: 4 + P + outer_O + (num_fragments - 1) * outer_C + n * (P + O)."""

    num_steps: Array
    """int32[]. Steps taken, by each worker."""
    outer_params: Params
    """[...], parameter units. z_t."""
    outer_opt_states: PyTree
    """A tuple: the state of the outer optimiser of each fragment."""
    local_params: Stacked[Params]
    """[n, ...], parameter units. x_t^i."""
    opt_states: Stacked[PyTree]
    """[n, ...]. The state of each worker's inner optimiser."""


def init(
    key: Array,
    params: Params,
    *,
    optimizer: optax.GradientTransformation,
    outer_optimizer: optax.GradientTransformation,
    num_fragments: int,
    num_workers: int,
) -> State:
    """Workers and the outer parameters start at `params` [...]."""
    del key
    params = arguments.float_params("params", params)
    local_params = stacked.broadcast(params, num_workers)
    leaves = jax.tree.leaves(params)
    return State(
        num_steps=jnp.zeros((), jnp.int32),
        outer_params=params,
        outer_opt_states=tuple(
            outer_optimizer.init([leaves[number] for number in numbers])
            for numbers in _fragments([leaf.size for leaf in leaves], num_fragments)
        ),
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
    outer_optimizer: optax.GradientTransformation,
    period: int,
    num_fragments: int,
    overlap: int,
    merge: float,
    compressor: compressors.Compressor,
    num_workers: int,
) -> tuple[State, Info]:
    """One local step of all n workers, and the outer step of fragments that are due: the equations of the module."""
    _, key_samples, key_messages = base.split_key(key)
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x^i
    views = state.local_params

    # compute: g^i = g_i(v^i, ξ^i), u^i = -α g^i, y^i = x^i + u^i
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates, opt_states = stacked.update_optimizers(optimizer, grads, state.opt_states, views)
    moved, treedef = jax.tree.flatten(stacked.add(state.local_params, updates))
    outer, outer_opt_states = jax.tree.leaves(state.outer_params), list(state.outer_opt_states)
    shift, bits_sent = [jnp.zeros_like(leaf) for leaf in outer], jnp.zeros((), jnp.float32)

    # communicate, fragment by fragment
    advance = partial(_advance, outer_optimizer=outer_optimizer, compressor=compressor)
    keys = stacked.worker_keys(key_messages, workers)
    for fragment, numbers in enumerate(_fragments([leaf.size for leaf in outer], num_fragments)):
        since = state.num_steps + 1 - (fragment + 1) * period // num_fragments
        rows, ones = [moved[number] for number in numbers], [outer[number] for number in numbers]

        # Δ = (1/n) Σ_i C(z - y^i), z = z + outer(Δ)
        is_sent = (since >= 0) & (since % period == 0)
        new_ones, new_state = lax.cond(is_sent, advance, _stay, keys, rows, ones, outer_opt_states[fragment])
        bits_sent += jnp.where(is_sent, float(compressor.bits(ones)), 0.0)

        # x^i = b y^i + (1 - b) z
        is_merged = (since >= overlap) & ((since - overlap) % period == 0)
        new_rows, moves = lax.cond(is_merged, partial(_merge, merge=merge), _keep, rows, new_ones)

        outer_opt_states[fragment] = new_state
        for number, row, one, move in zip(numbers, new_rows, new_ones, moves, strict=True):
            moved[number], outer[number], shift[number] = row, one, move

    # apply
    new_state = State(
        num_steps=state.num_steps + 1,
        outer_params=jax.tree.unflatten(treedef, outer),
        outer_opt_states=tuple(outer_opt_states),
        local_params=jax.tree.unflatten(treedef, moved),
        opt_states=opt_states,
    )
    return new_state, base.info(
        workers=workers,
        views=views,
        losses=losses,
        grads=grads,
        updates=updates,
        weights=jnp.full(num_workers, 1.0 / num_workers),
        bits_sent=bits_sent,
        shift=jax.tree.unflatten(treedef, shift),
    )


def global_params(state: State) -> Params:
    """x_t = (1/n) Σ_i x_t^i."""
    return stacked.worker_mean(state.local_params)


def consistency_bound(
    constants: Constants,
    params: Params,
    *,
    step_size: StepSize | None,
    period: int,
    merge: float,
    num_workers: int,
) -> float | None:
    """E‖x_t - v_t^i‖² <= α² (2 (1 - 1/n) (H - 1 + H b / (1 - b)) M)²: at most H - 1 steps since a fragment was merged.

    What was done m rounds ago makes b^m of the difference; whatever the outer optimiser does, it does to all workers.
    See `local_sgd` for the rest. None for an inner optimiser other than SGD with a constant step size, or M unknown.
    """
    del params
    missing = 2 * (1 - 1 / num_workers) * (period - 1 + period * merge / (1 - merge))
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
    outer_optimizer: optax.GradientTransformation | None = None,
    period: int = 4,
    num_fragments: int = 1,
    overlap: int = 0,
    merge: float = 0.0,
    compressor: compressors.Compressor | None = None,
) -> Algorithm:
    """Outer-optimiser SGD with n workers.

    Args:
        oracle: stacked stochastic gradients, see `base.Oracle`.
        num_workers: n >= 1.
        step_size: α > 0 of plain SGD inside, a float or an optax schedule, parameter / gradient units; default 0.1.
        optimizer: an optax optimiser inside instead of plain SGD, one copy for each worker, whose state is kept.
        outer_optimizer: an optax optimiser of pseudo-gradients; default SGD of step size 0.7 with Nesterov momentum
            0.9.
        period: H >= 1, local steps of a round.
        num_fragments: F in [1, H], parts of the parameters that are sent one after the other in a round.
        overlap: D in [0, H - 1], steps that a fragment is on its way.
        merge: b in [0, 1), how much of its own parameters a worker keeps.
        compressor: C of what a worker sends, from `compressors`; default none.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import optax
        >>> from elastic_jax import oracles
        >>> from elastic_jax.algorithms import outer_optimizer_sgd
        >>> oracle = oracles.from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> algorithm = outer_optimizer_sgd.build(
        ...     oracle, num_workers=2, step_size=0.5, period=1, outer_optimizer=optax.sgd(1.0, momentum=0.5)
        ... )
        >>> state = algorithm.init(jax.random.key(0), jnp.zeros(1))
        >>> for t in range(2):
        ...     state, info = algorithm.step(jax.random.key(t), state, jnp.array([[4.0], [8.0]]))
        ...     print(state.local_params.tolist(), info.shift, algorithm.global_params(state))
        [[3.0], [3.0]] [0.] [3.]
        [[6.0], [6.0]] [1.5] [6.]
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    size, optimizer = base.make_optimizer(step_size, optimizer)
    if outer_optimizer is None:
        outer_optimizer = optax.sgd(OUTER_STEP_SIZE, momentum=OUTER_DECAY, nesterov=True)
    arguments.instance("outer_optimizer", outer_optimizer, optax.GradientTransformation, "e.g. optax.sgd(1.0)")
    period = arguments.integer("period", period, low=1)
    num_fragments = arguments.integer("num_fragments", num_fragments, low=1, high=period)
    overlap = arguments.integer("overlap", overlap, low=0, high=period - 1)
    merge = arguments.real("merge", merge, low=0.0, below=1.0)
    bound = {
        "optimizer": optimizer,
        "outer_optimizer": outer_optimizer,
        "num_fragments": num_fragments,
        "num_workers": num_workers,
    }
    return Algorithm(
        init=partial(init, **bound),
        step=partial(
            step,
            oracle=base.check_oracle(oracle),
            period=period,
            overlap=overlap,
            merge=merge,
            compressor=compressors.check(compressor),
            **bound,
        ),
        global_params=global_params,
        consistency_bound=partial(
            consistency_bound, step_size=size, period=period, merge=merge, num_workers=num_workers
        ),
        num_workers=num_workers,
    )


def _fragments(sizes: list[int], num_fragments: int) -> list[list[int]]:
    """Numbers of the leaves of each fragment: neighbours, with about as many elements each, and at least one leaf."""
    if num_fragments > len(sizes):
        raise ValueError(
            f"num_fragments = {num_fragments} is out of range; it must be an integer in [1, {len(sizes)}], the leaves "
            "of the parameters"
        )
    middles = np.cumsum(sizes) - np.asarray(sizes) / 2
    wanted = np.minimum((middles * num_fragments / max(1, sum(sizes))).astype(int), num_fragments - 1)
    # every fragment has a leaf: none lies before its number, none so late that too few are left
    numbers = np.arange(len(sizes))
    owners = np.clip(np.maximum.accumulate(wanted), num_fragments - len(sizes) + numbers, numbers)
    for place in range(1, len(owners)):
        owners[place] = min(owners[place], owners[place - 1] + 1)
    return [np.flatnonzero(owners == fragment).tolist() for fragment in range(num_fragments)]


def _advance(
    keys: Array,
    rows: list[Array],
    ones: list[Array],
    outer_opt_state: PyTree,
    *,
    outer_optimizer: optax.GradientTransformation,
    compressor: compressors.Compressor,
) -> tuple[list[Array], PyTree]:
    """The outer step of one fragment, from what each worker sends of old minus new."""
    ways = [one[None] - row for row, one in zip(rows, ones, strict=True)]
    pseudo_grads = stacked.worker_mean(compressors.compress_rows(compressor, keys, ways))
    updates, outer_opt_state = outer_optimizer.update(pseudo_grads, outer_opt_state, ones)
    return stacked.add(ones, updates), outer_opt_state


def _stay(keys: Array, rows: list[Array], ones: list[Array], outer_opt_state: PyTree) -> tuple[list[Array], PyTree]:
    """Nothing is sent."""
    del keys, rows
    return ones, outer_opt_state


def _merge(rows: list[Array], ones: list[Array], *, merge: float) -> tuple[list[Array], list[Array]]:
    """Workers take over what has come, and by how much that moves their mean."""
    merged = [merge * row + (1.0 - merge) * one[None] for row, one in zip(rows, ones, strict=True)]
    return merged, stacked.scale(1.0 - merge, stacked.subtract(ones, stacked.worker_mean(rows)))


def _keep(rows: list[Array], ones: list[Array]) -> tuple[list[Array], list[Array]]:
    """Nothing has come."""
    return rows, stacked.scale(0.0, ones)
