"""CO:T2. The theorem of Cooperative SGD: fully synchronous error, and the error of the network.

Setting
    n workers and v auxiliary rows, r = n + v; after every H-th step X <- W X, one doubly stochastic W with ζ =
    ‖W - J‖₂ < 1; x_t is the mean of all rows and moves by η = α n/r times the mean gradient; all rows start equal, T is
    a multiple of H. Identical workers, gradients unbiased and independent, of variance at most σ²; f with L-Lipschitz
    gradients, convex or not, f >= f*. C_t = (1/n) ‖(I - J) X_t‖² over all rows, N = H (1 + ζ²)/(1 - ζ²) - 1, k =
    H/(1 - ζ) - 1, and P_t = (1/n) ‖(I - J) [∇f(x_t^1), ..., ∇f(x_t^n); 0]‖². Or W_m is drawn for the m-th mixing,
    independently of all else, with E‖(I - J) W_{m+b-1} ... W_m X‖² <= (1 - p) ‖(I - J) X‖² for all X and m: means are
    over draws, too, N = H (2b/p - 1) - 1, and k = H b/(1 - √(1 - p)) - 1.

Statement (CO:T2)
    noise alone (tight):      (1/T) Σ_{t<T} E C_t <= α² σ² (1 - 1/r) N/2                          if all ∇f are 0,
    spread (upper), drawn W, too:
                              (1/T) Σ_{t<T} E C_t <= α² σ² (1 - 1/r) N + 2 α² k² (1/T) Σ_t E P_t,
    theorem, proved (upper), drawn W, too, η L + 2 (α L k)² <= 1:
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= 2 (f(x_0) - E f(x_T))/(η T) + η L σ²/n + α² L² σ² (1 - 1/r) N,
    theorem, recalled (upper), η L + 5 (α L H/(1 - ζ))² <= 1:
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= 2 (f(x_0) - f*)/(η T) + η L σ²/n + α² L² σ² N,
    theorem, W = J (upper), α L + α² L² H (H - 1) <= 1:
        (1/T) Σ_{t<T} E‖∇f(x_t)‖² <= 2 (f(x_0) - f*)/(α T) + α L σ²/n + α² L² σ² (H - 1).
    With W = J noise alone is an equality.

Why
    (I - J) X_t = -α Σ_s (W^m - J) [G_s; 0], m the number of mixings since step s. Noises are orthogonal, and
    ‖(W^m - J) P‖_F² <= ζ^{2m} n (1 - 1/r) for P that keeps the n workers; in the j-th step of a period j gradients have
    m = 0, and H have each m >= 1 at most, which sums up to N/2 in the mean of a period. Of the rest, the norms are
    convolved with a kernel whose rows and columns sum to at most H - 1 + H (ζ + ζ² + ...) = k, so that the sum of
    squares is at most α² k² times that of the gradients; the factor 2 separates the two. CO:T1, summed, swallows the
    gradients at the workers below the step size asked for: P_t <= (1/n) Σ_i ‖∇f(x_t^i)‖². It bounds the distances of
    the workers by C_t. W = J: in a period the j-th mean square has at most j times the sum of j squares, and
    Σ_{j<H} j = H (H - 1)/2 in place of k². Drawn W: later mixings are independent of a gradient, so that (1 - p)^⌊m/b⌋
    is in the place of ζ^{2m}, in the mean, and of its root in the norms, which are those of L². Sums over m >= 1 are
    b/p - 1 for ζ²/(1 - ζ²), and b/(1 - √(1 - p)) - 1 for ζ/(1 - ζ). With b = 1 and p = 1 - ζ² it is the same.

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, the main theorem for "recalled", α = η (1 + v/n) in its
    letters; Wang, Joshi, Adaptive Communication Strategies, MLSys 2019, arXiv 1810.08313, for W = J. Departure: the
    theorem is stated from memory, and proved above with 2 for 5, k for H/(1 - ζ), and f(x_T) for f*. Koloskova, Loizou,
    Boreiri, Jaggi, Stich, ICML 2020, arXiv 2003.10422, for the assumption on drawn W.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from elastic_jax import mixings, topologies
from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cooperative_rates import bugs, instances, mixed_runs, network, unit_noise
from proofs_check.cooperative_rates.mixed_runs import Run
from proofs_check.cooperative_rates.unit_noise import Spread
from proofs_check.mixed import Mixed
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "CO:T2"

NUM_STEPS_OF_NOISE = 24


def check(
    *, step_size: float = mixed_runs.STEP_SIZE, sampled_step_size: float = mixed_runs.SAMPLED_STEP_SIZE
) -> list[Check]:
    """Averages, springs and gossip, after every step or later.

    Args:
        step_size: α > 0 of the exact runs.
        sampled_step_size: α > 0 of the sampled runs.
    """
    exact = mixed_runs.exact(("quadratic", "rational"), step_size=step_size, is_meant=_is_meant)
    smooth, rough = (
        mixed_runs.sampled(name, step_size=sampled_step_size) for name in ("quadratic", "nonconvex_logistic")
    )
    drawn = _drawn(sampled_step_size)
    found = [one for runs in (exact, smooth, rough, drawn) for run in runs for one in _judge(run)]
    return [_judge_noise(given, spread) for given, spread in _noises()] + found


def control() -> list[Check]:
    """Mixing late or not at all, sums, a mean that moves; ζ, σ or H understated; terms left out; α above the caps."""
    local = {"period": 3, "opt_states_at_averaging": "kept"}
    gossip = {"period": 1, "mixing": instances.lazy, "combine_first": False}
    late, never = (
        unit_noise.spread(local, num_workers=4, num_steps=24, plant=bug) for bug in (bugs.one_step_late, bugs.not_mixed)
    )
    skipped = unit_noise.spread(gossip, num_workers=4, num_steps=24, plant=partial(bugs.other_period, period=2))
    averaged = unit_noise.spread(local, num_workers=4, num_steps=24)
    lazy = unit_noise.spread(gossip, num_workers=4, num_steps=24)
    run = mixed_runs.one("rational", network.is_late_average)
    steep = run.with_constants(smoothness=1.01 / run.case.step_size)
    moved = bugs.with_moved_mean("rational")
    late_first = mixed_runs.one("rational", lambda mixed: mixed.combines_first)
    shared = next(mixed_runs.sampled("nonconvex_logistic", parts=instances.DRAWN))
    shorter = averaged._replace(mixed=averaged.mixed._replace(period=2))
    return [
        record.planted(_judge_noise("", late), "mixing one step late"),
        record.planted(_judge_noise("", never), "no mixing"),
        record.planted(_judge_noise("", skipped), "mixing after every second step, where every step is declared"),
        record.planted(_judge_noise("", shorter), "H understated by one"),
        record.planted(_judge_noise("", lazy, zeta_factor=0.8), "ζ understated by a fifth"),
        record.planted(_judge_noise("", averaged, variance=0.95), "σ² understated by a twentieth"),
        record.planted(_judge_spread(run, factor=0.49), "half of the bound on the spread"),
        *(record.planted(one, "the starting point left out") for one in _theorems(run, start=0.0)),
        *(record.planted(one, "α above every cap", expected="skipped") for one in _theorems(steep)),
        *(record.planted(one, "combining before the step", expected="skipped") for one in _judge(late_first)[:1]),
        *(record.planted(one, bug, expected="skipped") for bug, each in moved.items() for one in _judge(each)),
        *(record.planted(one, "W drawn once for all runs", expected="skipped") for one in _judge(shared)),
    ]


def _is_meant(mixed: Mixed) -> bool:
    """One W after the step."""
    return network.zeta(mixed) is not None and not mixed.combines_first


def _drawn(step_size: float) -> Iterator[Run]:
    """Samples, matchings, MATCHA and one peer at a time, drawn in each run by itself."""
    return mixed_runs.sampled("nonconvex_logistic", parts=instances.DRAWN, step_size=step_size, has_own_schedules=True)


def _noises() -> Iterator[tuple[str, Spread]]:
    """Eight workers on noise alone."""
    ring = mixings.around_ring
    torus, star = (mixings.constant(topology) for topology in (topologies.torus(2, 4), topologies.star(8)))
    local, gossip = {"opt_states_at_averaging": "kept"}, {"combine_first": False}
    meant: list[tuple[str, dict[str, Any]]] = [
        *((f"H = {period}, W = J", {"period": period, **local}) for period in (2, 3, 8)),
        *((f"H = {period}, a ring", {"period": period, "mixing": ring, **gossip}) for period in (1, 3)),
        ("H = 2, a torus", {"period": 2, "mixing": torus, **gossip}),
        ("H = 1, a star", {"period": 1, "mixing": star, **gossip}),
        ("H = 2, springs of a = 0.2", {"period": 2, "elasticity": 0.2}),
    ]
    for label, arguments in cases.few(meant, number=1):
        yield label, unit_noise.spread(arguments, num_workers=8, num_steps=NUM_STEPS_OF_NOISE)


def _judge_noise(label: str, found: Spread, *, zeta_factor: float = 1.0, variance: float = 1.0) -> Check:
    """The mean of C_t of noise of variance 1, against (1 - 1/r) N/2."""
    claimed = variance * _noise(found.mixed.period, zeta_factor * found.zeta, found.mixed.mixing.num_rows) / 2
    compare = partial(statistics.at_most, np.array([found.period_mean]), claimed, is_exact=True)
    setting = f"{label}, noise alone, n = {found.num_workers}"
    whole = hypotheses.is_declared("T is a multiple of H", len(found.consensus) % found.mixed.period == 0)
    return record.judge(
        ID,
        "noise alone",
        "tight",
        setting,
        [whole],
        compare,
        seeds=1,
        is_exact=True,
        steps=len(found.consensus),
    )


def _noise(period: int, zeta: float, num_rows: int) -> float:
    """(1 - 1/r) N."""
    return (1 - 1 / num_rows) * network.noise_of(period, zeta)


def _judge(run: Run) -> list[Check]:
    return [_judge_spread(run), *_theorems(run)]


def _judge_spread(run: Run, *, factor: float = 1.0) -> Check:
    assumed = [*run.assumed(), *run.is_identical(), run.comes_together(), run.is_whole()]
    return run.judge(ID, "spread", "upper", assumed, partial(_spread, factor=factor))


def _theorems(run: Run, *, start: float = 1.0) -> list[Check]:
    constants, H, rows = run.case.constants, run.mixed.period, run.mixed.mixing.num_rows
    assumed = [*run.assumed(), *run.is_identical(), run.comes_together(), run.is_whole()]
    assumed.append(hypotheses.is_known(constants, "optimal_value"))
    share, length = run.effective_step_size / run.case.step_size, network.length(run.mixed)
    recalled, proved = "η L + 5 (α L H/(1 - ζ))² <= 1", "η L + 2 (α L k)² <= 1"
    roughly = partial(_theorem, start=start, is_sharp=False, lost=1.0)
    sharply = partial(_theorem, start=start, is_sharp=True, lost=1 - 1 / rows)
    forms = [("theorem, proved", _is_below(run, share, 2 * (length - 1) ** 2, proved), sharply)]
    if network.zeta(run.mixed) is not None:
        forms.append(("theorem, recalled", _is_below(run, share, 5 * length**2, recalled), roughly))
    if network.is_average(run.mixed):
        alone = "α L + α² L² H (H - 1) <= 1"
        forms.append(("theorem, W = J", _is_below(run, 1.0, H * (H - 1), alone), roughly))
    return [run.judge(ID, name, "upper", [*assumed, below], compare) for name, below, compare in forms]


def _is_below(run: Run, share: float, square: float, formula: str) -> Hypothesis:
    """A step size with share · α L + square · (α L)² <= 1."""
    L = run.case.constants.smoothness
    cap = 2 / (L * (share + np.sqrt(share**2 + 4 * square))) if L else None
    return hypotheses.is_below(run.case.step_size, cap, f"the root of {formula}")


def _spread(run: Run, *, factor: float) -> Comparison:
    """The mean of C_t, against noise and what comes of gradients that differ."""
    found, mixed, a = run.case.trajectory, run.mixed, run.case.step_size
    (variance,) = run.case.known("grad_variance")
    k = network.length(mixed) - 1
    rows = mixed.mixing.num_rows
    sums, squares = found.view_slopes.sum(axis=2), norms_sq(found.view_slopes).sum(axis=2)
    apart = (squares - norms_sq(sums) / rows) / run.num_workers
    noise = a**2 * variance * (1 - 1 / rows) * network.noise(mixed)
    claimed = factor * (noise + 2 * a**2 * k**2 * apart.mean(axis=1))
    return statistics.at_most(run.consensus().mean(axis=1), claimed, is_exact=found.is_exact)


def _theorem(run: Run, *, start: float, is_sharp: bool, lost: float) -> Comparison:
    """The mean over t of ‖∇f(x_t)‖², against the error of synchronous SGD and that of the network."""
    found, a, y = run.case.trajectory, run.case.step_size, run.effective_step_size
    L, variance, lowest = run.case.known("smoothness", "grad_variance", "optimal_value")
    last = found.values[:, -1] if is_sharp else lowest
    synchronous = start * 2 * (found.values[:, 0] - last) / (y * found.num_steps) + y * L * variance / run.num_workers
    of_network = a**2 * L**2 * variance * lost * network.noise(run.mixed)
    measured = norms_sq(found.slopes[:, :-1]).mean(axis=1)
    return statistics.at_most(measured, synchronous + of_network, is_exact=found.is_exact)
