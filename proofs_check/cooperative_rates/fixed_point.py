"""CO:F1. Where local SGD without noise comes to rest if workers differ: not at the optimum.

Setting
    n workers take H steps x^i <- x^i - α A_i (x^i - b_i) of their own and are then replaced by their mean; A_i diagonal
    and positive, α max A_i < 2. f is the mean of the f_i(x) = ½ (x - b_i)ᵀ A_i (x - b_i), x* = (Σ A_i)⁻¹ Σ A_i b_i, and
    K_i = I - (I - α A_i)^H.

Statement (CO:F1, equality)
    stays:   from x_0 = x_∞ = (Σ_i K_i)⁻¹ Σ_i K_i b_i, x_t = x_∞ whenever H divides t,
    reached: x_t comes to x_∞ from anywhere,
    bias:    x_t - x* comes to x_∞ - x*, which is not zero,
    optimum: x_t comes to x* where H = 1, where all A_i are equal, and where all b_i are.

Why
    After H steps x^i - b_i = (I - α A_i)^H (x - b_i), whose mean over i is x again for x = x_∞ alone, and the mean of
    the (I - α A_i)^H, of norm below 1, contracts. H = 1: K_i = α A_i; equal A_i: K_i cancels, and both are the mean of
    the b_i; equal b_i: both are b. To first order in α the bias is that of A_i (I - α (H - 1) A_i/2) for A_i.

Source
    Khaled, Mishchenko, Richtárik, Tighter Theory for Local SGD on Identical and Heterogeneous Data, AISTATS 2020, arXiv
    1909.04746, is about these iterates; the fixed point is computed above.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import problems
from elastic_jax.base import Algorithm, Problem
from proofs_check import cases, record, statistics, trajectory
from proofs_check.cooperative_rates import bugs, mixed_runs
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import Trajectory

ID = "CO:F1"

STEP_SIZE = 0.5
NUM_STEPS = 240
"""The slowest of the contractions below is 0.875 a step."""

_VARIED: Mapping[str, Any] = {"num_workers": 4, "dim": 5, "noise": 0.0, "low_curvature": 0.5}
WORKERS: Mapping[str, Mapping[str, Any]] = {
    "different A and b": {**_VARIED, "curvature_spread": 0.5},
    "equal A": {**_VARIED, "curvature_spread": 0.0},
    "equal b": {**_VARIED, "curvature_spread": 0.5, "centre_spread": 0.0},
}
"""{label: arguments of the quadratic problem}; where the b_i are equal they are moved to 1."""

_DIFFERENT = "different A and b"
SETTINGS = ((_DIFFERENT, 5), (_DIFFERENT, 2), (_DIFFERENT, 1), ("equal A", 5), ("equal b", 5))
"""Workers and H."""


def check(*, step_size: float = STEP_SIZE, num_steps: int = NUM_STEPS) -> list[Check]:
    """Workers of three kinds.

    Args:
        step_size: α > 0.
        num_steps: T, a multiple of the periods.
    """
    return [
        one
        for workers, period in cases.few(SETTINGS, number=2)
        for one in _judge(workers, period, step_size, num_steps)
    ]


def control() -> list[Check]:
    """H - 1 mistaken for H, or x* for x_∞; averaging too often or late; sums in place of means; workers that differ."""
    judge = partial(_judge, _DIFFERENT, 5, STEP_SIZE, NUM_STEPS)
    planted: dict[str, Callable[[Algorithm], Algorithm]] = {
        "averaging after every step": partial(bugs.other_period, period=1),
        "averaging one step late": bugs.one_step_late,
        "workers that add up their parameters": bugs.summed,
    }
    return [
        *(record.planted(one, "H - 1 mistaken for H") for one in judge(believed=4)),
        *(record.planted(one, "the optimum taken for the fixed point") for one in judge(believed=1)),
        *(record.planted(judge(plant=bug)[0], name) for name, bug in planted.items()),
        record.planted(_of_optimum(_DIFFERENT, 2, STEP_SIZE, NUM_STEPS), "workers that differ in A and b"),
    ]


def _judge(
    workers: str,
    period: int,
    step_size: float,
    num_steps: int,
    *,
    believed: int | None = None,
    plant: Callable[[Algorithm], Algorithm] | None = None,
) -> list[Check]:
    """All forms that are meant for these workers.

    Args:
        workers: which of `WORKERS`.
        period: H.
        step_size: α.
        num_steps: T.
        believed: the H of the formula, if another one.
        plant: a bug.
    """
    problem = _problem(workers)
    rest = fixed_point(problem, believed or period, step_size)
    settled = _run(workers, period, step_size, num_steps, start=rest, plant=plant)
    whole = settled.params[:, ::period]
    found = [_record("stays", workers, period, settled, partial(_same, whole, np.broadcast_to(rest, whole.shape)))]
    if plant is not None:
        return found
    run = _run(workers, period, step_size, num_steps)
    last, best = run.params[:, -1], np.asarray(problem.constants.optimum)
    found.append(_record("reached", workers, period, run, partial(_same, last, rest[None])))
    if _is_optimal(workers, period):
        return [*found, _of_optimum(workers, period, step_size, num_steps)]
    # a bias of zero is vacuous: it is to be told from rounding of the parameters
    scale = run.scale
    bias = partial(statistics.equal, last - best, (rest - best)[None], scale=scale, axes=("s", "d"))
    return [*found, _record("bias", workers, period, run, bias)]


def _of_optimum(workers: str, period: int, step_size: float, num_steps: int) -> Check:
    problem = _problem(workers)
    run = _run(workers, period, step_size, num_steps)
    best = np.asarray(problem.constants.optimum)
    return _record("optimum", workers, period, run, partial(_same, run.params[:, -1], best[None]))


def fixed_point(problem: Problem, period: int, step_size: float) -> np.ndarray:
    """float64[d]. x_∞."""
    curvatures, centres = (np.asarray(problem.data[name]) for name in ("curvatures", "centres"))
    gains = 1 - (1 - step_size * curvatures) ** period
    return np.asarray((gains * centres).sum(axis=0) / gains.sum(axis=0))


def _is_optimal(workers: str, period: int) -> bool:
    return period == 1 or workers != _DIFFERENT


@functools.cache
def _problem(workers: str) -> Problem:
    with jax.enable_x64(True):
        problem = problems.problem("quadratic").build(**WORKERS[workers])
        if workers != "equal b":
            return problem
        moved = jax.tree.map(jnp.ones_like, problem.data["centres"])
        optimum = np.ones(moved.shape[1])
        return problem._replace(
            data={**problem.data, "centres": moved}, constants=problem.constants._replace(optimum=optimum)
        )


def _start(key: Array, *, at: np.ndarray) -> Array:
    del key
    return jnp.asarray(at)


def _run(
    workers: str,
    period: int,
    step_size: float,
    num_steps: int,
    *,
    start: np.ndarray | None = None,
    plant: Callable[[Algorithm], Algorithm] | None = None,
) -> Trajectory:
    """One run, from `start` or from anywhere."""
    algorithm, problem = _algorithm(workers, period, step_size), _problem(workers)
    algorithm = algorithm if plant is None else plant(algorithm)
    problem = problem if start is None else problem._replace(init=partial(_start, at=start))
    return trajectory.sampled(algorithm, problem, num_steps=num_steps, num_seeds=1)


@functools.cache
def _algorithm(workers: str, period: int, step_size: float) -> Algorithm:
    """Made once for both starting points, so that it is compiled once."""
    given, problem = {"period": period, "opt_states_at_averaging": "kept"}, _problem(workers)
    return mixed_runs.build(given, problem.oracle, num_workers=problem.num_workers, step_size=step_size)


def _record(name: str, workers: str, period: int, run: Trajectory, compare: Callable[[], Comparison]) -> Check:
    setting = f"{workers}, H = {period}, no noise"
    return record.judge(ID, name, "equality", setting, [], compare, seeds=1, is_exact=True, steps=run.num_steps)


def _same(left: np.ndarray, right: np.ndarray) -> Comparison:
    return statistics.equal(left, right, axes=("s", "round", "d") if left.ndim > 2 else ("s", "d"))
