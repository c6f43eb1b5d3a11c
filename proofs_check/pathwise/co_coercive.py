"""EC:P3. Small where the objective is almost minimal: the gradient, at views and at the global parameters.

Setting
    Any variant, f with L-Lipschitz gradients and f >= f* everywhere; f need not be convex. No expectation is taken, so
    that the schedule may look at the samples.

Statement (EC:P3, tight)
    ‖∇f(v_t^i)‖² <= 2 L (f(v_t^i) - f*)                                             for all t and i, in every run,
    ‖∇f(x_t)‖² <= 2 L (f(x_t) - f*)                                                 for all t, in every run.
    Attained where f is a quadratic with all curvatures L.

Why
    f* <= f(v - ∇f(v) / L) <= f(v) - ‖∇f(v)‖² / (2 L): the descent lemma (EC:P1) for a step that nobody takes.

Source
    Nesterov, Lectures on Convex Optimization, 2018, section 2.1; the step from ‖∇f(v)‖² to f(v) - f* of the strongly
    convex theorems, EC:T2.3.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:P3"


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
    return [one for found in (exact, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """L understated by 2; f* overstated; f* that nobody knows."""
    case = next(cases.exact(("isotropic",)))
    (smoothness,) = case.known("smoothness")
    wrong = {
        "L understated by 2": case.constants._replace(smoothness=smoothness / 2),
        "f* overstated by 0.1": case.constants._replace(optimal_value=0.1),
    }
    unknown = case._replace(constants=case.constants._replace(optimal_value=None))
    return [
        *(record.planted(one, bug) for bug, found in wrong.items() for one in _judge(case._replace(constants=found))),
        *(record.planted(one, "f* that nobody knows", expected="skipped") for one in _judge(unknown)),
    ]


def _judge(case: Case) -> list[Check]:
    assumed = [hypotheses.is_known(case.constants, "smoothness", "optimal_value")]
    return [
        case.judge(ID, "at every view", "tight", assumed, _at_views),
        case.judge(ID, "at every step", "tight", assumed, _at_params),
    ]


def _at_views(case: Case) -> Comparison:
    return _compare(case, case.trajectory.view_values, case.trajectory.view_slopes)


def _at_params(case: Case) -> Comparison:
    return _compare(case, case.trajectory.values, case.trajectory.slopes)


def _compare(case: Case, values: np.ndarray, slopes: np.ndarray) -> Comparison:
    smoothness, lowest = case.known("smoothness", "optimal_value")
    claimed = 2 * smoothness * (values - lowest)
    # in every run: each run is a place, and nothing is averaged
    return statistics.at_most(norms_sq(slopes)[None], claimed[None], is_exact=True, axes=("run", "t", "i"))
