"""Runs of any algorithm, laid out for measurement: many sample sequences under one schedule, float64.

`every_path` runs a variant over *all* sequences of coins of a problem with two samples: expectations are then
exact. `sampled` runs it over seeds on any `base.Problem`. In both, the key of a step is the pair [schedule,
samples] that `base.split_key` takes: the schedule is one for all runs and independent of the samples
(oblivious).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax import base, stacked
from elastic_jax.base import Algorithm, Constants, Problem, PyTree
from elastic_jax.keys import unrolled
from proofs_check import two_samples

QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""Each variant is compiled once and run once, on few numbers: this compiles in a third of the time."""

BLOCK = 1024
"""How many points of a sampled run are evaluated at once."""


class Trajectory(NamedTuple):
    """S runs of T steps with k active workers; parameters are laid out flat, [d]."""

    params: np.ndarray
    """float64[S, T + 1, d], parameter units. x_t."""
    views: np.ndarray
    """float64[S, T, k, d], parameter units. v_t^i."""
    grads: np.ndarray
    """float64[S, T, k, d], gradient units. G_t^i."""
    updates: np.ndarray
    """float64[S, T, k, d], parameter units. What each gradient became."""
    weights: np.ndarray
    """float64[S, T, k]. Weight with which each update enters x."""
    workers: np.ndarray
    """int64[S, T, k]. Who was active."""
    staleness: np.ndarray
    """int64[S, T, k], steps. The age that the variant declares for each view."""
    memories: np.ndarray | None
    """float64[S, T, n, d], parameter units. e_t^i before step t; None if the state has no `memories`."""
    local_params: np.ndarray | None
    """float64[S, T, n, d], parameter units. x_t^i before step t; None if the state has no `local_params`."""
    other_params: np.ndarray | None
    """float64[S, T, v, d], parameter units. The anchor or the auxiliary rows before step t; None if there are none."""
    shifts: np.ndarray
    """float64[S, T, d], parameter units. What x moved by besides the updates of step t."""
    values: np.ndarray
    """float64[S, T + 1]. f(x_t)."""
    slopes: np.ndarray
    """float64[S, T + 1, d]. ∇f(x_t)."""
    view_values: np.ndarray
    """float64[S, T, k]. f(v_t^i)."""
    view_slopes: np.ndarray
    """float64[S, T, k, d]. ∇f(v_t^i)."""
    is_exact: bool
    """True if the S runs are all there are, equally likely, the coins of the first step varying slowest."""
    num_layers: int = 1
    """Of an exact run: how many leaves of equal size its parameters have."""

    @property
    def is_each_once(self) -> bool:
        """No worker takes two gradients in a step."""
        ordered = np.sort(self.workers, axis=-1)
        return not np.any((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0))

    @property
    def num_runs(self) -> int:
        """S."""
        return self.params.shape[0]

    @property
    def num_steps(self) -> int:
        """T."""
        return self.views.shape[1]

    @property
    def num_active(self) -> int:
        """K, the number of gradients of one step."""
        return self.views.shape[2]

    @property
    def distances_sq(self) -> np.ndarray:
        """float64[S, T, k]. ‖x_t - v_t^i‖²."""
        return norms_sq(self.params[:, :-1, None] - self.views)

    @property
    def noises(self) -> np.ndarray:
        """float64[S, T, k, d]. G_t^i - ∇f(v_t^i)."""
        return self.grads - self.view_slopes

    def generated(self, step_size: float) -> np.ndarray:
        """float64[S, T + 1, d]. x_0 - α Σ_{s<t} Σ_i w_s^i G_s^i: x_t as the theory defines it."""
        moves = -step_size * np.einsum("stk,stkd->std", self.weights, self.grads)
        start = self.params[:, :1]
        return np.concatenate([start, start + np.cumsum(moves, axis=1)], axis=1)

    @property
    def scale(self) -> float:
        """The largest entry of any parameter: what rounding of parameters is relative to."""
        return float(max(np.abs(self.params).max(), np.abs(self.views).max()))


def norms_sq(vectors: np.ndarray) -> np.ndarray:
    """‖·‖² over the last axis."""
    return np.einsum("...d,...d->...", vectors, vectors)


