"""EC:T2.4. Strongly convex objectives, n gradients a step.

Setting
    x_{t+1} = x_t - (α/n) Σ_{i in I_t} G_t^i with gradients at views v_t^i, unbiased given the past, independent of each
    other, of variance at most σ²; identical workers; f is c-strongly convex with L-Lipschitz gradients. D_t =
    E‖x_t - x*‖². E‖x_t - v_t^i‖² <= α² B², B as the variant promises it a priori, where M² is that of the run if all
    paths are there, and that of other seeds if not; or B² the mean of the B_t² = mean_{i in I_t} E‖x_t - v_t^i‖² / α²
    as measured, with weights that shrink by 1 - α c/2 a step into the past. q = 1 if |I_t| = n throughout, else q = 2.

Statement (EC:T2.4, upper)
    sharp, |I_t| = n, α <= 1/(4L):
        D_T <= (1 - α c/2)^T D_0 + 2 α σ²/(n c) + 6 α² L B²/c,
    paper, any α <= c/(8L²), |I_t| >= n/2:
        D_T <= (1 - α c/2)^T D_0 + 4 α² L² B²/c² + 2 α σ²/(n c) + 4 α³ L² B²/c,
    final, |I_t| >= n/2, with l = log(T n): α = 2 l / (c T) and T / l >= 16 L²/c², that is α <= c/(8L²):
        D_T <= D_0/(T n) + 16 l² L² B²/(c⁴ T²) + 4 l σ²/(c² T n) + 32 l³ L² B²/(c⁴ T³),
    convex, c = 0 allowed, |I_t| >= n/2, α <= 1/(4L), the left side at the views:
        (1/T) Σ_{t<T} mean_{i in I_t} E[f(v_t^i) - f*] <= q [2 D_0 / (α T) + 2 α σ²/n + 4 α² L B²].
    With B_t measured and any α they are EC:X7, step by step EC:X3. Those for |I_t| >= n/2 are tried where all gradients
    are heard, and where half of them may be missing.

Why
    EC:X3 unrolled, mean_i E‖x_t - v_t^i‖² <= α² B², Σ_t (1 - α c/2)^{T-1-t} <= 2/(α c), and (1 - α c/2)^T <= exp(-l)
    for the prescribed α. Convex: EC:X3's form with c = 0 summed over t, D_T >= 0; a_t >= α/2 costs the factor q.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the strongly convex theorem for
    parallel steps, α = 2 (log T + log n) / (c T).
    Departure: the constants of the final form, 1, 16, 4 and 32, are those of the proof above. The paper's are not
    claimed; where they are larger, as 12 and 48 for 4 and 32, its form follows. The other forms are proved above.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.rates import steps
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:T2.4"

PROBLEM = "round quadratic"
"""The problem on which the horizon that the final form asks for is short."""


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with n gradients a step, one that loses half of them in odd steps, and the prescribed step size.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names, is_meant = ("at_optimum", "quadratic", "isotropic", "log_cosh", "convex"), cases.takes_all
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=is_meant)
    dropping = cases.dropping(names, step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(
        ("quadratic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=is_meant
    )
    planned = prescribed(num_seeds=num_seeds)
    return [one for found in (exact, dropping, sampled, planned) for case in found for one in _judge(case)]


def prescribed(*, num_seeds: int, overstated: float = 1.0) -> Iterator[Case]:
    """The defaults over seeds, with the shortest horizon that the final form allows and the step size it prescribes.

    Args:
        num_seeds: S.
        overstated: c is believed to be this many times what it is.
    """
    L, c = cases.sampled_constants(PROBLEM, "smoothness", "strong_convexity")
    n = cases.NUM_WORKERS_SAMPLED
    num_steps = next(T for T in itertools.count(3) if T / np.log(T * n) >= 16 * (L / c) ** 2)
    step_size = prescribed_step_size(overstated * c, num_steps, n)
    found = cases.sampled(
        (PROBLEM,), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=cases.takes_all
    )
    for case in found:
        known = steps.with_moment_of_other_seeds(case, PROBLEM)
        yield known._replace(constants=known.constants._replace(strong_convexity=overstated * c))


def prescribed_step_size(convexity: float, num_steps: int, num_workers: int) -> float:
    """α = 2 log(T n) / (c T)."""
    return float(2 * np.log(num_steps * num_workers) / (convexity * num_steps))


def control() -> list[Check]:
    """The starting point left out; c overstated; α above every cap, or not as prescribed; no convexity."""
    case = next(cases.exact(("isotropic",), is_meant=cases.takes_all))
    above = case._replace(constants=case.constants._replace(smoothness=10 / case.step_size))
    nonconvex = next(cases.exact(("rational",), is_meant=cases.takes_all))
    lossy = next(cases.dropping(("isotropic",)))
    flatter = next(prescribed(num_seeds=cases.NUM_SEEDS, overstated=20.0))
    return [
        *(record.planted(one, "the starting point left out") for one in _judge(case, start=0.0)[:3]),
        record.planted(_judge(flatter)[-1], "c overstated twentyfold"),
        *(record.planted(one, "α that is not prescribed", expected="skipped") for one in _judge(case)[3:]),
        *(record.planted(one, "half of the gradients lost", expected="skipped") for one in _judge(lossy)[:1]),
        *(record.planted(one, "α above every cap", expected="skipped") for one in _judge(above)),
        *(record.planted(one, "not convex", expected="skipped") for one in _judge(nonconvex)),
    ]


def _judge(case: Case, start: float = 1.0) -> list[Check]:
    run, constants, n = case.trajectory, case.constants, case.algorithm.num_workers
    L, c = constants.smoothness, constants.strong_convexity
    assumed = [
        *steps.update_model(case),
        hypotheses.is_known(constants, "smoothness", "grad_variance", "optimum", "optimal_value"),
    ]
    half, whole = ([hypotheses.is_parallel(run, n, least=least), *assumed] for least in (0.5, 1.0))
    strong, convex = hypotheses.is_strongly_convex(constants), hypotheses.is_convex(constants)
    promised = case.has_bound()
    sharp = hypotheses.is_below(case.step_size, 1 / (4 * L) if L else None, "1/(4L)")
    rough = hypotheses.is_below(case.step_size, c / (8 * L**2) if L and c else None, "c/(8L²)")
    chosen = prescribed_step_size(c, run.num_steps, n) if c else None
    planned = hypotheses.is_prescribed(case.step_size, chosen, "2 log(T n) / (c T)")
    measured, known = (partial(_final, is_measured=is_measured) for is_measured in (True, False))
    heard = steps.heard(case)
    forms = (
        ("sharp, a-priori B", [*whole, strong, sharp, promised], partial(_sharp, start=start)),
        (f"convex, a-priori B, {heard}", [*half, convex, sharp, promised], partial(_convex, start=start)),
        (f"paper, any α, a-priori B, {heard}", [*half, strong, rough, promised], partial(_paper, start=start)),
        (f"final, a-priori B, {heard}", [*half, strong, rough, planned, promised], known),
        (f"final, measured B, {heard}", [*half, strong, rough, planned], measured),
    )
    return [case.judge(ID, name, "upper", more, compare) for name, more, compare in forms]


def _sharp(case: Case, start: float) -> Comparison:
    """D_T, against (1 - α c/2)^T D_0 + 2 α σ²/(n c) + 6 α² L B²/c."""
    a = case.step_size
    L, c, variance = case.known("smoothness", "strong_convexity", "grad_variance")
    errors = 2 * a * variance / (case.algorithm.num_workers * c) + 6 * a**2 * L * case.known_constant_sq / c
    return _compare(case, start * _contracted(case) + errors)


def _paper(case: Case, start: float) -> Comparison:
    """D_T, against the recursion of the paper summed up."""
    a = case.step_size
    L, c, variance = case.known("smoothness", "strong_convexity", "grad_variance")
    drift = (4 * a**2 * L**2 / c**2 + 4 * a**3 * L**2 / c) * case.known_constant_sq
    noise = 2 * a * variance / (case.algorithm.num_workers * c)
    return _compare(case, start * _contracted(case) + drift + noise)


def _final(case: Case, is_measured: bool) -> Comparison:
    """D_T, against the theorem of the paper; a measured B² is the mean of the B_t² that the recursion forms."""
    T, n = case.trajectory.num_steps, case.algorithm.num_workers
    L, c, variance = case.known("smoothness", "strong_convexity", "grad_variance")
    log = np.log(T * n)
    constant_sq = _measured_constant_sq(case) if is_measured else case.known_constant_sq
    drift = (16 * log**2 / T**2 + 32 * log**3 / T**3) * L**2 / c**4 * constant_sq
    return _compare(case, case.optimum_distances_sq[:, 0] / (T * n) + drift + 4 * variance * log / (c**2 * T * n))


def _convex(case: Case, start: float) -> Comparison:
    """The mean over t of f(v_t) - f*, against q [2 D_0 / (α T) + 2 α σ²/n + 4 α² L B²]."""
    run, a = case.trajectory, case.step_size
    L, variance, lowest = case.known("smoothness", "grad_variance", "optimal_value")
    gain = start * 2 * case.optimum_distances_sq[:, 0] / (a * run.num_steps)
    errors = 2 * a * variance / case.algorithm.num_workers + 4 * a**2 * L * case.known_constant_sq
    claimed = steps.penalty(case) * (gain + errors)
    measured = steps.mean_heard(case, run.view_values - lowest).mean(axis=1)
    return statistics.at_most(measured, claimed, is_exact=run.is_exact)


def _contracted(case: Case) -> np.ndarray:
    """float64[S]. (1 - α c/2)^T ‖x_0 - x*‖²."""
    shrink = 1 - case.step_size * case.known("strong_convexity")[0] / 2
    return np.asarray(shrink**case.trajectory.num_steps * case.optimum_distances_sq[:, 0])


def _measured_constant_sq(case: Case) -> np.ndarray:
    """float64[S]. The mean of the B_t², with weights that shrink by 1 - α c/2 a step into the past."""
    shrink = 1 - case.step_size * case.known("strong_convexity")[0] / 2
    powers = shrink ** np.arange(case.trajectory.num_steps)[::-1]
    return np.asarray(steps.distances_sq(case) @ (powers / powers.sum()) / case.step_size**2)


def _compare(case: Case, claimed: np.ndarray) -> Comparison:
    return statistics.at_most(case.optimum_distances_sq[:, -1], claimed, is_exact=case.trajectory.is_exact)
