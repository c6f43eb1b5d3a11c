"""EC:X7. The convergence theorems summed up, with the distances of the views as measured and f(x_T) in place of f*.

Setting
    x_{t+1} = x_t - α Σ_i w_t^i G_t^i in single steps (m = 1) or parallel ones (m = n, |I_t| >= n/2 heard), see
    `rates.steps`; gradients at views v_t^i, unbiased given the past, of variance at most σ², those of one step
    independent; identical workers; f with L-Lipschitz gradients. B_t² is the mean of E‖x_t - v_t^i‖² / α² over the
    gradients heard, as measured, so that what holds here or not is the theorem, and no promise of a B. D_t =
    E‖x_t - x*‖². q = 1 if |I_t| = m throughout, and 2 otherwise.

Statement (EC:X7, upper)
    gradients, sharp, α <= 1/L:
        (1/T) Σ E‖∇f(x_t)‖² <= q [2 (f(x_0) - E f(x_T)) / (α T) + α² L² mean_t B_t² + α L σ²/m],
    gradients, paper, single, α <= 1/(6L):
        (1/T) Σ E‖∇f(x_t)‖² <= 4 (f(x_0) - E f(x_T)) / (α T) + (2 α² L² + 6 α³ L³) mean_t B_t² + 6 α L σ²,
    gradients, paper, parallel, α <= 1/(8L):
        (1/T) Σ E‖∇f(x_t)‖² <= 8 (f(x_0) - E f(x_T)) / (α T) + (4 α² L² + 8 α³ L³) mean_t B_t² + 4 α L σ²/n,
    distance, sharp, f c-strongly convex, |I_t| = m, α <= 1/(4L):
        D_T <= (1 - α c/2)^T D_0 + Σ_t (1 - α c/2)^{T-1-t} (α² σ²/m + 3 α³ L B_t²),
    distance, paper, single, α <= c/(3L²):
        D_T <= (1 - α c/2)^T D_0 + Σ_t (1 - α c/2)^{T-1-t} ((2 α L²/c + 3 α² L²) α² B_t² + 3 α² σ²),
    distance, paper, parallel, α <= c/(8L²):
        D_T <= (1 - α c/2)^T D_0 + Σ_t (1 - α c/2)^{T-1-t} ((2 α L²/c + 2 α² L²) α² B_t² + α² σ²/n),
    gaps, f convex, c = 0 allowed, α <= 1/(4L), g_t the mean of f(v_t^i) - f* over the gradients heard:
        (1/T) Σ E g_t <= q [2 (D_0 - D_T) / (α T) + 2 α σ²/m + 4 α² L mean_t B_t²].

Why
    The sums over t < T of EC:X2 and EC:X3, without the terms of the views that only help, with E‖ξ_t^i‖² <= σ². Half
    of the gradients give a_t >= α/2 of the gain, and no more than α of the errors: q = 2. The left sides are means over
    t, which are larger than the minima that the papers state.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the four convergence theorems for "paper", which
    have B for B_t and f* for f(x_T); the others are sharper and proved above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.rates import steps
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:X7"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting, and one that loses half of the gradients in every other step.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """

    def runs(names: tuple[str, ...], sampled: str) -> list[Case]:
        exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses)
        dropping = cases.dropping(names, step_size=step_size, max_tosses=max_tosses)
        longer = cases.sampled((sampled,), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
        return [*exact, *dropping, *longer]

    convex = runs(("isotropic", "quadratic", "log_cosh", "at_optimum", "convex"), "quadratic")
    nonconvex = runs(("rational",), "nonconvex_logistic")
    of_gradients = [one for case in convex + nonconvex for one in _of_gradients(case)]
    return of_gradients + [one for case in convex for one in _of_distances(case)]


def control() -> list[Check]:
    """The starting point left out of every sum; α above every cap; an objective that is not convex."""
    controls = []
    for is_meant in (cases.takes_one, cases.takes_all):
        # what older views add would cover what is left out
        case = next(case for case in _allowed(is_meant) if case.trajectory.staleness.max() <= 1)
        steep = case._replace(constants=case.constants._replace(smoothness=10 / case.step_size))
        nonconvex = next(cases.exact(("rational",), is_meant=is_meant))
        controls += [
            *(record.planted(one, "the starting point left out") for one in _of_gradients(case, start=0.0)),
            *(record.planted(one, "the starting point left out") for one in _of_distances(case, start=0.0)),
            *(record.planted(one, "α above every cap", expected="skipped") for one in _of_gradients(steep)),
            *(record.planted(one, "α above every cap", expected="skipped") for one in _of_distances(steep)),
            *(record.planted(one, "not convex", expected="skipped") for one in _of_distances(nonconvex)),
        ]
    return controls


def _allowed(is_meant: Callable[[Algorithm], bool]) -> Iterator[Case]:
    """Cases with the steps that the theorems are about."""
    found = cases.exact(("isotropic",), is_meant=is_meant)
    return (case for case in found if all(each.holds for each in steps.assumed(case)))


def _of_gradients(case: Case, start: float = 1.0) -> list[Check]:
    constants, L = case.constants, case.constants.smoothness
    assumed = [*steps.assumed(case), hypotheses.is_known(constants, "smoothness", "grad_variance", "optimal_value")]
    divisor = 6 if case.is_single else 8
    sharp = hypotheses.is_below(case.step_size, 1 / L if L else None, "1/L")
    rough = hypotheses.is_below(case.step_size, 1 / (divisor * L) if L else None, f"1/({divisor}L)")
    kind = steps.kind(case)
    return [
        case.judge(ID, f"gradients, sharp, {kind}", "upper", [*assumed, sharp], partial(_sharp_gradients, start=start)),
        case.judge(ID, f"gradients, paper, {kind}", "upper", [*assumed, rough], partial(_paper_gradients, start=start)),
    ]


def _of_distances(case: Case, start: float = 1.0) -> list[Check]:
    constants = case.constants
    L, c = constants.smoothness, constants.strong_convexity
    known = hypotheses.is_known(constants, "smoothness", "grad_variance", "optimum", "optimal_value")
    strong, convex = hypotheses.is_strongly_convex(constants), hypotheses.is_convex(constants)
    half, whole = [*steps.assumed(case), known], [*steps.assumed(case, least=1.0), known]
    divisor = 3 if case.is_single else 8
    sharp = hypotheses.is_below(case.step_size, 1 / (4 * L) if L else None, "1/(4L)")
    rough = hypotheses.is_below(case.step_size, c / (divisor * L**2) if L and c else None, f"c/({divisor}L²)")
    kind, which = steps.kind(case), "single" if case.is_single else "parallel"
    return [
        case.judge(
            ID, f"distance, sharp, {which}", "upper", [*whole, strong, sharp], partial(_sharp_distance, start=start)
        ),
        case.judge(
            ID, f"distance, paper, {kind}", "upper", [*half, strong, rough], partial(_paper_distance, start=start)
        ),
        case.judge(ID, f"gaps, {kind}", "upper", [*half, convex, sharp], partial(_gaps, start=start)),
    ]


def _constants_sq(case: Case) -> np.ndarray:
    """float64[S, T]. B_t², whose mean over runs is what is measured."""
    return steps.distances_sq(case) / case.step_size**2


def _sharp_gradients(case: Case, start: float) -> Comparison:
    run, a = case.trajectory, case.step_size
    L, variance = case.known("smoothness", "grad_variance")
    gain = start * 2 * (run.values[:, 0] - run.values[:, -1]) / (a * run.num_steps)
    errors = a**2 * L**2 * _constants_sq(case).mean(axis=1) + a * L * variance / steps.num_averaged(case)
    return _compare_gradients(case, steps.penalty(case) * (gain + errors))


def _paper_gradients(case: Case, start: float) -> Comparison:
    run, a = case.trajectory, case.step_size
    L, variance = case.known("smoothness", "grad_variance")
    first, square, cube, noise = (4, 2, 6, 6) if case.is_single else (8, 4, 8, 4)
    gain = start * first * (run.values[:, 0] - run.values[:, -1]) / (a * run.num_steps)
    drift = (square * a**2 * L**2 + cube * a**3 * L**3) * _constants_sq(case).mean(axis=1)
    return _compare_gradients(case, gain + drift + noise * a * L * variance / steps.num_averaged(case))


def _compare_gradients(case: Case, claimed: np.ndarray) -> Comparison:
    run = case.trajectory
    return statistics.at_most(norms_sq(run.slopes[:, :-1]).mean(axis=1), claimed, is_exact=run.is_exact)


def _sharp_distance(case: Case, start: float) -> Comparison:
    a = case.step_size
    L, variance = case.known("smoothness", "grad_variance")
    return _unrolled(case, start, a**2 * variance / steps.num_averaged(case) + 3 * a**3 * L * _constants_sq(case))


def _paper_distance(case: Case, start: float) -> Comparison:
    a = case.step_size
    L, c, variance = case.known("smoothness", "strong_convexity", "grad_variance")
    drift, noise = (3.0, 3.0) if case.is_single else (2.0, 1.0)
    errors = (2 * a * L**2 / c + drift * a**2 * L**2) * a**2 * _constants_sq(case)
    return _unrolled(case, start, errors + noise * a**2 * variance / steps.num_averaged(case))


def _unrolled(case: Case, start: float, errors: np.ndarray) -> Comparison:
    """D_T, against `start` times the contracted D_0, and the errors [S, T], each contracted by the steps after it."""
    run, distances_sq = case.trajectory, case.optimum_distances_sq
    shrink = 1 - case.step_size * case.known("strong_convexity")[0] / 2
    claimed = start * shrink**run.num_steps * distances_sq[:, 0] + errors @ shrink ** np.arange(run.num_steps)[::-1]
    return statistics.at_most(distances_sq[:, -1], claimed, is_exact=run.is_exact)


def _gaps(case: Case, start: float) -> Comparison:
    run, a = case.trajectory, case.step_size
    L, variance, lowest = case.known("smoothness", "grad_variance", "optimal_value")
    distances_sq = case.optimum_distances_sq
    gain = start * 2 * (distances_sq[:, 0] - distances_sq[:, -1]) / (a * run.num_steps)
    errors = 2 * a * variance / steps.num_averaged(case) + 4 * a**2 * L * _constants_sq(case).mean(axis=1)
    measured = steps.mean_heard(case, run.view_values - lowest).mean(axis=1)
    return statistics.at_most(measured, steps.penalty(case) * (gain + errors), is_exact=run.is_exact)