def every_path(
    algorithm: Algorithm,
    objectives: Mapping[str, two_samples.Objective],
    *,
    max_tosses: int,
    num_layers: int = 1,
    seed: int = 0,
) -> dict[str, Trajectory]:
    """{objective: trajectory} over all sequences of coins, for an algorithm built with `two_samples.oracle`.

    Args:
        algorithm: any.
        objectives: all of them run at once.
        max_tosses: a run has as many steps as fit in this many coins, one for each active worker and step;
            the number of runs is 2 to the number of coins.
        num_layers: into how many leaves the parameters are cut, of equal size; they are laid out flat all the same.
        seed: of the schedule.
    """
    with jax.enable_x64(True):
        named = list(objectives.values())
        coefficients = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *[o.coefficients for o in named])
        cut = two_samples.layers(np.stack([o.start for o in named]), num_layers)
        starts = jax.tree.map(jnp.asarray, cut)
        coins_per_step = 1 if num_active(algorithm, num_layers) == 1 else algorithm.num_workers
        num_steps = max_tosses // coins_per_step
        coins = all_coins(num_steps, coins_per_step, algorithm.num_workers)

        key_schedule, key_samples = run_key(seed, is_exact=True)
        keys = step_keys(key_schedule, key_samples[None], num_steps=num_steps)[0]
        seen = jax.device_get(_roll_paths(keys, starts, coefficients, coins, algorithm=algorithm))
        parts = [_flat_points(_flat(tree, lead), lead) for tree, lead in ((seen.params, 3), (seen.info.views, 4))]
        points = np.concatenate(parts, axis=1)
        values, slopes = jax.device_get(_evaluate_paths(points, coefficients))
    return {
        name: laid_out(
            jax.tree.map(lambda leaf, o=o: leaf[o], seen), values[o], slopes[o], is_exact=True, num_layers=num_layers
        )
        for o, name in enumerate(objectives)
    }


def sampled(
    algorithm: Algorithm,
    problem: Problem,
    *,
    num_steps: int,
    num_seeds: int,
    seed: int = 0,
    has_own_schedules: bool = False,
) -> Trajectory:
    """A trajectory over seeds of the samples.

    Args:
        algorithm: built with `problem.oracle`.
        problem: any; its parameters may be a tree.
        num_steps: T >= 1.
        num_seeds: S >= 200 for the Gaussian approximation of means.
        seed: another one gives another schedule and other samples.
        has_own_schedules: each run has a schedule of its own, instead of one for all: means are over schedules too.
    """
    with jax.enable_x64(True):
        key_schedule, key_samples = run_key(seed, is_exact=False)
        key_params = _keys(seed, is_exact=False)[2]
        if has_own_schedules:
            key_schedule = split_key(key_schedule, number=num_seeds)
        params, data = _double(problem.init(key_params)), _double(problem.data)
        keys = step_keys(key_schedule, split_key(key_samples, number=num_seeds), num_steps=num_steps)
        seen = _roll_seeds(keys, params, data, algorithm=algorithm)
        parts = [_rows(jax.device_get(tree), lead) for tree, lead in ((seen.params, 2), (seen.info.views, 3))]
        points = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        values, slopes = _evaluated(points, data, objective=problem.objective)
        return laid_out(jax.device_get(seen), values, slopes, is_exact=False)


def run_key(seed: int = 0, *, is_exact: bool) -> Array:
    """key[2], of the schedule and of the samples: what the record of a part is made with, to know a run's schedule.

    Args:
        seed: as given to `every_path` or `sampled`.
        is_exact: of `every_path`; else of `sampled`, all runs of which share this schedule.
    """
    return _keys(seed, is_exact=is_exact)[:2]


@functools.cache
def _keys(seed: int, *, is_exact: bool) -> Array:
    return split_key(unrolled(jax.random.key(seed)), number=2 if is_exact else 3)


@partial(jax.jit, static_argnames="number", compiler_options=QUICKLY)
def split_key(key: Array, *, number: int) -> Array:
    """key[number]; compiled as a whole, since one by one the operations of a key take longer to compile than all."""
    return jax.random.split(key, number)


class Seen(NamedTuple):
    """What is kept of each step."""

    params: PyTree
    info: Info
    memories: PyTree
    local_params: PyTree
    other_params: PyTree


