"""CO:T5. Local SGD on identical data: what H - 1 steps without averaging cost a convex objective.

Setting
    n workers take steps on their own parameters, which all are replaced by their mean after every H-th step; x_t is
    their mean. Identical workers, gradients unbiased and independent, of variance at most σ²; f convex or c-strongly
    convex with L-Lipschitz gradients and a minimiser x*. D_t = E‖x_t - x*‖², V_t = (1/n) Σ_i E‖x_t - x_t^i‖², ξ the
    noise.

Statement (CO:T5)
    drift (tight), α <= 2/L:           V_t <= α² σ² (1 - 1/n) (t mod H),
    one step (tight), α <= 1/(4L):
        D_{t+1} <= (1 - α c) D_t - α E(f(x_t) - f*) + (3/2) α L V_t + (α²/n²) Σ_i E‖ξ_t^i‖²,
    strongly convex, proved (upper), α <= 1/(4L):
        D_T <= (1 - α c)^T D_0 + Σ_{t<T} (1 - α c)^{T-1-t} α² σ² [1/n + (3/2) α L (1 - 1/n) (t mod H)],
    strongly convex, recalled (upper), α <= 1/(4L):
        D_T <= (1 - α c)^T D_0 + α σ²/(c n) + 2 L α² (H - 1) σ²/c,
    convex, proved (upper), α <= 1/(4L):
        (1/T) Σ_{t<T} E f(x_t) - f* <= D_0/(α T) + α σ²/n + (3/4) α² L (1 - 1/n) (H - 1) σ²,
    convex, recalled (upper), α <= 1/(4L):
        (1/T) Σ_{t<T} E f(x_t) - f* <= 2 D_0/(α T) + 2 α σ²/n + 4 α² L (H - 1) σ².
    Drift is an equality where f is constant, one step in the first step from x_0 = x*.

Why
    x -> x - α ∇f(x) brings no two points further apart for α <= 2/L, so that every step adds the noise of a pair at
    most, α² · 2 σ², to E‖x^i - x^j‖²: drift. One step: -2 ⟨∇f(x^i), x - x*⟩ <= -2 (f(x) - f*) - c ‖x^i - x*‖² +
    L ‖x - x^i‖², by convexity at x^i towards x* and smoothness towards x; ‖(1/n) Σ_i ∇f(x^i)‖² <= 2 ‖∇f(x)‖² + 2 L² V
    and ‖∇f(x)‖² <= 2 L (f(x) - f*), where 4 L α² <= α; ‖x - x*‖² is convex. The rest are sums of it. By Jensen's
    inequality the f of the mean of the x_t is no larger than the left side of "convex".

Source
    Khaled, Mishchenko, Richtárik, Tighter Theory for Local SGD on Identical and Heterogeneous Data, AISTATS 2020, arXiv
    1909.04746, the theorems on identical data, which are stated from memory; "proved" is sharper and proved above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import hypotheses, record, statistics
from proofs_check.cooperative_rates import bugs, instances, mixed_runs, network
from proofs_check.cooperative_rates.mixed_runs import Run
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "CO:T5"

STEP_SIZE = 0.125
"""α: 1/(4 L) of the steepest objective of the exact runs."""

SAMPLED_STEP_SIZE = 0.25
"""α: 1/(4 L) of the quadratics that are sampled."""


def check(*, step_size: float = STEP_SIZE, sampled_step_size: float = SAMPLED_STEP_SIZE) -> list[Check]:
    """Averages after every step, every second and every third, and every fourth over seeds.

    Args:
        step_size: α > 0 of the exact runs.
        sampled_step_size: α > 0 of the sampled runs.
    """
    names = ("at_optimum", "quadratic", "isotropic", "log_cosh", "convex")
    exact = mixed_runs.exact(names, step_size=step_size, is_meant=network.is_average)
    noise = mixed_runs.exact(("noise_alone",), step_size=step_size, is_meant=network.is_average)
    wide, round_ = (
        mixed_runs.sampled(name, parts=instances.AVERAGING, step_size=sampled_step_size)
        for name in ("quadratic", "round quadratic")
    )
    found = [one for runs in (exact, wide, round_) for run in runs for one in _judge(run)]
    # where f is constant the other forms compare with zero
    return found + [one for run in noise for one in _judge(run)[:2]]


def control() -> list[Check]:
    """Mixing late, not at all, or more seldom; H, σ or c misjudged; terms left out; α above the cap."""
    chosen = partial(mixed_runs.one, step_size=STEP_SIZE)
    noise, still, run = (chosen(name, network.is_late_average) for name in ("noise_alone", "at_optimum", "isotropic"))
    nonconvex = chosen("rational", network.is_late_average)
    steep = run.with_constants(smoothness=2.01 / run.case.step_size)
    shorter = noise._replace(mixed=noise.mixed._replace(period=noise.mixed.period - 1))
    summed = bugs.rerun(run, bugs.summed, "isotropic")
    planted: dict[str, Callable[[Algorithm], Algorithm]] = {
        "no averaging": bugs.not_mixed,
        "averaging one step late": bugs.one_step_late,
        "averaging after every third step": partial(bugs.other_period, period=3),
    }
    wrong = {name: bugs.rerun(noise, bug, "noise_alone") for name, bug in planted.items()}
    return [
        *(record.planted(_judge(each)[0], name) for name, each in wrong.items()),
        record.planted(_judge(shorter)[0], "H - 1 for H"),
        record.planted(_judge(noise.with_constants(grad_variance=0.95 * _variance(noise)))[0], "σ² understated"),
        record.planted(_judge(still, noise_factor=0.9)[1], "noise understated by a tenth"),
        *(record.planted(one, "σ left out") for one in _judge(still.with_constants(grad_variance=0.0))[2:]),
        *(record.planted(one, "the starting point left out") for one in _judge(run, start=0.0)[2:]),
        *(record.planted(one, "α above every cap", expected="skipped") for one in _judge(steep)),
        *(record.planted(one, "sums in place of means", expected="skipped") for one in _judge(summed)),
        *(record.planted(one, "not convex", expected="skipped") for one in _judge(nonconvex)),
    ]


def _variance(run: Run) -> float:
    return run.case.known("grad_variance")[0]


def _judge(run: Run, *, start: float = 1.0, noise_factor: float = 1.0) -> list[Check]:
    constants, a = run.case.constants, run.case.step_size
    L = constants.smoothness
    minimal = hypotheses.is_known(constants, "optimum", "optimal_value")
    average = hypotheses.is_declared("everybody averages", network.is_average(run.mixed))
    assumed = [*run.assumed(), *run.is_identical(), average, minimal]
    convex, strong = hypotheses.is_convex(constants), hypotheses.is_strongly_convex(constants)
    gentle = hypotheses.is_below(a, 2 / L if L else None, "2/L")
    small = hypotheses.is_below(a, 1 / (4 * L) if L else None, "1/(4L)")
    forms = (
        ("drift", "tight", [convex, gentle], _drift),
        ("one step", "tight", [convex, small], partial(one_step, noise_factor=noise_factor)),
        ("strongly convex, proved", "upper", [strong, small], partial(_strong, start=start, is_sharp=True)),
        ("strongly convex, recalled", "upper", [strong, small], partial(_strong, start=start, is_sharp=False)),
        ("convex, proved", "upper", [convex, small], partial(_convex, start=start, is_sharp=True)),
        ("convex, recalled", "upper", [convex, small], partial(_convex, start=start, is_sharp=False)),
    )
    return [run.judge(ID, name, kind, [*assumed, *more], compare) for name, kind, more, compare in forms]


def drifts(run: Run) -> np.ndarray:
    """float64[S, T]. The mean of ‖x_t - x_t^i‖² over the workers."""
    return run.mean(run.case.trajectory.distances_sq)


def one_step(run: Run, *, noise_factor: float = 1.0, convexity: float | None = None) -> Comparison:
    """D_{t+1} and the gain, against the contracted D_t and the errors; `convexity` for c."""
    found, a = run.case.trajectory, run.case.step_size
    L, lowest = run.case.known("smoothness", "optimal_value")
    c = run.case.known("strong_convexity")[0] if convexity is None else convexity
    squares = run.case.optimum_distances_sq
    # a term of no expectation, which most of the noise of D_{t+1} is in
    along = 2 * a * run.case.noise_along(run.case.optimum_offsets[:, :-1])
    measured = squares[:, 1:] + along + a * (found.values[:, :-1] - lowest)
    noise = noise_factor * a**2 * run.mean(norms_sq(found.noises)) / run.num_workers
    claimed = (1 - a * c) * squares[:, :-1] + 1.5 * a * L * drifts(run) + noise
    return statistics.at_most(measured, claimed, is_exact=found.is_exact, axes=("t",))


def _steps_since(run: Run) -> np.ndarray:
    """float64[T]. t mod H."""
    return np.arange(run.case.trajectory.num_steps, dtype=float) % run.mixed.period


def _drift(run: Run) -> Comparison:
    """V_t, against the noise of the steps since the last averaging."""
    found, a = run.case.trajectory, run.case.step_size
    claimed = a**2 * _variance(run) * (1 - 1 / run.num_workers) * _steps_since(run)
    scale = a**2 * float(norms_sq(found.grads).max())
    return statistics.at_most(
        drifts(run), np.tile(claimed, (found.num_runs, 1)), is_exact=found.is_exact, scale=scale, axes=("t",)
    )


def _strong(run: Run, *, start: float, is_sharp: bool) -> Comparison:
    """D_T, against the contracted D_0 and the errors, summed up or not."""
    found, a, n = run.case.trajectory, run.case.step_size, run.num_workers
    L, c, variance = run.case.known("smoothness", "strong_convexity", "grad_variance")
    squares, shrink = run.case.optimum_distances_sq, 1 - a * c
    errors = a * variance / (c * n) + 2 * L * a**2 * (run.mixed.period - 1) * variance / c
    if is_sharp:
        powers = shrink ** np.arange(found.num_steps)[::-1]
        errors = a**2 * variance * float(powers @ (1 / n + 1.5 * a * L * (1 - 1 / n) * _steps_since(run)))
    claimed = start * shrink**found.num_steps * squares[:, 0] + errors
    return statistics.at_most(squares[:, -1], claimed, is_exact=found.is_exact)


def _convex(run: Run, *, start: float, is_sharp: bool) -> Comparison:
    """The mean over t of f(x_t) - f*, against the starting point and the errors."""
    found, a, n = run.case.trajectory, run.case.step_size, run.num_workers
    L, variance, lowest = run.case.known("smoothness", "grad_variance", "optimal_value")
    gain = start * run.case.optimum_distances_sq[:, 0] / (a * found.num_steps) + a * variance / n
    drift = a**2 * L * (run.mixed.period - 1) * variance
    claimed = gain + 0.75 * (1 - 1 / n) * drift if is_sharp else 2 * gain + 4 * drift
    return statistics.at_most(found.values[:, :-1].mean(axis=1) - lowest, claimed, is_exact=found.is_exact)
