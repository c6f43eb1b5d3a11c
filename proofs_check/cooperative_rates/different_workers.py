"""Runs in which workers differ, f being the mean of the f_i, with each worker's own gradients in the place of f's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax import lax

from elastic_jax.base import Problem
from proofs_check.cooperative_rates import bugs, instances, mixed_runs
from proofs_check.cooperative_rates.mixed_runs import Run
from proofs_check.mixed import Mixed


def exact(names: tuple[str, ...], *, step_size: float, is_meant: Callable[[Mixed], bool]) -> Iterator[Run]:
    """Two workers whose gradients differ by `instances.TILT`, over all paths; `view_slopes` are ∇f_i(x_t^i).

    Args:
        names: of the objectives.
        step_size: α.
        is_meant: chooses by the mixing declared.
    """
    for run in mixed_runs.exact(names, step_size=step_size, is_tilted=True, is_meant=is_meant):
        yield tilted(run)


def one(objective: str, is_meant: Callable[[Mixed], bool], *, step_size: float) -> Run:
    """What a control plants its bug in."""
    return tilted(mixed_runs.one(objective, is_meant, step_size=step_size, is_tilted=True))


def with_moved_mean(objective: str) -> dict[str, Run]:
    """{bug: an exact run in which mixing moves the mean}."""
    found = bugs.with_moved_mean(objective, is_tilted=True)
    return {bug: tilted(run) for bug, run in found.items()}


def tilted(run: Run) -> Run:
    """An exact run of workers that differ, with ∇f_i(x_t^i) for ∇f(x_t^i)."""
    found = run.case.trajectory
    own = found.view_slopes + np.asarray(instances.tilts(found.workers))
    return run._replace(case=run.case._replace(trajectory=found._replace(view_slopes=own)))


def sampled(
    name: str, *, parts: Mapping[str, Mapping[str, Any]], step_size: float, has_own_schedules: bool = False
) -> Iterator[Run]:
    """Eight workers on one of `instances.PROBLEMS`; `view_slopes` are ∇f_i(x_t^i).

    Args:
        name: of the problem.
        parts: settings.
        step_size: α.
        has_own_schedules: each run draws its mixings by itself.
    """
    problem = instances.problem(name)
    for run in mixed_runs.sampled(name, parts=parts, step_size=step_size, has_own_schedules=has_own_schedules):
        found = run.case.trajectory
        own = [_slopes(found.views[:, :, i], problem, i) for i in range(problem.num_workers)]
        yield run._replace(case=run.case._replace(trajectory=found._replace(view_slopes=np.stack(own, axis=2))))


def dissimilarity_at(problem: Problem, params: np.ndarray) -> float:
    """(1/n) Σ_i ‖∇f_i(x)‖²."""
    own = [_slopes(params[None, None], problem, i) for i in range(problem.num_workers)]
    return float(np.mean(np.sum(np.square(own), axis=-1)))


def _slopes(points: np.ndarray, problem: Problem, worker: int) -> np.ndarray:
    """∇f_i at points [S, T, d]: f of the data of worker i alone."""
    with jax.enable_x64(True):
        data = jax.tree.map(lambda leaf: leaf[worker : worker + 1], problem.data)
        found = _evaluate(points.reshape(-1, points.shape[-1]), data, objective=problem.objective)
        return np.asarray(found).reshape(points.shape)


@functools.partial(jax.jit, static_argnames="objective")
def _evaluate(points: Any, data: Any, *, objective: Callable[..., Any]) -> Any:
    return lax.map(lambda point: jax.grad(objective)(point, data), points, batch_size=256)
