"""EC:E5'. Independent drops, sent again with the next message: how far views are from x_t on average over schedules.

Setting
    Variants whose channels drop each message with probability q, independently, and send what was dropped with the next
    message (`drops`, `piggyback`), without substitution; plain SGD. Each run has a schedule of its own, so
    that means are over drops as well as over samples. On the library's problem, and on gradients that are all the same.

Statement (EC:E5')
    transient (upper):   E‖x_t - v_t^i‖² <= (α/n)² M² E[(Σ_{j≠i} min(H_j, t))²]     for all t and i,
    uniform (upper):     E‖x_t - v_t^i‖² <= (α/n)² M² ((n - 1) q + (n - 1)² q²) / (1 - q)²,
    attained (lower):    the transient form with >= where all gradients are the same.

Why
    The number H_j of messages of j in a row that were not delivered is geometric, P(H >= h) = q^h, independent over j:
    E H = q / (1 - q), Var H = q / (1 - q)². Given the schedule EC:I5 and Minkowski's inequality bound the distance by
    (α/n) M Σ_j H_j in L². Before step t no more than t can be missing. For a single schedule it need not hold.

Source
    Proved above; the setting is the row of message drops of Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv
    2001.05918, Table 1, which limits the number of messages missing instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax.base import Algorithm, Constants, Params, Problem, PyTree
from proofs_check import cases, hypotheses, record, settings, statistics, trajectory
from proofs_check.cases import Case
from proofs_check.identities.pending_messages import has_pending
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E5'"


def check(
    *, step_size: float = cases.STEP_SIZE, num_seeds: int = 2048, num_steps: int = 16, num_workers: int = 4
) -> list[Check]:
    """Every setting with independent drops and nothing lost, over seeds with schedules of their own.

    Args:
        step_size: α > 0.
        num_seeds: S.
        num_steps: T.
        num_workers: n of the problem whose gradients are all the same.
    """
    found = _runs(step_size, num_seeds, num_steps, num_workers)
    return [one for case in found for one in _judge(case, _rate(case.algorithm))]


def control() -> list[Check]:
    """The rate understated by a fifth, on gradients that are all the same."""
    case = next(_runs(cases.STEP_SIZE, 2048, 16, 4))
    checks = _judge(case, 0.8 * _rate(case.algorithm))
    return [record.planted(one, f"q understated by a fifth, {one.name}") for one in checks if one.kind == "upper"]


def missing_second_moment(rate: float, num_others: int, at_most: float = float("inf")) -> float:
    """E[(Σ_j min(H_j, t))²] of independent geometric H_j, with t = `at_most`; in closed form without a limit."""
    if np.isinf(at_most):
        return (num_others * rate + (num_others * rate) ** 2) / (1 - rate) ** 2
    numbers = np.arange(1, at_most + 1)
    mean, square = (rate**numbers).sum(), ((2 * numbers - 1) * rate**numbers).sum()
    return float(num_others * (square - mean**2) + (num_others * mean) ** 2)


def _runs(step_size: float, num_seeds: int, num_steps: int, num_workers: int) -> Iterator[Case]:
    """Gradients that are all the same, then the library's problem."""
    same = _problem(num_workers)
    library = cases.sampled_problem("nonconvex_logistic")
    for name, problem in {"equal gradients": same, "nonconvex_logistic": library}.items():
        for setting in settings.every():
            with jax.enable_x64(True):
                algorithm = setting.build(
                    problem.oracle, num_workers=problem.num_workers, step_size=step_size, **setting.arguments
                )
            if has_pending(algorithm) and _rate(algorithm):
                run = trajectory.sampled(
                    algorithm, problem, num_steps=num_steps, num_seeds=num_seeds, has_own_schedules=True
                )
                text = f"{setting.name} on {name}, {num_seeds} seeds and schedules"
                yield Case(text, algorithm, run, problem.constants, step_size)


def _rate(algorithm: Algorithm) -> float:
    return cases.declared(algorithm)["drops"].rate or 0.0


def _judge(case: Case, rate: float) -> list[Check]:
    run, constants = case.trajectory, case.constants
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_known(constants, "grad_second_moment"),
    ]
    equal = [*assumed, hypotheses.is_declared("gradients all the same", constants.smoothness == 0)]
    return [
        case.judge(ID, "transient", "upper", assumed, partial(_compare, rate=rate, is_transient=True)),
        case.judge(ID, "uniform", "upper", assumed, partial(_compare, rate=rate, is_transient=False)),
        case.judge(ID, "attained", "lower", equal, partial(_compare, rate=rate, is_transient=True, is_lower=True)),
    ]


def _compare(case: Case, rate: float, is_transient: bool, is_lower: bool = False) -> Comparison:
    run, others = case.trajectory, case.algorithm.num_workers - 1
    (second_moment,) = case.known("grad_second_moment")
    limits = [t if is_transient else float("inf") for t in range(run.num_steps)]
    numbers = np.array([missing_second_moment(rate, others, limit) for limit in limits])
    claimed = (case.step_size / case.algorithm.num_workers) ** 2 * second_moment * numbers[None, :, None]
    claimed = np.broadcast_to(claimed, run.distances_sq.shape)
    measured, bound = (claimed, run.distances_sq) if is_lower else (run.distances_sq, claimed)
    return statistics.at_most(measured, bound, is_exact=False)


def _problem(num_workers: int) -> Problem:
    """f(x) = x_1 + x_2, whose gradients are (1, 1) everywhere."""
    constants = Constants(
        smoothness=0.0, strong_convexity=0.0, grad_variance=0.0, grad_second_moment=2.0, heterogeneity=0.0
    )
    return Problem(_ones, _start, jnp.zeros((num_workers, 1)), _total, _nothing, constants, num_workers)


def _ones(keys: Array, views: Array, data: PyTree, workers: Array) -> tuple[Array, Array]:
    del keys, data
    return jnp.zeros(workers.shape), jnp.ones_like(views)


def _start(key: Array) -> Params:
    del key
    return jnp.zeros(2)


def _total(params: Params, data: PyTree) -> Array:
    del data
    return jnp.sum(params)


def _nothing(params: Params) -> dict[str, Array]:
    del params
    return {}
