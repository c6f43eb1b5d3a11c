"""EC:X2. What one step gains in expectation, and what the distance of the views and the noise take of it.

Setting
    x_{t+1} = x_t - α Σ_i w_t^i G_t^i in single steps (m = 1) or parallel ones (m = n, |I_t| >= n/2 heard), see
    `rates.steps`; gradients at views v_t^i, unbiased given the past, of variance at most σ², those of one step
    independent; identical workers; f with L-Lipschitz gradients, convex or not. a = α |I_t| / m, and ḡ_t and d_t² are
    the means of ∇f(v_t^i) and of ‖x_t - v_t^i‖² over the gradients heard.

Statement (EC:X2)
    sharp (tight), α <= 1/L:
        E f(x_{t+1}) <= E f(x_t) - (a/2) E‖∇f(x_t)‖² - (a/2) (1 - a L) E‖ḡ_t‖² + (a L²/2) E d_t²
                        + (α² L / (2 m²)) Σ_{i in I_t} E‖G_t^i - ∇f(v_t^i)‖²,
    paper, single (upper), α <= 1/(6L):
        (α/4) E‖∇f(x_t)‖² <= E f(x_t) - E f(x_{t+1}) + (α L²/2 + 3 α² L³/2) E d_t² + (3 α² L/2) σ²,
    paper, parallel (upper), α <= 1/(8L):
        (α/8) E‖∇f(x_t)‖² <= E f(x_t) - E f(x_{t+1}) + (α L²/2 + α² L³) E d_t² + (α² L/2) σ²/n.
    Sharp is an equality where f is a quadratic with all curvatures L and the views of a step agree.

Why
    EC:P1 with E[Σ_i w^i G^i | past] = (a/α) ḡ_t. Sharp: E‖Σ_i w^i G^i‖² = (a/α)² ‖ḡ‖² + Σ_i (w^i)² E‖ξ^i‖², since
    the noises are orthogonal to each other and to the past; EC:I12 with ∇f(x_t) and ḡ_t; and ‖∇f(x_t) - ḡ_t‖² <=
    L² d_t² by Jensen's inequality and EC:P2. Paper, single: -⟨∇f(x), ∇f(v)⟩ <= -‖∇f(x)‖²/2 + L² d²/2, and ‖G‖² in
    three, 3 ‖ξ‖² + 3 L² d² + 3 ‖∇f(x)‖², where 3 α L/2 <= 1/4. Paper, parallel: ‖ḡ‖² <= 2 ‖∇f(x)‖² + 2 L² d² leaves
    a/2 - L a² >= 3 a/8 >= α/8 of the gain, and a <= α elsewhere.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the proofs of the two non-convex theorems
    (EC:T2.1, EC:T2.2) for "paper"; "sharp" keeps the gain at the views, which they drop.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.rates import steps
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:X2"


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
    names = ("isotropic", "rational", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses)
    dropping = cases.dropping(names, step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    return [one for found in (exact, dropping, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """L understated where sharp is tight; a schedule that looks at samples; α above the caps."""
    controls = []
    for is_meant in (cases.takes_one, cases.takes_all):
        case = next(cases.exact(("isotropic",), is_meant=is_meant))
        understated = _with_smoothness(case, 0.9 * case.known("smoothness")[0])
        controls += [
            record.planted(_judge(understated)[0], "L understated by a tenth"),
            *(
                record.planted(one, "α above every cap", expected="skipped")
                for one in _judge(_with_smoothness(case, 1.01 / case.step_size))
            ),
        ]
    adaptive = next(cases.dropping(("at_optimum",), is_adaptive=True))
    bug = "a schedule that looks at the samples"
    return controls + [record.planted(one, bug, expected="skipped") for one in _judge(adaptive)]


def _with_smoothness(case: Case, smoothness: float) -> Case:
    return case._replace(constants=case.constants._replace(smoothness=smoothness))


def _judge(case: Case) -> list[Check]:
    L = case.constants.smoothness
    assumed = [*steps.assumed(case), hypotheses.is_known(case.constants, "smoothness", "grad_variance")]
    sharp = hypotheses.is_below(case.step_size, 1 / L if L else None, "1/L")
    divisor = 6 if case.is_single else 8
    rough = hypotheses.is_below(case.step_size, 1 / (divisor * L) if L else None, f"1/({divisor}L)")
    return [
        case.judge(ID, f"sharp, {steps.kind(case)}", "tight", [*assumed, sharp], _sharp),
        case.judge(ID, f"paper, {steps.kind(case)}", "upper", [*assumed, rough], _paper),
    ]


def _change(case: Case) -> np.ndarray:
    """float64[S, T]. F(x_{t+1}) - f(x_t), less a term of no expectation that most of its noise is in."""
    run = case.trajectory
    return np.asarray(np.diff(run.values, axis=1) + case.step_size * case.noise_along(run.slopes[:, :-1]))


def _sharp(case: Case) -> Comparison:
    """What is left of the descent beside its error terms, against the error terms."""
    run = case.trajectory
    (L,) = case.known("smoothness")
    a = case.step_size * steps.fractions(case)
    gain_at_views = a / 2 * (1 - a * L) * norms_sq(steps.mean_heard(case, run.view_slopes))
    measured = _change(case) + a / 2 * norms_sq(run.slopes[:, :-1]) + gain_at_views
    errors = a * L**2 / 2 * steps.distances_sq(case) + case.step_size**2 * L / 2 * steps.noises_sq(case)
    return statistics.at_most(measured, errors, is_exact=run.is_exact, scale=np.abs(run.values).max(), axes=("t",))


def _paper(case: Case) -> Comparison:
    """The part of the gain that the paper keeps, against the descent and its error terms."""
    run, a = case.trajectory, case.step_size
    L, variance = case.known("smoothness", "grad_variance")
    kept, drift, noise = (1 / 4, 3 / 2, 3 / 2) if case.is_single else (1 / 8, 1.0, 1 / 2)
    measured = kept * a * norms_sq(run.slopes[:, :-1])
    errors = (a * L**2 / 2 + drift * a**2 * L**3) * steps.distances_sq(case)
    claimed = errors + noise * a**2 * L * variance / steps.num_averaged(case) - _change(case)
    return statistics.at_most(measured, claimed, is_exact=run.is_exact, scale=np.abs(run.values).max(), axes=("t",))
