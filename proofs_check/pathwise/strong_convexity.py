"""EC:P9. Strong convexity at the global parameters of every run.

Setting
    Any variant, f c-strongly convex with minimiser x* and minimum f*. No expectation is taken, so that the schedule may
    look at the samples.

Statement (EC:P9, tight)
    c ‖x_t - x*‖² <= ⟨x_t - x*, ∇f(x_t)⟩                                            for all t, in every run,
    (c/2) ‖x_t - x*‖² <= f(x_t) - f*                                                for all t, in every run.
    Attained where f is a quadratic with all curvatures c.

Why
    c ‖x - y‖² <= ⟨x - y, ∇f(x) - ∇f(y)⟩ and (c/2) ‖x - y‖² <= f(x) - f(y) - ⟨∇f(y), x - y⟩ at y = x*, where ∇f = 0.

Source
    Nesterov, Lectures on Convex Optimization, 2018, section 2.1; the contraction of Nadiradze et al., Elastic
    Consistency, AAAI 2021, arXiv 2001.05918, in the strongly convex theorems.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:P9"


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
    exact = cases.exact(("isotropic", "quadratic", "log_cosh"), step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("quadratic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    return [one for found in (exact, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """C overstated by a tenth where it is attained; x* that is beside the minimum; an objective that is not convex."""
    case = next(cases.exact(("isotropic",)))
    (convexity,) = case.known("strong_convexity")
    wrong = {
        "c overstated by a tenth": case.constants._replace(strong_convexity=1.1 * convexity),
        "x* beside the minimum": case.constants._replace(optimum=np.full(case.trajectory.params.shape[-1], 1.0)),
    }
    nonconvex = next(cases.exact(("rational",)))
    return [
        *(record.planted(one, bug) for bug, found in wrong.items() for one in _judge(case._replace(constants=found))),
        *(record.planted(one, "an objective that is not convex", expected="skipped") for one in _judge(nonconvex)),
    ]


def _judge(case: Case) -> list[Check]:
    constants = case.constants
    assumed = [
        hypotheses.is_strongly_convex(constants),
        hypotheses.is_known(constants, "optimum", "optimal_value"),
    ]
    return [
        case.judge(ID, "slope along x - x*", "tight", assumed, _slopes),
        case.judge(ID, "gap", "tight", assumed, _gaps),
    ]


def _slopes(case: Case) -> Comparison:
    along = np.einsum("std,std->st", case.optimum_offsets, case.trajectory.slopes)
    return _compare(case, along, factor=1.0)


def _gaps(case: Case) -> Comparison:
    return _compare(case, case.trajectory.values - case.known("optimal_value")[0], factor=0.5)


def _compare(case: Case, claimed: np.ndarray, factor: float) -> Comparison:
    measured = factor * case.known("strong_convexity")[0] * case.optimum_distances_sq
    # in every run: each run is a place, and nothing is averaged
    return statistics.at_most(measured[None], claimed[None], is_exact=True, axes=("run", "t"))
