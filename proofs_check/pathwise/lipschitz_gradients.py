"""EC:P2. How far the gradient at a view is from that at the global parameters, in every run.

Setting
    Any variant, f with L-Lipschitz gradients; views whatever they lack. No expectation is taken, so that the schedule
    may look at the samples.

Statement (EC:P2, tight)
    ‖∇f(x_t) - ∇f(v_t^i)‖ <= L ‖x_t - v_t^i‖                                        for all t and i, in every run.
    Attained where f is a quadratic with all curvatures L.

Why
    It is what L means. What is checked is that L, as the problem certifies it, covers every pair of points that a run
    compares: it is the one place where elastic consistency enters the theorems.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the assumption of smoothness.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:P2"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting on every path, the defaults also over seeds, for longer.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(("isotropic", "rational", "log_cosh"), step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(
        ("nonconvex_logistic", "quadratic"), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps
    )
    return [_judge(case) for found in (exact, sampled) for case in found]


def control() -> list[Check]:
    """L understated by 2; views that are not where the gradients were taken."""
    case = next(case for case in cases.exact(("isotropic",)) if case.trajectory.distances_sq.any())
    run, (smoothness,) = case.trajectory, case.known("smoothness")
    understated = case._replace(constants=case.constants._replace(smoothness=smoothness / 2))
    halfway = (run.views + run.params[:, :-1, None]) / 2
    moved = case._replace(trajectory=run._replace(views=halfway))
    return [
        record.planted(_judge(understated), "L understated by 2"),
        record.planted(_judge(moved), "views reported halfway to x"),
    ]


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_known(case.constants, "smoothness")]
    return case.judge(ID, "at every view", "tight", assumed, _compare)


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    measured = np.sqrt(norms_sq(run.slopes[:, :-1, None] - run.view_slopes))
    claimed = case.known("smoothness")[0] * np.sqrt(run.distances_sq)
    # in every run: each run is a place, and nothing is averaged
    return statistics.at_most(
        measured[None],
        claimed[None],
        is_exact=True,
        scale=max(run.scale, np.abs(run.slopes).max()),
        axes=("run", "t", "i"),
    )
