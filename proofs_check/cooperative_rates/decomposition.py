"""CO:T1. What one step gains, with the distances of the workers from the mean of all rows as measured.

Setting
    n workers and v auxiliary rows, steps of the workers on their own parameters, now and then a doubly stochastic
    mixing of all rows, constant or drawn, after the step or before it; x_t is the mean of all rows, so that x_{t+1} =
    x_t - η (1/n) Σ_i g_i(x_t^i) with η = α n/(n + v). Identical workers, gradients unbiased and independent, of
    variance at most σ²; f with L-Lipschitz gradients, convex or not. d_t² = (1/n) Σ_{i<=n} ‖x_t - x_t^i‖² as measured,
    h_t = (1/n) Σ_i ∇f(x_t^i), ξ_t^i the noise.

Statement (CO:T1)
    per step (tight), any α:
        E f(x_{t+1}) <= E f(x_t) - (η/2) E‖∇f(x_t)‖² - (η/2) (1/n) Σ_i E‖∇f(x_t^i)‖² + (η² L/2) E‖h_t‖²
                        + (η L²/2) E d_t² + (η² L/2) (1/n²) Σ_i E‖ξ_t^i‖²,
    summed (upper), any α:
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= 2 (f(x_0) - E f(x_T))/(η T) + η L σ²/n + L² (1/T) Σ_t E d_t²
                                     - (1 - η L) (1/T) Σ_t (1/n) Σ_i E‖∇f(x_t^i)‖².
    Per step is an equality where f is a quadratic with all curvatures L: in every step, and for every mixing.

Why
    No doubly stochastic mixing moves the mean. EC:P1 for the move -η (h + mean noise), noises being orthogonal to the
    past and to each other; -2 ⟨∇f(x), ∇f(x^i)⟩ = ‖∇f(x) - ∇f(x^i)‖² - ‖∇f(x)‖² - ‖∇f(x^i)‖² for each worker by
    itself, where the first is at most L² ‖x - x^i‖². Summed: ‖h‖² <= (1/n) Σ_i ‖∇f(x^i)‖² and E‖ξ‖² <= σ², divided by
    η T/2.

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, the lemma that decomposes the error: it is summed, and
    has the distances of all rows in place of those of the workers. EC:X2 is its sibling for views of any origin.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import record, statistics
from proofs_check.cooperative_rates import bugs, instances, mixed_runs, network
from proofs_check.cooperative_rates.mixed_runs import Run
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "CO:T1"


def check(
    *, step_size: float = mixed_runs.STEP_SIZE, sampled_step_size: float = mixed_runs.SAMPLED_STEP_SIZE
) -> list[Check]:
    """Averages, springs and gossip, and mixings that are drawn.

    Args:
        step_size: α > 0 of the exact runs.
        sampled_step_size: α > 0 of the sampled runs.
    """
    exact = mixed_runs.exact(("isotropic", "quadratic", "rational"), step_size=step_size)
    settings = {**instances.SAMPLED, **instances.DRAWN}
    sampled = mixed_runs.sampled("nonconvex_logistic", parts=settings, step_size=sampled_step_size)
    return [one for found in (exact, sampled) for run in found for one in _judge(run)]


def control() -> list[Check]:
    """Terms understated where it is tight; α for η; rows that are summed; a mixing that moves the mean."""
    run = mixed_runs.one("isotropic", network.is_late_average)
    tied = mixed_runs.one("isotropic", lambda mixed: mixed.num_auxiliary > 0)
    flat = run.with_constants(smoothness=1.8)
    silent = run.with_constants(grad_variance=0.0)
    planted = {
        **bugs.with_moved_mean("isotropic"),
        "another α than is declared": run._replace(case=run.case._replace(step_size=run.case.step_size / 2)),
    }
    return [
        record.planted(_judge(flat)[0], "L understated by a tenth"),
        record.planted(_judge(run, distance_factor=0.9)[0], "distances understated by a tenth"),
        record.planted(_judge(run, noise_factor=0.9)[0], "noise understated by a tenth"),
        record.planted(_judge(tied, is_effective=False)[0], "α taken for η"),
        record.planted(_judge(silent, distance_factor=0.0)[1], "neither noise nor distances"),
        *(record.planted(one, bug, expected="skipped") for bug, each in planted.items() for one in _judge(each)),
    ]


def _judge(
    run: Run, *, distance_factor: float = 1.0, noise_factor: float = 1.0, is_effective: bool = True
) -> list[Check]:
    a = run.effective_step_size if is_effective else run.case.step_size
    assumed = [*run.assumed(), *run.is_identical()]
    per_step = partial(_per_step, a=a, distance_factor=distance_factor, noise_factor=noise_factor)
    summed = partial(_summed, a=a, distance_factor=distance_factor)
    return [
        run.judge(ID, "per step", "tight", assumed, per_step),
        run.judge(ID, "summed", "upper", assumed, summed),
    ]


def _per_step(run: Run, *, a: float, distance_factor: float, noise_factor: float) -> Comparison:
    """What is left of the descent beside its error terms, against the error terms."""
    found = run.case.trajectory
    (L,) = run.case.known("smoothness")
    # a term of no expectation, which most of the noise of the change is in
    along = a * np.einsum("std,std->st", found.slopes[:, :-1], run.mean(found.noises))
    gains = norms_sq(found.slopes[:, :-1]) + run.mean(norms_sq(found.view_slopes))
    curved = a**2 * L / 2 * norms_sq(run.mean(found.view_slopes))
    measured = np.diff(found.values, axis=1) + along + a / 2 * gains - curved
    noise = a**2 * L / 2 * run.mean(norms_sq(found.noises)) / run.num_workers
    distances_sq = distance_factor * run.mean(found.distances_sq)
    claimed = a * L**2 / 2 * distances_sq + noise_factor * noise
    return statistics.at_most(measured, claimed, is_exact=found.is_exact, scale=np.abs(found.values).max(), axes=("t",))


def _summed(run: Run, *, a: float, distance_factor: float) -> Comparison:
    """The mean over t of ‖∇f(x_t)‖² and what comes of the gradients at the workers, against the other terms."""
    found = run.case.trajectory
    L, variance = run.case.known("smoothness", "grad_variance")
    of_workers = run.mean(norms_sq(found.view_slopes)).mean(axis=1)
    measured = norms_sq(found.slopes[:, :-1]).mean(axis=1) + (1 - a * L) * of_workers
    distances_sq = distance_factor * run.mean(found.distances_sq)
    gain = 2 * (found.values[:, 0] - found.values[:, -1]) / (a * found.num_steps)
    claimed = gain + a * L * variance / run.num_workers + L**2 * distances_sq.mean(axis=1)
    return statistics.at_most(measured, claimed, is_exact=found.is_exact)
