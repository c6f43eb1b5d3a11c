"""EC:T2.2. Non-convex objectives, n gradients a step.

Setting
    x_{t+1} = x_t - (α/n) Σ_{i in I_t} G_t^i with gradients at views v_t^i, unbiased given the past,
    independent of each other, of variance at most σ²; identical workers; |I_t| >= n/2, the divisor is n; f
    has L-Lipschitz gradients and is bounded below. Mode (ii): B_t² = mean_i E‖x_t - v_t^i‖² / α² as measured;
    mode (i): B as promised a priori.

Statement (EC:T2.2)
    per step (tight), α <= 1/L, with a = α |I_t| / n and ḡ_t = mean_{i in I_t} ∇f(v_t^i):
        E f(x_{t+1}) <= E f(x_t) - (a/2) E‖∇f(x_t)‖² - (a/2) (1 - a L) E‖ḡ_t‖²
                        + (a L²/2) mean_{i in I_t} E‖x_t - v_t^i‖² + (α² L / (2 n²)) Σ_{i in I_t} E‖G_t^i -
                        ∇f(v_t^i)‖²,
    summed (upper), α <= 1/L, with q = 1 if |I_t| = n throughout and q = 2 otherwise:
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= q [ 2 (f(x_0) - E f(x_T)) / (α T) + α² L² mean_t B_t² + α L σ²/n ],
    a priori (upper): the same with B², and
    paper (upper), α <= 1/(8L):
        (1/T) Σ E‖∇f(x_t)‖² <= 8 (f(x_0) - f*) / (α T) + 4 α² L² B² + 4 α L σ²/n + 8 α³ L³ B².
    Per step it is an equality where f is a quadratic with all curvatures L and the views of a step agree.

Why
    As EC:T2.1 with a for α; the noises of different workers are orthogonal, which gives the 1/n²; Jensen's
    inequality for ‖∇f(x_t) - ḡ_t‖² <= L² mean_i ‖x_t - v_t^i‖². In the sum a >= α/2 costs the factor q.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the non-convex theorem for parallel
    steps (α = √(n/T), T >= 64 L² n). "paper" has constants at most those of the paper; the other forms are
    sharper.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:T2.2"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with n gradients a step, and one that loses half of them in every other step.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names = ("isotropic", "rational", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses)
    dropping = cases.dropping(names, step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    found = [case for run in (exact, dropping, sampled) for case in run if case.is_parallel]
    return [one for case in found for one in _judge(case)]


def control() -> list[Check]:
    """L understated where the statement is tight; a schedule that looks at samples; α above the cap."""
    case = next(case for case in cases.exact(("isotropic",)) if case.is_parallel)
    smoothness = case.constants.smoothness
    assert smoothness is not None
    understated = case._replace(constants=case.constants._replace(smoothness=0.9 * smoothness))
    above = case._replace(constants=case.constants._replace(smoothness=1.01 / case.step_size))
    adaptive = next(cases.dropping(("at_optimum",), is_adaptive=True))
    return [
        record.planted(_judge(understated)[0], "L understated by a tenth"),
        record.planted(_judge(adaptive)[0], "a schedule that looks at the samples", expected="skipped"),
        record.planted(_judge(above)[0], "α above 1/L", expected="skipped"),
    ]


def _judge(case: Case) -> list[Check]:
    run, constants = case.trajectory, case.constants
    smoothness = constants.smoothness
    assumed = [
        hypotheses.is_parallel(run, case.algorithm.num_workers, least=0.5),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_oblivious(run),
        hypotheses.is_unbiased(run),
        hypotheses.is_homogeneous(constants),
        hypotheses.is_known(constants, "smoothness", "grad_variance", "optimal_value"),
    ]
    sharp = hypotheses.is_below(case.step_size, 1 / smoothness if smoothness else None, "1/L")
    rough = hypotheses.is_below(case.step_size, 1 / (8 * smoothness) if smoothness else None, "1/(8L)")
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
    run = case.trajectory
    (L,) = case.known("smoothness")
    n = case.algorithm.num_workers
    heard = run.weights != 0
    count = heard.sum(axis=-1)
    a = case.step_size * count / n
    mean_slope = np.einsum("stk,stkd->std", heard, run.view_slopes) / count[..., None]
    descent = (
        np.diff(run.values, axis=1)
        + case.step_size * case.noise_along(run.slopes[:, :-1])
        + a / 2 * norms_sq(run.slopes[:, :-1])
        + a / 2 * (1 - a * L) * norms_sq(mean_slope)
    )
    mean_distance_sq = (heard * run.distances_sq).sum(axis=-1) / count
    noise = (heard * norms_sq(run.noises)).sum(axis=-1) / n**2
    errors = a * L**2 / 2 * mean_distance_sq + case.step_size**2 * L / 2 * noise
    return statistics.at_most(descent, errors, is_exact=run.is_exact, scale=np.abs(run.values).max(), axes=("t",))


def _summed(case: Case, *, is_measured: bool) -> Comparison:
    """The mean over t of ‖∇f(x_t)‖², against q [2 (f(x_0) - f(x_T)) / (α T) + α² L² B² + α L σ²/n]."""
    run, a = case.trajectory, case.step_size
    L, noise = case.known("smoothness", "grad_variance")
    constant_sq = _mean_distance_sq(case) / a**2 if is_measured else case.known_constant_sq
    gain = 2 * (run.values[:, 0] - run.values[:, -1]) / (a * run.num_steps)
    q = 1 if np.all(run.weights != 0) else 2
    claimed = q * (gain + a**2 * L**2 * constant_sq + a * L * noise / case.algorithm.num_workers)
    return statistics.at_most(norms_sq(run.slopes[:, :-1]).mean(axis=1), claimed, is_exact=run.is_exact)


def _paper(case: Case) -> Comparison:
    """The same left side, against the constants of the paper's proof."""
    run, a = case.trajectory, case.step_size
    L, noise = case.known("smoothness", "grad_variance")
    gap = run.values[:, 0] - case.known("optimal_value")[0]
    claimed = (
        8 * gap / (a * run.num_steps)
        + (4 * a**2 * L**2 + 8 * a**3 * L**3) * _mean_distance_sq(case) / a**2
        + 4 * a * L * noise / case.algorithm.num_workers
    )
    return statistics.at_most(norms_sq(run.slopes[:, :-1]).mean(axis=1), claimed, is_exact=run.is_exact)


def _mean_distance_sq(case: Case) -> np.ndarray:
    """float64[S]. The mean over steps and the workers heard of ‖x_t - v_t^i‖²."""
    run = case.trajectory
    heard = run.weights != 0
    return ((heard * run.distances_sq).sum(axis=-1) / heard.sum(axis=-1)).mean(axis=1)
