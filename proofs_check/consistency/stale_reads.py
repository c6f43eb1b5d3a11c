"""EC:E2. Stale reads: a view s steps old is within α s M of the global parameters.

Setting
    Variants whose views are late and lack nothing else (`lacks`), plain SGD; one schedule, oblivious to the
    samples. s_t^i is the staleness of that schedule and τ its maximum: where a clock leaves the staleness
    unbounded, the statement is about the schedule at hand.

Statement (EC:E2, tight)
    transient:  E‖x_t - v_t^i‖² <= α² (s_t^i)² M²                                   for all t and i,
    uniform:    E‖x_t - v_t^i‖² <= α² τ² M², that is B = τ M.
    Attained where all gradients are the same, and by s = 1 in single steps.

Why
    EC:I2 and Minkowski's inequality in L²: ‖Σ_{r=t-s}^{t-1} Σ_j w_r^j G_r^j‖ <= Σ_r Σ_j w_r^j ‖G_r^j‖ <= s M,
    since the weights of a step sum to at most 1. Only second moments along the run enter: M² = max E‖G‖².

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1: τ M for a consistent stale
    read, the paper's √d τ M for shared memory being larger. In parallel steps the table's (n - 1) τ M / n has
    τ M here, since a worker's own gradients are missing too.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, planted, record, statistics, tightness, trajectory
from proofs_check.cases import Case
from proofs_check.identities.missing_gradients import reads_are_stale
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E2"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with stale reads, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(
        ("linear", "rational", "quadratic"),
        step_size=step_size,
        max_tosses=max_tosses,
        is_meant=reads_are_stale,
    )
    hardest = tightness.hardest(reads_are_stale)
    sampled = cases.sampled(
        ("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=reads_are_stale
    )
    return [one for found in (exact, hardest, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """A delay of τ + 1 where τ is declared, on parallel gradients, which use the bound up."""
    bug = "views one step older than declared"
    case = cases.planted_run(planted.older_views, cases.first_setting(reads_are_stale), "linear", bug=bug)
    return [record.planted(one, bug) for one in _judge(case)[:1]]


def _judge(case: Case) -> list[Check]:
    run = case.trajectory
    constants = trajectory.with_exact_moment(case.constants, run)
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_oblivious(run),
        hypotheses.is_known(constants, "grad_second_moment"),
    ]
    return [
        case.judge(ID, "transient s M", "tight", assumed, _transient),
        case.judge(ID, "uniform τ M", "tight", assumed, _uniform),
    ]


def _transient(case: Case) -> Comparison:
    return _compare(case, case.trajectory.staleness.astype(np.float64))


def _uniform(case: Case) -> Comparison:
    return _compare(case, np.full(case.trajectory.staleness.shape, float(case.trajectory.staleness.max())))


def _compare(case: Case, staleness: np.ndarray) -> Comparison:
    run = case.trajectory
    second_moment = trajectory.with_exact_moment(case.constants, run).grad_second_moment
    assert second_moment is not None
    claimed = (case.step_size * staleness) ** 2 * second_moment
    return statistics.at_most(run.distances_sq, claimed, is_exact=run.is_exact)
