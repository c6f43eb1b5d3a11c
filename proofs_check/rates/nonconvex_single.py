"""EC:T2.1. Non-convex objectives, one gradient a step.

Setting
    x_{t+1} = x_t - α G_t with one gradient at a view v_t, unbiased given the past and of variance at most σ²;
    identical workers; f has L-Lipschitz gradients and is bounded below. Mode (ii): B_t² = E‖x_t - v_t‖² / α²
    as measured; mode (i): B as the variant promises it a priori.

Statement (EC:T2.1)
    per step (tight), α <= 1/L:
        E f(x_{t+1}) <= E f(x_t) - (α/2) E‖∇f(x_t)‖² - (α/2) (1 - α L) E‖∇f(v_t)‖²
                        + (α L²/2) E‖x_t - v_t‖² + (α² L/2) E‖G_t - ∇f(v_t)‖²,
    summed (upper), α <= 1/L:
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= 2 (f(x_0) - E f(x_T)) / (α T) + α² L² mean_t B_t² + α L σ²,
    a priori (upper): the same with B², and
    paper (upper), α <= 1/(6L):
        (1/T) Σ E‖∇f(x_t)‖² <= 4 (f(x_0) - f*) / (α T) + 2 α² L² B² + 6 α L σ² + 6 α³ L³ B².
    Per step it is an equality where f is a quadratic with all curvatures L.

Why
    Descent lemma; E[G_t | past] = ∇f(v_t), so that E‖G_t‖² = E‖∇f(v_t)‖² + noise; -⟨a, b⟩ = -‖a‖²/2 - ‖b‖²/2
    + ‖a - b‖²/2 with a = ∇f(x_t), b = ∇f(v_t), and ‖a - b‖ <= L ‖x_t - v_t‖. Then the sum over t, dropping
    the term of the views.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the non-convex theorem for single
    steps, which has the paper's form at α = 1/√T, T >= 36 L². The other forms are sharper and proved above.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:T2.1"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with one gradient a step, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(("isotropic", "rational", "quadratic"), step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    found = [case for run in (exact, sampled) for case in run if case.is_single]
    return [one for case in found for one in _judge(case)]


def control() -> list[Check]:
    """L understated where the statement is tight; a step size above the cap."""
    case = next(case for case in cases.exact(("isotropic",)) if case.is_single)
    smoothness = case.constants.smoothness
    assert smoothness is not None
    understated = case._replace(constants=case.constants._replace(smoothness=0.9 * smoothness))
    above = case._replace(constants=case.constants._replace(smoothness=1.01 / case.step_size))
    return [
        record.planted(_judge(understated)[0], "L understated by a tenth"),
        record.planted(_judge(above)[0], "α above 1/L", expected="skipped"),
    ]


def _judge(case: Case) -> list[Check]:
    run, constants = case.trajectory, case.constants
    smoothness = constants.smoothness
    assumed = [
        hypotheses.is_single(run),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_oblivious(run),
        hypotheses.is_unbiased(run),
        hypotheses.is_homogeneous(constants),
        hypotheses.is_known(constants, "smoothness", "grad_variance", "optimal_value"),
    ]
    sharp = hypotheses.is_below(case.step_size, 1 / smoothness if smoothness else None, "1/L")
    rough = hypotheses.is_below(case.step_size, 1 / (6 * smoothness) if smoothness else None, "1/(6L)")
    return [
        case.judge(ID, "per step", "tight", [*assumed, sharp], _per_step),
        case.judge(ID, "summed, measured B", "upper", [*assumed, sharp], partial(_summed, is_measured=True)),
        case.judge(
            ID,
            "summed, a-priori B",
            "upper",
            [*assumed, sharp, case.has_bound()],
            partial(_summed, is_measured=False),
        ),
        case.judge(ID, "paper, measured B", "upper", [*assumed, rough], _paper),
    ]


def _per_step(case: Case) -> Comparison:
    """What is left of the descent beside its error terms, against the error terms."""
    run, a = case.trajectory, case.step_size
    (L,) = case.known("smoothness")
    descent = (
        np.diff(run.values, axis=1)
        + a * case.noise_along(run.slopes[:, :-1])
        + a / 2 * norms_sq(run.slopes[:, :-1])
        + a / 2 * (1 - a * L) * norms_sq(run.view_slopes[:, :, 0])
    )
    errors = a * L**2 / 2 * run.distances_sq[:, :, 0] + a**2 * L / 2 * norms_sq(run.noises[:, :, 0])
    return statistics.at_most(descent, errors, is_exact=run.is_exact, scale=np.abs(run.values).max(), axes=("t",))


def _summed(case: Case, *, is_measured: bool) -> Comparison:
    """The mean over t of ‖∇f(x_t)‖², against 2 (f(x_0) - f(x_T)) / (α T) + α² L² B² + α L σ²."""
    run, a = case.trajectory, case.step_size
    L, noise = case.known("smoothness", "grad_variance")
    measured = run.distances_sq[:, :, 0].mean(axis=1) / a**2
    constant_sq = measured if is_measured else case.known_constant_sq
    gain = 2 * (run.values[:, 0] - run.values[:, -1]) / (a * run.num_steps)
    claimed = gain + a**2 * L**2 * constant_sq + a * L * noise
    return statistics.at_most(norms_sq(run.slopes[:, :-1]).mean(axis=1), claimed, is_exact=run.is_exact)


def _paper(case: Case) -> Comparison:
    """The same left side, against the constants of the paper."""
    run, a = case.trajectory, case.step_size
    L, noise = case.known("smoothness", "grad_variance")
    constant_sq = run.distances_sq[:, :, 0].mean(axis=1) / a**2
    gap = run.values[:, 0] - case.known("optimal_value")[0]
    claimed = 4 * gap / (a * run.num_steps) + (2 * a**2 * L**2 + 6 * a**3 * L**3) * constant_sq + 6 * a * L * noise
    return statistics.at_most(norms_sq(run.slopes[:, :-1]).mean(axis=1), claimed, is_exact=run.is_exact)
