"""Runs of variants whose workers push, or gossip between estimates: every state of a run, over seeds, in float64.

A variant is chosen by the fields of its state: `push_weights`, or `estimates`. Its own gradients are those of a problem
of the library, or all zero, and rows may begin wherever they are put.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import algorithms
from elastic_jax.base import Algorithm, Info, PyTree
from proofs_check import cases, mixed, record, trajectory, two_samples
from proofs_check.cooperative import rows
from proofs_check.record import Check
from proofs_check.statistics import Comparison

PROBLEM = "nonconvex_logistic"
NUM_SEEDS = 4
NUM_STEPS = 13


class Run(NamedTuple):
    """What all runs of an algorithm went through; parameters are flat."""

    setting: str
    algorithm: Algorithm
    states: Any
    """float64[S, T + 1, ...]. The state before each step, and the last."""
    info: Info
    """[S, T, ...]."""
    params: np.ndarray
    """float64[S, T + 1, d]. x_t."""
    keys: Array
    """key[S, T]. Of the schedule, in each step."""

    @property
    def scale(self) -> float:
        """The largest number in any state: what rounding is relative to."""
        leaves = [np.abs(leaf).max() for leaf in jax.tree.leaves(self.states) if leaf.dtype.kind == "f"]
        return float(max(leaves))

    def judge(self, id: str, name: str, kind: str, compare: Callable[[], Comparison]) -> Check:
        """The record of a statement that holds in every run: nothing is a mean over seeds."""
        num_runs, num_steps = self.params.shape[0], self.params.shape[1] - 1
        return record.judge(id, name, kind, self.setting, [], compare, seeds=num_runs, is_exact=True, steps=num_steps)


def variants(field: str) -> list[tuple[str, Any]]:
    """(name, module) of the variants whose state has this field."""
    return [(name, module) for name, module in algorithms.variants().items() if field in module.State._fields]


def with_gradients(
    field: str,
    parts: Mapping[str, Mapping[str, Any]],
    *,
    step_size: float = cases.STEP_SIZE,
    plant: Callable[[Algorithm], Algorithm] | None = None,
) -> Iterator[Run]:
    """Every variant with this field in its state, with each of `parts`, on a problem with four workers.

    Args:
        field: of a state.
        parts: {label: arguments of `build`}.
        step_size: α.
        plant: a bug.
    """
    for name, module in variants(field):
        for label in cases.few(parts, number=2):
            yield _with_gradients(f"{name} ({label})", module, parts[label], step_size, plant)


def _with_gradients(setting: str, module: Any, given: Mapping[str, Any], step_size: float, plant: Any) -> Run:
    problem = cases.sampled_problem(PROBLEM)
    with jax.enable_x64(True):
        algorithm = module.build(problem.oracle, num_workers=problem.num_workers, step_size=step_size, **given)
        algorithm = algorithm if plant is None else plant(algorithm)
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), problem.init(jax.random.key(5)))
        start = algorithm.init(jax.random.key(0), params)
        return _run(f"{setting} on {PROBLEM}, {NUM_SEEDS} seeds", algorithm, start, problem.data, NUM_SEEDS, NUM_STEPS)


def far_apart(
    parts: Mapping[str, Mapping[str, Any]],
    *,
    num_steps: int,
    num_workers: int = cases.NUM_WORKERS_SAMPLED,
    num_seeds: int = 1,
    begin: np.ndarray | None = None,
    plant: Callable[[Algorithm], Algorithm] | None = None,
) -> Iterator[Run]:
    """Every variant with estimates: workers begin far apart, estimated as 0, and are moved by nothing but messages.

    Args:
        parts: {label: arguments of `build`}.
        num_steps: T.
        num_workers: n.
        num_seeds: S, each with messages of its own.
        begin: float[n, d]. X_0; default independent normals about 2.
        plant: a bug.
    """
    begin = rows.far_apart(num_workers) if begin is None else begin
    for name, module in variants("estimates"):
        for label in cases.few(parts, number=1):
            with jax.enable_x64(True):
                algorithm = module.build(two_samples.oracle, num_workers=num_workers, **parts[label])
                algorithm = algorithm if plant is None else plant(algorithm)
                first = jnp.asarray(begin)
                start = algorithm.init(jax.random.key(0), first[0])._replace(local_params=first, estimates=0 * first)
                setting = f"{name} ({label}) without gradients, n = {num_workers}"
                yield _run(setting, mixed.still(algorithm), start, (), num_seeds, num_steps)


def _run(setting: str, algorithm: Algorithm, start: Any, data: PyTree, num_seeds: int, num_steps: int) -> Run:
    keys = rows.keys(num_runs=num_seeds, num_steps=num_steps)
    states, info, params = jax.device_get(_roll(start, data, keys, algorithm=algorithm))
    return Run(setting, algorithm, states, info, _flat(params, 2), keys[..., 0])


@partial(jax.jit, static_argnames="algorithm", compiler_options=trajectory.QUICKLY)
def _roll(start: Any, data: PyTree, keys: Array, *, algorithm: Algorithm) -> Any:
    def one(keys: Array) -> Any:
        def advance(state: Any, key: Array) -> Any:
            new_state, info = algorithm.step(key, state, data)
            return new_state, (new_state, info)

        _, (states, infos) = jax.lax.scan(advance, start, keys)
        states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, states)
        return states, infos, jax.vmap(algorithm.global_params)(states)

    return jax.vmap(one)(keys)


def flat(run: Run, field: str, lead: int = 3) -> np.ndarray:
    """float64[S, T + 1, n, d]. A field of the states, or [S, T, n, d] one of `Info`, with `lead` axes before [...]."""
    held = getattr(run.states, field) if hasattr(run.states, field) else getattr(run.info, field)
    return _flat(held, lead)


def _flat(tree: PyTree, lead: int) -> np.ndarray:
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(*leaf.shape[:lead], -1) for leaf in leaves], axis=-1)


@functools.cache
def _draw(matrix: Callable[[Array, Array], Array]) -> Any:
    over_steps = jax.vmap(matrix, (0, 0))
    return jax.jit(jax.vmap(over_steps, (0, None)), compiler_options=trajectory.QUICKLY)


def drawn(run: Run, part: Any) -> np.ndarray:
    """float64[S, T, n, n]. The matrices of a part in each step, drawn again from the keys of the schedules."""
    with jax.enable_x64(True):
        steps = jnp.arange(run.params.shape[1] - 1, dtype=jnp.int32)
        return np.asarray(_draw(part.matrix)(run.keys, steps), np.float64)