class Info(NamedTuple):
    """What is measured of `base.Info`; what is not is not computed."""

    workers: Array
    views: PyTree
    grads: PyTree
    updates: PyTree
    weights: Array
    staleness: Array
    shift: PyTree


def roll(keys: Array, params: PyTree, data: PyTree, coins: Array | None, *, algorithm: Algorithm) -> Seen:
    """One run. keys: key[T + 1, 2], the last for the start; coins, if any, [T, n], go with the data of their step."""

    def advance(state: Any, inputs: tuple[Array, Array | None]) -> tuple[Any, Seen]:
        key, coin = inputs
        new_state, info = algorithm.step(key, state, data if coin is None else (data, coin))
        measured = Info(info.workers, info.views, info.grads, info.updates, info.weights, info.staleness, info.shift)
        memories, local_params, others = (
            getattr(state, name, ()) for name in ("memories", "local_params", "auxiliary_params")
        )
        if hasattr(state, "anchor_params"):
            others = stacked.broadcast(state.anchor_params, 1)
        return new_state, Seen(algorithm.global_params(state), measured, memories, local_params, others)

    state = algorithm.init(keys[-1, 0], params)
    state, seen = lax.scan(advance, state, (keys[:-1], coins))
    last = algorithm.global_params(state)
    return seen._replace(params=jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), seen.params, last))


@partial(jax.jit, static_argnames="algorithm", compiler_options=QUICKLY)
def _roll_paths(keys: Array, starts: PyTree, data: PyTree, coins: Array, *, algorithm: Algorithm) -> Seen:
    """Every objective (axis 0) on every path (axis 1)."""
    over_paths = jax.vmap(partial(roll, algorithm=algorithm), (None, None, None, 0))
    return jax.vmap(over_paths, (None, 0, 0, None))(keys, starts, data, coins)


@partial(jax.jit, static_argnames="algorithm", compiler_options=QUICKLY)
def _roll_seeds(keys: Array, params: PyTree, data: PyTree, *, algorithm: Algorithm) -> Seen:
    """Every seed of the samples (axis 0)."""
    return jax.vmap(partial(roll, algorithm=algorithm), (0, None, None, None))(keys, params, data, None)


@partial(jax.jit, static_argnames="num_steps")
def step_keys(key_schedule: Array, keys_samples: Array, *, num_steps: int) -> Array:
    """key[S, T + 1, 2]: the pair of each step as `run` makes it; apart from the runs, so that it compiles once."""
    pairs = jnp.stack([jnp.broadcast_to(key_schedule, keys_samples.shape), keys_samples], axis=1)
    over_steps = jax.vmap(base.step_key, (None, 0))
    return jax.vmap(over_steps, (0, None))(pairs, jnp.arange(num_steps + 1, dtype=jnp.int32))


def all_coins(num_steps: int, coins_per_step: int, num_workers: int) -> Array:
    """float64[2^(T c), T, n] in {-1, +1}, the first step's slowest; one coin serves all workers if c = 1."""
    num_tosses = num_steps * coins_per_step
    paths = np.arange(2**num_tosses)
    bits = (paths[:, None] >> np.arange(num_tosses)[::-1]) & 1
    coins = (2.0 * bits - 1.0).reshape(len(paths), num_steps, coins_per_step)
    return jnp.asarray(np.broadcast_to(coins, (len(paths), num_steps, num_workers)))


