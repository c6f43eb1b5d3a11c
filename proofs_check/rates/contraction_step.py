"""EC:X3. What one step does to the distance to the optimum, in expectation.

Setting
    x_{t+1} = x_t - α Σ_i w_t^i G_t^i in single steps (m = 1) or parallel ones (m = n), see `rates.steps`; gradients at
    views v_t^i, unbiased given the past, of variance at most σ², those of one step independent; identical workers; f
    c-strongly convex, or convex, with L-Lipschitz gradients and a minimiser x*. D_t = E‖x_t - x*‖²; d_t² and g_t are
    the means of ‖x_t - v_t^i‖² and of f(v_t^i) - f* over the gradients heard; a = α |I_t| / m.

Statement (EC:X3)
    sharp (tight), |I_t| = m, α <= 1/(4L):
        D_{t+1} <= (1 - α c/2) D_t + (α²/m²) Σ_i E‖G_t^i - ∇f(v_t^i)‖² + 3 α L E d_t² - (α/2) E g_t,
    convex (tight), |I_t| >= m/2, α <= 1/(4L), c = 0 allowed:
        D_{t+1} <= D_t + (α²/m²) Σ_{i in I_t} E‖G_t^i - ∇f(v_t^i)‖² + 2 a L E d_t² - (a/2) E g_t,
    paper, single (upper), α <= c/(3L²):
        D_{t+1} <= (1 - α c/2) D_t + (2 α L²/c + 3 α² L²) E d_t² + 3 α² σ²,
    paper, parallel (upper), |I_t| >= n/2, α <= c/(8L²):
        D_{t+1} <= (1 - α c/2) D_t + (2 α L²/c + 2 α² L²) E d_t² + α² σ²/n.
    Sharp and convex are equalities in the first step from x_0 = x*.

Why
    EC:I13 with y = x*, in expectation given the past: D_{t+1} = D_t - 2 a E⟨ḡ_t, x_t - x*⟩ + a² E‖ḡ_t‖² + noise, where
    ḡ_t is the mean of ∇f(v_t^i), and ‖ḡ‖² <= mean ‖∇f(v^i)‖² <= 2 L g by EC:P3. For each view, with v for v_t^i:
    ⟨∇f(v), v - x*⟩ >= f(v) - f* + (c/2) ‖v - x*‖², |⟨∇f(v), x_t - v⟩| <= (f(v) - f*)/2 + L ‖x_t - v‖², and
    ‖v - x*‖² >= ‖x_t - x*‖²/2 - ‖x_t - v‖². So -2 a ⟨ḡ, x - x*⟩ <= -a g + 2 a L d² - (a c/2) ‖x - x*‖² + a c d², where
    c <= L, and a² ‖ḡ‖² <= (a/2) g for a <= 1/(4L). Without the terms in c this is "convex".
    Paper: ⟨∇f(x), x - x*⟩ >= c ‖x - x*‖² and Young's inequality, 2 a |⟨ḡ - ∇f(x), x - x*⟩| <= (a c/2) ‖x - x*‖² +
    (2 a/c) L² d². Single: α² ‖G‖² in three, 3 α² L² <= α c, leaves 1 - 2 α c + α c/2 + α c. Parallel: a² ‖ḡ‖² <=
    2 a² L² ‖x - x*‖² + 2 a² L² d², 2 a² L² <= a c/4, leaves 1 - 5 a c/4 <= 1 - 5 α c/8.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the strongly convex theorems (EC:T2.3, EC:T2.4):
    "paper" are recursions from which they follow; the other two are sharper and proved above.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.rates import steps
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:X3"


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
    names = ("at_optimum", "quadratic", "isotropic", "log_cosh", "convex")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses)
    dropping = cases.dropping(names, step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("quadratic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    return [one for found in (exact, dropping, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """Noise understated where it is tight; c overstated; α above the caps; gradients lost; no convexity."""
    controls = []
    for is_meant in (cases.takes_one, cases.takes_all):
        case = next(cases.exact(("at_optimum",), is_meant=is_meant))
        isotropic = next(cases.exact(("isotropic",), is_meant=is_meant))
        (convexity,) = isotropic.known("strong_convexity")
        steep = case._replace(constants=case.constants._replace(smoothness=1.01 / (4 * case.step_size)))
        quicker = isotropic._replace(constants=isotropic.constants._replace(strong_convexity=5 * convexity))
        nonconvex = next(cases.exact(("rational",), is_meant=is_meant))
        controls += [
            *(record.planted(one, "noise understated by a tenth") for one in _judge(case, noise_factor=0.9)[:2]),
            record.planted(_judge(quicker)[2], "c overstated fivefold"),
            *(record.planted(one, "α above every cap", expected="skipped") for one in _judge(steep)),
            *(record.planted(one, "an objective not convex", expected="skipped") for one in _judge(nonconvex)),
        ]
    dropping = next(cases.dropping(("at_optimum",)))
    lost = record.planted(_judge(dropping)[0], "half of the gradients lost", expected="skipped")
    return [*controls, lost]


def _judge(case: Case, noise_factor: float = 1.0) -> list[Check]:
    constants, is_single = case.constants, case.is_single
    L, c = constants.smoothness, constants.strong_convexity
    known = hypotheses.is_known(constants, "smoothness", "grad_variance", "optimum", "optimal_value")
    half, whole = [*steps.assumed(case), known], [*steps.assumed(case, least=1.0), known]
    sharp = hypotheses.is_below(case.step_size, 1 / (4 * L) if L else None, "1/(4L)")
    divisor = 3 if is_single else 8
    rough = hypotheses.is_below(case.step_size, c / (divisor * L**2) if L and c else None, f"c/({divisor}L²)")
    strong, convex = hypotheses.is_strongly_convex(constants), hypotheses.is_convex(constants)
    sharply, convexly = (partial(form, noise_factor=noise_factor) for form in (_sharp, _convex))
    which = "single" if is_single else "parallel"
    return [
        case.judge(ID, f"sharp, {which}", "tight", [*whole, strong, sharp], sharply),
        case.judge(ID, f"convex, {which}", "tight", [*half, convex, sharp], convexly),
        case.judge(ID, f"paper, {which}", "upper", [*half, strong, rough], _paper),
    ]


def _after(case: Case) -> np.ndarray:
    """float64[S, T]. ‖x_{t+1} - x*‖², less a term of no expectation that most of its noise is in."""
    along = case.noise_along(case.optimum_offsets[:, :-1])
    return np.asarray(case.optimum_distances_sq[:, 1:] + 2 * case.step_size * along)


def _gaps(case: Case) -> np.ndarray:
    """float64[S, T]. The mean of f(v_t^i) - f* over the gradients heard."""
    return steps.mean_heard(case, case.trajectory.view_values - case.known("optimal_value")[0])


def _sharp(case: Case, noise_factor: float) -> Comparison:
    """D_{t+1} and the gain at the views, against the contracted D_t and the errors."""
    a = case.step_size
    L, c = case.known("smoothness", "strong_convexity")
    errors = noise_factor * a**2 * steps.noises_sq(case) + 3 * a * L * steps.distances_sq(case)
    claimed = (1 - a * c / 2) * case.optimum_distances_sq[:, :-1] + errors
    measured = _after(case) + a / 2 * _gaps(case)
    return statistics.at_most(measured, claimed, is_exact=case.trajectory.is_exact, axes=("t",))


def _convex(case: Case, noise_factor: float) -> Comparison:
    """D_{t+1} and the gain at the views, against D_t and the errors."""
    a = case.step_size * steps.fractions(case)
    (L,) = case.known("smoothness")
    errors = noise_factor * case.step_size**2 * steps.noises_sq(case) + 2 * a * L * steps.distances_sq(case)
    claimed = case.optimum_distances_sq[:, :-1] + errors
    measured = _after(case) + a / 2 * _gaps(case)
    return statistics.at_most(measured, claimed, is_exact=case.trajectory.is_exact, axes=("t",))


def _paper(case: Case) -> Comparison:
    """D_{t+1}, against a recursion from which the paper's theorem follows."""
    a = case.step_size
    L, c, variance = case.known("smoothness", "strong_convexity", "grad_variance")
    drift, noise = (3.0, 3.0) if case.is_single else (2.0, 1.0)
    errors = (2 * a * L**2 / c + drift * a**2 * L**2) * steps.distances_sq(case)
    claimed = (1 - a * c / 2) * case.optimum_distances_sq[:, :-1] + errors
    claimed = claimed + noise * a**2 * variance / steps.num_averaged(case)
    return statistics.at_most(_after(case), claimed, is_exact=case.trajectory.is_exact, axes=("t",))
