"""EC:T2.2. Non-convex objectives, n gradients a step.

Setting
    x_{t+1} = x_t - (α/n) Σ_{i in I_t} G_t^i with gradients at views v_t^i, unbiased given the past, independent of each
    other, of variance at most σ²; identical workers; |I_t| >= n/2, the divisor is n; f has L-Lipschitz gradients and is
    bounded below by f*. E‖x_t - v_t^i‖² <= α² B², B as the variant promises it a priori, or B² the mean of the B_t² =
    mean_{i in I_t} E‖x_t - v_t^i‖² / α² as measured. q = 1 if |I_t| = n throughout and q = 2 otherwise.

Statement (EC:T2.2, upper)
    sharp, α <= 1/L:
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= q [2 (f(x_0) - E f(x_T)) / (α T) + α² L² B² + α L σ²/n],
    paper, any α <= 1/(8L):
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= 8 (f(x_0) - f*) / (α T) + 4 α² L² B² + 4 α L σ²/n + 8 α³ L³ B²,
    paper, α = √(n/T) and T >= 64 L² n, that is α <= 1/(8L):
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= 8 (f(x_0) - f*) / √(T n) + 4 L² B² n/T + 4 L σ²/√(T n) + 8 L³ B² (n/T)^{3/2}.
    With B_t measured and any α they are EC:X7, step by step EC:X2. Each is tried where all gradients are heard, and
    where half of them may be missing.

Why
    EC:X2 summed over t < T: sharp without the gain at the views and with a_t >= α/2, which costs the factor q; paper
    with f(x_T) >= f*; E‖x_t - v_t^i‖² <= α² B². The mean over t is at least the minimum over t, which the paper states.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the non-convex theorem for parallel steps.
    Departure: its constants are not claimed, but those of the proof above, 8, 4, 4 and 8; where the paper's are larger,
    as 8 and 16 for the last two, its form follows. "Sharp" is proved above.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.rates import steps
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
    """Every setting with n gradients a step, one that loses half of them in odd steps, and the prescribed step size.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names, is_meant = ("isotropic", "rational", "quadratic"), cases.takes_all
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=is_meant)
    dropping = cases.dropping(names, step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(
        ("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=is_meant
    )
    planned = prescribed(num_seeds=num_seeds, num_steps=num_steps)
    return [one for found in (exact, dropping, sampled, planned) for case in found for one in _judge(case)]


def prescribed(*, num_seeds: int = cases.NUM_SEEDS, num_steps: int = cases.NUM_STEPS) -> Iterator[Case]:
    """The defaults over seeds, with the step size that the theorem prescribes for their horizon.

    Args:
        num_seeds: S.
        num_steps: T >= 64 L² n, which a hypothesis looks at.
    """
    return cases.sampled(
        ("nonconvex_logistic",),
        step_size=prescribed_step_size(num_steps, cases.NUM_WORKERS_SAMPLED),
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_meant=cases.takes_all,
    )


def prescribed_step_size(num_steps: int, num_workers: int) -> float:
    """α = √(n/T)."""
    return float((num_workers / num_steps) ** 0.5)


def control() -> list[Check]:
    """The starting point left out, or the noise too; a schedule that looks at samples; α that is not allowed."""
    case, planned = next(cases.exact(("isotropic",), is_meant=cases.takes_all)), next(prescribed())
    silent = planned._replace(constants=planned.constants._replace(grad_variance=0.0))
    above = case._replace(constants=case.constants._replace(smoothness=1.01 / case.step_size))
    adaptive = next(cases.dropping(("at_optimum",), is_adaptive=True))
    bug = "a schedule that looks at the samples"
    return [
        *(record.planted(one, "the starting point left out") for one in _judge(case, start=0.0)[:2]),
        *(record.planted(one, "the starting point and the noise left out") for one in _judge(silent, start=0.0)[3:]),
        *(record.planted(one, bug, expected="skipped") for one in _judge(adaptive)),
        *(record.planted(one, "α above 1/L", expected="skipped") for one in _judge(above)),
        *(record.planted(one, "α that is not prescribed", expected="skipped") for one in _judge(case)[2:]),
    ]


def _judge(case: Case, start: float = 1.0) -> list[Check]:
    run, constants, n = case.trajectory, case.constants, case.algorithm.num_workers
    L = constants.smoothness
    assumed = [
        hypotheses.is_parallel(run, n, least=0.5),
        *steps.update_model(case),
        hypotheses.is_known(constants, "smoothness", "grad_variance", "optimal_value"),
    ]
    promised = case.has_bound()
    sharp = hypotheses.is_below(case.step_size, 1 / L if L else None, "1/L")
    rough = hypotheses.is_below(case.step_size, 1 / (8 * L) if L else None, "1/(8L)")
    planned = [rough, hypotheses.is_prescribed(case.step_size, prescribed_step_size(run.num_steps, n), "√(n/T)")]
    measured, known = (partial(_paper, is_measured=is_measured, start=start) for is_measured in (True, False))
    forms = (
        ("sharp, a-priori B", [sharp, promised], partial(_sharp, start=start)),
        ("paper, any α, a-priori B", [rough, promised], known),
        ("paper, prescribed α, a-priori B", [*planned, promised], known),
        ("paper, prescribed α, measured B", planned, measured),
    )
    return [
        case.judge(ID, f"{name}, {steps.heard(case)}", "upper", [*assumed, *more], compare)
        for name, more, compare in forms
    ]


def _sharp(case: Case, start: float) -> Comparison:
    """The mean over t of ‖∇f(x_t)‖², against q [2 (f(x_0) - f(x_T)) / (α T) + α² L² B² + α L σ²/n]."""
    run, a = case.trajectory, case.step_size
    L, variance = case.known("smoothness", "grad_variance")
    gain = start * 2 * (run.values[:, 0] - run.values[:, -1]) / (a * run.num_steps)
    errors = a**2 * L**2 * case.known_constant_sq + a * L * variance / case.algorithm.num_workers
    claimed = steps.penalty(case) * (gain + errors)
    return statistics.at_most(norms_sq(run.slopes[:, :-1]).mean(axis=1), claimed, is_exact=run.is_exact)


def _paper(case: Case, is_measured: bool, start: float) -> Comparison:
    """The same left side, against the constants of the paper's proof."""
    run, a = case.trajectory, case.step_size
    L, variance, lowest = case.known("smoothness", "grad_variance", "optimal_value")
    constant_sq = steps.distances_sq(case).mean(axis=1) / a**2 if is_measured else case.known_constant_sq
    gain = start * 8 * (run.values[:, 0] - lowest) / (a * run.num_steps)
    drift = (4 * a**2 * L**2 + 8 * a**3 * L**3) * constant_sq
    claimed = gain + drift + 4 * a * L * variance / case.algorithm.num_workers
    return statistics.at_most(norms_sq(run.slopes[:, :-1]).mean(axis=1), claimed, is_exact=run.is_exact)