def _double(tree: PyTree) -> PyTree:
    """Floating-point leaves in float64."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )


@functools.cache
def num_active(algorithm: Algorithm, num_layers: int = 1) -> int:
    """K of an algorithm built with `two_samples.oracle`, read from shapes without running; kept, as tracing is slow.

    Args:
        algorithm: any.
        num_layers: into how many leaves the parameters are cut.
    """
    with jax.enable_x64(True):
        objective = two_samples.objectives()["quadratic"]
        coefficients = jax.tree.map(jnp.asarray, objective.coefficients)
        params = jax.tree.map(jnp.asarray, two_samples.layers(objective.start, num_layers))
        return base.num_active(algorithm, params, (coefficients, jnp.ones(algorithm.num_workers)))


@partial(jax.jit, compiler_options=QUICKLY)
def _evaluate_paths(points: Array, coefficients: two_samples.Coefficients) -> tuple[Array, Array]:
    """F and ∇f of each objective at its points: [O, N, d] -> [O, N], [O, N, d]."""
    value_and_grad = jax.value_and_grad(two_samples.objective)
    return jax.vmap(jax.vmap(value_and_grad, (0, None)), (0, 0))(points, coefficients)


def _evaluated(points: PyTree, data: PyTree, *, objective: Any) -> tuple[np.ndarray, np.ndarray]:
    """F and ∇f at points [N, ...]: [N] and [N, d]; block by block, since data may be large."""
    num_points = jax.tree.leaves(points)[0].shape[0]
    # the last block is filled up, so that all are of one shape, which is compiled once for all runs of a problem
    filled = jax.tree.map(lambda leaf: np.pad(leaf, [(0, -num_points % BLOCK), *[(0, 0)] * (leaf.ndim - 1)]), points)
    blocks = [
        jax.device_get(_evaluate_block(jax.tree.map(lambda leaf, k=k: leaf[k : k + BLOCK], filled), data, objective))
        for k in range(0, num_points, BLOCK)
    ]
    values, slopes = (np.concatenate(columns)[:num_points] for columns in zip(*blocks, strict=True))
    return values, slopes


@partial(jax.jit, static_argnums=2)
def _evaluate_block(points: PyTree, data: PyTree, objective: Any) -> tuple[Array, Array]:
    values, slopes = jax.vmap(jax.value_and_grad(objective), (0, None))(points, data)
    return values, jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(slopes)], axis=1)


def _rows(tree: PyTree, lead: int) -> PyTree:
    """The first `lead` axes of each leaf as one."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[lead:]), tree)


def _flat_points(points: np.ndarray, lead: int) -> np.ndarray:
    """[O, ..., d] -> [O, N, d]."""
    return points.reshape(points.shape[0], int(np.prod(points.shape[1:lead])), *points.shape[lead:])


def _flat(tree: PyTree, lead: int) -> np.ndarray:
    """Leaves [lead axes, ...] -> [lead axes, d]."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(*leaf.shape[:lead], -1) for leaf in leaves], axis=-1)


def laid_out(seen: Seen, values: np.ndarray, slopes: np.ndarray, *, is_exact: bool, num_layers: int = 1) -> Trajectory:
    """The record; `values` [N] and `slopes` [N, d] are those at all x_t, then at all views."""
    params, views = _flat(seen.params, 2), _flat(seen.info.views, 3)
    grads = _flat(seen.info.grads, 3)
    if grads.shape != views.shape:
        raise ValueError(
            f"the oracle returned grads of shape {grads.shape} at views of shape {views.shape}; one for each"
        )
    split = params.shape[0] * params.shape[1]
    return Trajectory(
        params=params,
        views=views,
        grads=grads,
        updates=_flat(seen.info.updates, 3),
        weights=np.asarray(seen.info.weights, np.float64),
        workers=np.asarray(seen.info.workers, np.int64),
        staleness=np.asarray(seen.info.staleness, np.int64),
        memories=_flat(seen.memories, 3) if jax.tree.leaves(seen.memories) else None,
        local_params=_flat(seen.local_params, 3) if jax.tree.leaves(seen.local_params) else None,
        other_params=_flat(seen.other_params, 3) if jax.tree.leaves(seen.other_params) else None,
        shifts=_flat(seen.info.shift, 2),
        values=values[:split].reshape(params.shape[:-1]),
        slopes=slopes[:split].reshape(params.shape),
        view_values=values[split:].reshape(views.shape[:-1]),
        view_slopes=slopes[split:].reshape(views.shape),
        is_exact=is_exact,
        num_layers=num_layers,
    )


def exact_second_moment(trajectory: Trajectory) -> float:
    """M² = max_{t,i} E‖G_t^i‖² over all paths, gradient units squared: an expectation, so no estimate."""
    if not trajectory.is_exact:
        raise ValueError("trajectory is a sample of paths; its second moment is an estimate from what is tested")
    squares = np.where(trajectory.workers >= 0, norms_sq(trajectory.grads), 0.0)
    return float(squares.mean(axis=0).max())


def with_exact_moment(constants: Constants, trajectory: Trajectory) -> Constants:
    """`constants` with the second moment of the run itself where no bound over all of space is known."""
    if constants.grad_second_moment is not None or not trajectory.is_exact:
        return constants
    return constants._replace(grad_second_moment=exact_second_moment(trajectory))
