"""EC:T2.3. Strongly convex objectives, one gradient a step.

Setting
    x_{t+1} = x_t - α G_t with one gradient at a view v_t, unbiased given the past and of variance at most σ²;
    identical workers; f is c-strongly convex with L-Lipschitz gradients. D_t = E‖x_t - x*‖². Mode (ii): B_t²
    = E‖x_t - v_t‖² / α² as measured; mode (i): B as the variant promises it a priori.

Statement (EC:T2.3)
    per step (tight), α <= 1/(4L):
        D_{t+1} <= (1 - α c/2) D_t + α² E‖G_t - ∇f(v_t)‖² + 3 α L E‖x_t - v_t‖² - (α/2) E[f(v_t) - f*],
    unrolled (upper), α <= 1/(4L):
        D_T <= (1 - α c/2)^T D_0 + Σ_t (1 - α c/2)^{T-1-t} (α² σ² + 3 α³ L B_t²),
    a priori (upper), α <= 1/(4L):
        D_T <= (1 - α c/2)^T D_0 + 2 α σ²/c + 6 α² L B²/c, and
    paper per step (upper), α <= c/(3L²):
        D_{t+1} <= (1 - α c/2) D_t + (2 α L²/c + 3 α² L²) E‖x_t - v_t‖² + 3 α² σ²,
    paper, final (upper), α = 2 log T / (c T) and T / log T >= 6 L²/c², that is α <= c/(3L²):
        D_T <= D_0/T + 16 log²T L² B²/(c⁴ T²) + 12 σ² log T/(c² T) + 48 log³T L² B²/(c⁴ T³),
    in which B² may be the mean of the B_t² with weights that shrink by 1 - α c/2 a step into the past.
    Per step it is an equality in the first step from x_0 = x*.

Why
    ‖x_{t+1} - x*‖² = ‖x_t - x*‖² - 2 α ⟨G_t, x_t - x*⟩ + α² ‖G_t‖², in expectation given the past. With v for
    v_t: ⟨∇f(v), v - x*⟩ >= f(v) - f* + (c/2) ‖v - x*‖²; |⟨∇f(v), x_t - v⟩| <= (f(v) - f*)/2 + L ‖x_t - v‖²;
    ‖v - x*‖² >= ‖x_t - x*‖²/2 - ‖x_t - v‖²; ‖∇f(v)‖² <= 2 L (f(v) - f*); and α <= 1/(4L), c <= L.
    The final form is the paper's recursion summed up, with Σ_t (1 - α c/2)^{T-1-t} <= 2/(α c) and (1 - α c/2)^T
    <= exp(-log T).

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the strongly convex theorem for single
    steps; "paper per step" is the recursion from which "paper, final" follows. Departure: the condition on T is
    the one that the proof above needs. The other forms are sharper and proved above.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:T2.3"


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
    names = ("at_optimum", "quadratic", "isotropic", "log_cosh")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("quadratic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    found = [case for run in (exact, sampled, prescribed(num_seeds=num_seeds)) for case in run if case.is_single]
    return [one for case in found for one in _judge(case)]


def prescribed(*, num_seeds: int, overstated: float = 1.0) -> Iterator[Case]:
    """The defaults over seeds, with the shortest horizon that the final form allows and the step size it prescribes.

    Args:
        num_seeds: S.
        overstated: c is believed to be this many times what it is.
    """
    problem = "round quadratic"
    L, c = cases.sampled_constants(problem, "smoothness", "strong_convexity")
    num_steps = next(T for T in itertools.count(3) if T / np.log(T) >= 6 * (L / c) ** 2)
    step_size = prescribed_step_size(overstated * c, num_steps)
    found = cases.sampled(
        (problem,), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=cases.takes_one
    )
    for case in found:
        yield case._replace(constants=case.constants._replace(strong_convexity=overstated * c))


def prescribed_step_size(convexity: float, num_steps: int) -> float:
    """α = 2 log T / (c T)."""
    return float(2 * np.log(num_steps) / (convexity * num_steps))


def control() -> list[Check]:
    """Noise understated where it is tight; c overstated; α above the cap or not prescribed; no convexity."""
    case = next(case for case in cases.exact(("at_optimum",)) if case.is_single)
    above = case._replace(constants=case.constants._replace(smoothness=1.01 / (4 * case.step_size)))
    nonconvex = next(case for case in cases.exact(("rational",)) if case.is_single)
    understated = case.judge(ID, "per step", "tight", [], partial(_per_step, noise_factor=0.9))
    flatter = next(prescribed(num_seeds=cases.NUM_SEEDS, overstated=10.0))
    return [
        record.planted(understated, "noise understated by a tenth"),
        record.planted(_judge(flatter)[-1], "c overstated tenfold"),
        record.planted(_judge(case)[-1], "α that is not prescribed", expected="skipped"),
        record.planted(_judge(above)[0], "α above 1/(4L)", expected="skipped"),
        record.planted(_judge(nonconvex)[0], "an objective that is not convex", expected="skipped"),
    ]


def _judge(case: Case) -> list[Check]:
    run, constants = case.trajectory, case.constants
    L, c = constants.smoothness, constants.strong_convexity
    assumed = [
        hypotheses.is_single(run),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_oblivious(run),
        hypotheses.is_unbiased(run),
        hypotheses.is_homogeneous(constants),
        hypotheses.is_strongly_convex(constants),
        hypotheses.is_known(constants, "smoothness", "grad_variance", "optimum", "optimal_value"),
    ]
    sharp = hypotheses.is_below(case.step_size, 1 / (4 * L) if L else None, "1/(4L)")
    rough = hypotheses.is_below(case.step_size, c / (3 * L**2) if L and c else None, "c/(3L²)")
    planned = hypotheses.is_prescribed(
        case.step_size, prescribed_step_size(c, run.num_steps) if c else None, "2 log T / (c T)"
    )
    return [
        case.judge(ID, "per step", "tight", [*assumed, sharp], _per_step),
        case.judge(ID, "unrolled, measured B", "upper", [*assumed, sharp], _unrolled),
        case.judge(ID, "closed, a-priori B", "upper", [*assumed, sharp, case.has_bound()], _closed),
        case.judge(ID, "paper per step", "upper", [*assumed, rough], _paper),
        case.judge(ID, "paper, final, measured B", "upper", [*assumed, rough, planned], _final),
    ]


def _per_step(case: Case, *, noise_factor: float = 1.0) -> Comparison:
    """D_{t+1} and the gain at the view, against the contracted D_t and the errors."""
    run, a = case.trajectory, case.step_size
    L, c = case.known("smoothness", "strong_convexity")
    distances_sq = case.optimum_distances_sq
    gain = a / 2 * (run.view_values[:, :, 0] - case.known("optimal_value")[0])
    errors = noise_factor * a**2 * norms_sq(run.noises[:, :, 0]) + 3 * a * L * run.distances_sq[:, :, 0]
    measured = distances_sq[:, 1:] + gain + 2 * a * case.noise_along(case.optimum_offsets[:, :-1])
    claimed = (1 - a * c / 2) * distances_sq[:, :-1] + errors
    return statistics.at_most(measured, claimed, is_exact=run.is_exact, axes=("t",))


def _unrolled(case: Case) -> Comparison:
    """D_T, against the recursion summed up with the variance bound σ² and the measured B_t²."""
    run, a = case.trajectory, case.step_size
    L, c = case.known("smoothness", "strong_convexity")
    distances_sq, shrink = case.optimum_distances_sq, 1 - a * c / 2
    powers = shrink ** np.arange(run.num_steps)[::-1]
    errors = a**2 * case.known("grad_variance")[0] + 3 * a * L * run.distances_sq[:, :, 0]
    claimed = shrink**run.num_steps * distances_sq[:, 0] + errors @ powers
    return statistics.at_most(distances_sq[:, -1], claimed, is_exact=run.is_exact)


def _closed(case: Case) -> Comparison:
    """D_T, against (1 - α c/2)^T D_0 + 2 α σ²/c + 6 α² L B²/c with the promised B."""
    run, a = case.trajectory, case.step_size
    L, c = case.known("smoothness", "strong_convexity")
    (noise,) = case.known("grad_variance")
    distances_sq, constant_sq = case.optimum_distances_sq, case.known_constant_sq
    start = (1 - a * c / 2) ** run.num_steps * distances_sq[:, 0]
    claimed = start + 2 * a * noise / c + 6 * a**2 * L * constant_sq / c
    return statistics.at_most(distances_sq[:, -1], claimed, is_exact=run.is_exact)


def _paper(case: Case) -> Comparison:
    """D_{t+1}, against the recursion of the paper."""
    run, a = case.trajectory, case.step_size
    L, c = case.known("smoothness", "strong_convexity")
    distances_sq = case.optimum_distances_sq
    errors = (2 * a * L**2 / c + 3 * a**2 * L**2) * run.distances_sq[:, :, 0] + 3 * a**2 * case.known("grad_variance")[
        0
    ]
    claimed = (1 - a * c / 2) * distances_sq[:, :-1] + errors
    return statistics.at_most(distances_sq[:, 1:], claimed, is_exact=run.is_exact, axes=("t",))


def _final(case: Case) -> Comparison:
    """D_T, against the theorem of the paper; B² is the mean of the measured B_t² that the recursion forms."""
    run, a, T = case.trajectory, case.step_size, case.trajectory.num_steps
    L, c, noise = case.known("smoothness", "strong_convexity", "grad_variance")
    distances_sq, log = case.optimum_distances_sq, np.log(T)
    powers = (1 - a * c / 2) ** np.arange(T)[::-1]
    constant_sq = run.distances_sq[:, :, 0] @ (powers / powers.sum()) / a**2
    drift = (16 * log**2 / T**2 + 48 * log**3 / T**3) * L**2 / c**4 * constant_sq
    claimed = distances_sq[:, 0] / T + drift + 12 * noise * log / (c**2 * T)
    return statistics.at_most(distances_sq[:, -1], claimed, is_exact=run.is_exact)
