"""EC:P1. The descent lemma along every run.

Setting
    Any variant, f with L-Lipschitz gradients; Δ_t = x_t - x_{t+1}, however the step came about: Δ_t = α Σ_i w_t^i G_t^i
    where updates are -α G. No expectation is taken, so that the schedule may look at the samples.

Statement (EC:P1, tight)
    f(x_{t+1}) <= f(x_t) - ⟨∇f(x_t), Δ_t⟩ + (L/2) ‖Δ_t‖²                            for all t, in every run.
    Attained where f is a quadratic with all curvatures L.

Why
    f(y) - f(x) - ⟨∇f(x), y - x⟩ = ∫ ⟨∇f(x + s (y - x)) - ∇f(x), y - x⟩ ds over s in [0, 1], and the integrand is at
    most s L ‖y - x‖².

Source
    Nesterov, Lectures on Convex Optimization, 2018, Lemma 1.2.3; the first line of the non-convex theorems of
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:P1"


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
    """L understated by 2, where the lemma is attained and where f is not convex."""
    bug = "L understated by 2"
    return [
        record.planted(_judge(_understated(next(cases.exact((name,))))), f"{bug} on {name}")
        for name in ("isotropic", "log_cosh")
    ]


def _understated(case: Case) -> Case:
    (smoothness,) = case.known("smoothness")
    return case._replace(constants=case.constants._replace(smoothness=smoothness / 2))


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_known(case.constants, "smoothness")]
    return case.judge(ID, "at every step", "tight", assumed, _compare)


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    moves = -np.diff(run.params, axis=1)
    along = np.einsum("std,std->st", run.slopes[:, :-1], moves)
    measured = np.diff(run.values, axis=1) + along
    claimed = case.known("smoothness")[0] / 2 * norms_sq(moves)
    # in every run: each run is a place, and nothing is averaged
    return statistics.at_most(
        measured[None], claimed[None], is_exact=True, scale=np.abs(run.values).max(), axes=("run", "t")
    )
