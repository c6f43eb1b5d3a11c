"""CO:T3. The theorem of Cooperative SGD for workers that differ.

Setting
    As in CO:T2, with one W or with W that is drawn, but each worker has its own f_i with L-Lipschitz gradients, f =
    (1/n) Σ_i f_i, and (1/n) Σ_i ‖∇f_i(x) - ∇f(x)‖² <= κ² for all x. d_t² = (1/n) Σ_{i<=n} ‖x_t - x_t^i‖² and C_t =
    (1/n) ‖(I - J) X_t‖² as measured, over the workers and over all rows; S = 2 (f(x_0) - E f(x_T))/(η T) + η L σ²/n.

Statement (CO:T3, upper)
    measured, η L <= 1:
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= S + L² (1/T) Σ_t E d_t²,
    spread, D = 6 (α L k)² < 1:
        (1 - D) L² (1/T) Σ_t E C_t <= α² L² σ² (1 - 1/r) N + D κ² + D (1/T) Σ_t E‖∇f(x_t)‖²,
    theorem, proved, D <= 1/4 and η L <= 1:
        (1/T) Σ_t E‖∇f(x_t)‖² <= [(1 - D) S + α² L² σ² (1 - 1/r) N + D κ²]/(1 - 2 D),
    theorem, recalled, one W: the same with D = 6 (α L H/(1 - ζ))² <= 1/4, N for (1 - 1/r) N, and f* for f(x_T).

Why
    f falls by -η ⟨∇f(x), h⟩ + (η² L/2) (‖h‖² + σ²/n), h = (1/n) Σ_i ∇f_i(x^i); -2 ⟨∇f(x), h⟩ = ‖∇f(x) - h‖² -
    ‖∇f(x)‖² - ‖h‖², where ‖∇f(x) - h‖² <= L² d², and η L <= 1 swallows ‖h‖²: "measured". The spread of CO:T2 has
    (1/n) Σ_i ‖∇f_i(x^i)‖² <= 3 L² d² + 3 κ² + 3 ‖∇f(x)‖² for P; 3 · 2 α² k² L² = D. Put one into the other.

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, whose version for different data has a term of κ² of this
    kind. The constants are those of the proof above; "recalled" has H/(1 - ζ) as CO:T2 does.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import hypotheses, record, statistics
from proofs_check.cooperative_rates import different_workers, instances, mixed_runs, network
from proofs_check.cooperative_rates.mixed_runs import Run
from proofs_check.mixed import Mixed
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "CO:T3"


def check(
    *, step_size: float = mixed_runs.STEP_SIZE, sampled_step_size: float = mixed_runs.SAMPLED_STEP_SIZE
) -> list[Check]:
    """Averages, springs and gossip, after every step or later.

    Args:
        step_size: α > 0 of the exact runs.
        sampled_step_size: α > 0 of the sampled runs.
    """
    exact = different_workers.exact(("quadratic", "rational"), step_size=step_size, is_meant=_is_meant)
    noise = different_workers.exact(("noise_alone",), step_size=step_size, is_meant=_is_meant)
    sampled = different_workers.sampled(
        "different nonconvex_logistic", parts=instances.SAMPLED, step_size=sampled_step_size
    )
    drawn = different_workers.sampled(
        "different nonconvex_logistic", parts=instances.DRAWN, step_size=sampled_step_size, has_own_schedules=True
    )
    found = [one for runs in (exact, sampled, drawn) for run in runs for one in _judge(run)]
    # where f is constant the other forms compare with zero
    return found + [_judge(run)[1] for run in noise]


def control() -> list[Check]:
    """κ or the starting point left out; a mixing that moves the mean; α above the caps; workers that differ denied."""
    choose = partial(different_workers.one, step_size=mixed_runs.STEP_SIZE)
    still, run = (choose(name, network.is_late_average) for name in ("noise_alone", "rational"))
    moved = different_workers.with_moved_mean("rational")
    steep = run.with_constants(smoothness=1.01 / run.case.step_size)
    return [
        record.planted(_judge(still.with_constants(heterogeneity=0.0))[1], "κ left out"),
        record.planted(_judge(still.with_constants(heterogeneity=0.0, grad_variance=0.0))[1], "κ and σ left out"),
        *(record.planted(_judge(run, start=0.0)[form], "the starting point left out") for form in (0, 2, 3)),
        *(record.planted(one, "α above every cap", expected="skipped") for one in _judge(steep)),
        *(record.planted(one, bug, expected="skipped") for bug, each in moved.items() for one in _judge(each)),
    ]


def _is_meant(mixed: Mixed) -> bool:
    """One W after the step, and workers that are apart after some step."""
    is_apart = not network.is_average(mixed) or mixed.period > 1
    return network.zeta(mixed) is not None and not mixed.combines_first and is_apart


def _judge(run: Run, *, start: float = 1.0) -> list[Check]:
    constants, length = run.case.constants, network.length(run.mixed)
    known = hypotheses.is_known(constants, "smoothness", "grad_variance", "heterogeneity", "optimal_value")
    assumed = [*run.assumed(), hypotheses.is_unbiased(run.case.trajectory), known, run.comes_together(), run.is_whole()]
    gentle = _is_below(run, 1.0, run.effective_step_size / run.case.step_size, "the root of η L <= 1")
    less, short = (
        _is_below(run, limit, np.sqrt(6) * (length - 1), f"the root of 6 (α L k)² {text}")
        for limit, text in ((1 - 1e-9, "< 1"), (0.5, "<= 1/4"))
    )
    long = _is_below(run, 0.5, np.sqrt(6) * length, "the root of 6 (α L H/(1 - ζ))² <= 1/4")
    proved = partial(_theorem, start=start, length=length - 1, is_sharp=True)
    recalled = partial(_theorem, start=start, length=length, is_sharp=False)
    forms = (
        ("measured", [gentle], partial(_measured, start=start)),
        ("spread", [less], partial(_spread, length=length - 1)),
        ("theorem, proved", [gentle, short], proved),
        ("theorem, recalled", [gentle, long], recalled),
    )
    is_one = network.zeta(run.mixed) is not None
    return [
        run.judge(ID, name, "upper", [*assumed, *more], compare)
        for name, more, compare in forms
        if is_one or name != "theorem, recalled"
    ]


def _is_below(run: Run, limit: float, factor: float, formula: str) -> Hypothesis:
    """A step size with factor · α L <= limit."""
    L = run.case.constants.smoothness
    cap = None if L is None else limit / (factor * L) if factor else np.inf
    return hypotheses.is_below(run.case.step_size, cap, formula)


def _squares(run: Run) -> np.ndarray:
    """float64[S]. The mean over t of ‖∇f(x_t)‖²."""
    return np.asarray(norms_sq(run.case.trajectory.slopes[:, :-1]).mean(axis=1))


def _synchronous(run: Run, *, start: float, is_sharp: bool) -> np.ndarray:
    """float64[S]. S, with f(x_T) or f*."""
    found, y = run.case.trajectory, run.effective_step_size
    L, variance, lowest = run.case.known("smoothness", "grad_variance", "optimal_value")
    last = found.values[:, -1] if is_sharp else lowest
    gain = start * 2 * (found.values[:, 0] - last) / (y * found.num_steps)
    return np.asarray(gain + y * L * variance / run.num_workers)


def _network(run: Run, *, is_sharp: bool) -> float:
    """α² L² σ² N, times 1 - 1/r."""
    L, variance = run.case.known("smoothness", "grad_variance")
    lost = 1 - 1 / run.mixed.mixing.num_rows if is_sharp else 1.0
    return run.case.step_size**2 * L**2 * variance * lost * network.noise(run.mixed)


def _measured(run: Run, *, start: float) -> Comparison:
    """The mean over t of ‖∇f(x_t)‖², against S and the distances of the workers."""
    (L,) = run.case.known("smoothness")
    distances_sq = run.mean(run.case.trajectory.distances_sq).mean(axis=1)
    claimed = _synchronous(run, start=start, is_sharp=True) + L**2 * distances_sq
    return statistics.at_most(_squares(run), claimed, is_exact=run.case.trajectory.is_exact)


def _spread(run: Run, *, length: float) -> Comparison:
    """The mean of C_t, against noise, what workers differ by, and the gradients."""
    L, kappa_sq = run.case.known("smoothness", "heterogeneity")
    D = 6 * (run.case.step_size * L * length) ** 2
    measured = (1 - D) * L**2 * run.consensus().mean(axis=1)
    claimed = _network(run, is_sharp=True) + D * kappa_sq + D * _squares(run)
    return statistics.at_most(measured, claimed, is_exact=run.case.trajectory.is_exact)


def _theorem(run: Run, *, start: float, length: float, is_sharp: bool) -> Comparison:
    """The mean over t of ‖∇f(x_t)‖², against what synchronous SGD, the network and κ make of it."""
    L, kappa_sq = run.case.known("smoothness", "heterogeneity")
    D = 6 * (run.case.step_size * L * length) ** 2
    synchronous = _synchronous(run, start=start, is_sharp=is_sharp)
    claimed = ((1 - D) * synchronous + _network(run, is_sharp=is_sharp) + D * kappa_sq) / (1 - 2 * D)
    return statistics.at_most(_squares(run), claimed, is_exact=run.case.trajectory.is_exact)
