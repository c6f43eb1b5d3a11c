"""CO:T6. Local SGD on data that differ: what counts is how the gradients differ at the optimum.

Setting
    As in CO:T5, f convex, but each worker has its own f_i, convex with L-Lipschitz gradients, f = (1/n) Σ_i f_i; the
    noise is added to ∇f_i, of variance at most σ². s² = (1/n) Σ_i ‖∇f_i(x*)‖² at a minimiser x* of f.

Statement (CO:T6)
    one step (tight), α <= 1/(4L):
        D_{t+1} <= D_t - α E(f(x_t) - f*) + (3/2) α L V_t + (α²/n²) Σ_i E‖ξ_t^i‖²,
    proved (upper), α <= min(1/(4L), 1/(8L (H - 1))):
        (1/T) Σ_{t<T} E f(x_t) - f* <= (29/20) [D_0/(α T) + α σ²/n] + (12/5) α² L (H - 1) (σ² + 3 H s²),
    recalled (upper), α <= min(1/(4L), 1/(8L (H - 1))):
        (1/T) Σ_{t<T} E f(x_t) - f* <= 4 D_0/(α T) + 20 α (σ² + s²)/n + 16 α² L (H - 1)² (σ² + s²).
    One step is an equality in the first step from x_0 = x*.

Why
    One step as in CO:T5, for every f_i by itself. In a period x^i - x = -α Σ_s (g_s^i - mean), so that V_t <= 2 α² j σ²
    + 2 α² j Σ_s (1/n) Σ_i E‖∇f_i(x_s^i)‖² for the j = t mod H steps s since the averaging, and (1/n) Σ_i
    ‖∇f_i(x^i)‖² <= 3 L² V + 6 L (f(x) - f*) + 3 s². Summed over t, with α L (H - 1) <= 1/8 and H <= 2 (H - 1): (58/64)
    Σ V <= α² T (H - 1) (σ² + 3 H s²) + 12 α² L (H - 1)² Σ (f - f*). In the sum of "one step" the last swallows 18/58
    of the gain, which leaves 40/58. Recalled follows: 36/5 H <= 16 (H - 1) for H >= 2.

Source
    Khaled, Mishchenko, Richtárik, Tighter Theory for Local SGD on Identical and Heterogeneous Data, AISTATS 2020, arXiv
    1909.04746, the theorem on heterogeneous data: their dissimilarity at the optimum is σ² + s² here. It is stated from
    memory; "proved" is proved above.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import hypotheses, record, statistics
from proofs_check.cooperative_rates import bugs, different_workers, identical_data, instances, mixed_runs, network
from proofs_check.cooperative_rates.mixed_runs import Run
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CO:T6"

SAMPLED_STEP_SIZE = 0.025
"""α: below 1/(24 L) of quadratics of curvature 1.5 at most, where H = 4."""

PROBLEM = "different quadratics"


def check(*, step_size: float = mixed_runs.STEP_SIZE, sampled_step_size: float = SAMPLED_STEP_SIZE) -> list[Check]:
    """Averages after every step, every second and every third, and every fourth over seeds.

    Args:
        step_size: α > 0 of the exact runs.
        sampled_step_size: α > 0 of the sampled runs.
    """
    names = ("at_optimum", "quadratic", "log_cosh", "convex")
    exact = different_workers.exact(names, step_size=step_size, is_meant=network.is_average)
    sampled = different_workers.sampled(PROBLEM, parts=instances.AVERAGING, step_size=sampled_step_size)
    problem = instances.problem(PROBLEM)
    of_data = different_workers.dissimilarity_at(problem, np.asarray(problem.constants.optimum))
    return [
        *(one for run in exact for one in _judge(run, _of_tilt())),
        *(one for run in sampled for one in _judge(run, of_data)),
    ]


def control() -> list[Check]:
    """Terms left out; the drift, the noise or the dissimilarity understated; α above the caps; no convexity."""
    chosen = partial(different_workers.one, step_size=mixed_runs.STEP_SIZE)
    still, run, nonconvex = (chosen(name, network.is_late_average) for name in ("at_optimum", "quadratic", "rational"))
    steep = run.with_constants(smoothness=1.01 / (4 * run.case.step_size))
    longer = run._replace(mixed=run.mixed._replace(period=4))
    summed = different_workers.tilted(bugs.rerun(run, bugs.summed, "quadratic"))
    silent = still.with_constants(grad_variance=0.0)
    return [
        record.planted(_judge(still, _of_tilt(), noise_factor=0.9)[0], "noise understated by a tenth"),
        *(record.planted(one, "noise and dissimilarity left out") for one in _judge(silent, 0.0)[1:]),
        *(record.planted(one, "the starting point left out") for one in _judge(run, _of_tilt(), start=0.0)[1:]),
        *(record.planted(one, "α above 1/(4L)", expected="skipped") for one in _judge(steep, _of_tilt())),
        *(record.planted(one, "α above 1/(8L (H - 1))", expected="skipped") for one in _judge(longer, _of_tilt())[1:]),
        *(record.planted(one, "sums in place of means", expected="skipped") for one in _judge(summed, _of_tilt())),
        *(record.planted(one, "not convex", expected="skipped") for one in _judge(nonconvex, _of_tilt())),
    ]


def _of_tilt() -> float:
    """s² of the exact runs, where ∇f_i(x*) = ± the tilt."""
    return float(np.dot(instances.TILT, instances.TILT))


def _judge(run: Run, dissimilarity: float, *, start: float = 1.0, noise_factor: float = 1.0) -> list[Check]:
    constants, a, H = run.case.constants, run.case.step_size, run.mixed.period
    L = constants.smoothness
    assumed = [
        *run.assumed(),
        hypotheses.is_unbiased(run.case.trajectory),
        hypotheses.is_declared("everybody averages", network.is_average(run.mixed)),
        hypotheses.is_known(constants, "smoothness", "grad_variance", "optimum", "optimal_value"),
        hypotheses.is_convex(constants),
    ]
    small = hypotheses.is_below(a, 1 / (4 * L) if L else None, "1/(4L)")
    smaller = hypotheses.is_below(a, 1 / (max(4, 8 * (H - 1)) * L) if L else None, "min(1/(4L), 1/(8L (H - 1)))")
    step = partial(identical_data.one_step, noise_factor=noise_factor, convexity=0.0)
    proved, recalled = (
        partial(_compare, dissimilarity=dissimilarity, start=start, is_sharp=is_sharp) for is_sharp in (True, False)
    )
    return [
        run.judge(ID, "one step", "tight", [*assumed, small], step),
        run.judge(ID, "proved", "upper", [*assumed, smaller], proved),
        run.judge(ID, "recalled", "upper", [*assumed, smaller], recalled),
    ]


def _compare(run: Run, *, dissimilarity: float, start: float, is_sharp: bool) -> Comparison:
    """The mean over t of f(x_t) - f*, against the starting point, noise and dissimilarity."""
    found, a, n, H = run.case.trajectory, run.case.step_size, run.num_workers, run.mixed.period
    L, variance, lowest = run.case.known("smoothness", "grad_variance", "optimal_value")
    gain = start * run.case.optimum_distances_sq[:, 0] / (a * found.num_steps)
    both = variance + dissimilarity
    if is_sharp:
        drift = a**2 * L * (H - 1) * (variance + 3 * H * dissimilarity)
        claimed = 29 / 20 * (gain + a * variance / n) + 12 / 5 * drift
    else:
        claimed = 4 * gain + 20 * a * both / n + 16 * a**2 * L * (H - 1) ** 2 * both
    return statistics.at_most(found.values[:, :-1].mean(axis=1) - lowest, claimed, is_exact=found.is_exact)
