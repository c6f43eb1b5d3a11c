"""CO:T4. Averaging of all now and then, or of neighbours in every step: which network error is smaller.

Setting
    Local SGD with period H, and gossip with one symmetric W after every step, ζ = ‖W - J‖₂, on n workers with identical
    data; N(H, ζ) = H (1 + ζ²)/(1 - ζ²) - 1 of CO:T2, so that their network errors are α² L² σ² times N(H, 0) = H - 1
    and N(1, ζ) = 2 ζ²/(1 - ζ²). Noise alone: f constant, C = (1/n) E‖(I - J) X‖², the mean of a period; λ_2, ..., λ_n
    are the eigenvalues of W but the 1 of the mean. α = σ = 1.

Statement (CO:T4)
    crossing (equality):      N(H, 0) = N(1, ζ) at ζ² = (H - 1)/(H + 1),
    criterion (upper):        N(H, 0) <= N(1, ζ) for ζ² above that, and N(1, ζ) <= N(H, 0) below,
    floors (equality):        C = (1 - 1/n) (H - 1)/2 of local SGD, and C = (1/n) Σ_k λ_k²/(1 - λ_k²) of gossip at last,
    floors, all modes alike (upper):  with all |λ_k| = ζ the floors are ordered as the criterion says,
    floors, below (upper):    with any W, gossip has the lower floor if ζ² <= (H - 1)/(H + 1),
    floors, above (upper):    with ζ² > (H - 1)/(H + 1) gossip has the lower floor all the same, if the mean of the
                              λ_k²/(1 - λ_k²) over k >= 2 is below (H - 1)/2: a ring of 8 for H = 3,
    mean on quadratics (equality):  x_t is the same in both, in every run, so that E‖∇f(x_t)‖² and E f(x_t) are, too.
    So the criterion compares bounds. Of the spread on noise it tells the truth where all modes are alike; elsewhere
    one direction is left, since ζ stands for the slowest mode and the floor has the mean of all. Of x_t on identical
    quadratics it tells nothing.

Why
    H - 1 = 2 ζ²/(1 - ζ²), solved for ζ², is the crossing, and the right side grows with ζ². Floors: j noises after j
    steps of a period, and λ² + λ⁴ + ... in a mode. The mean of λ²/(1 - λ²) over modes is at most ζ²/(1 - ζ²), and is
    equal to it where all are alike. On a quadratic the mean gradient of the workers is the gradient at their mean.

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, compares the two; the criterion follows from its bound,
    and what becomes of it on the floors is computed above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from elastic_jax import mixings, topologies
from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cooperative_rates import bugs, instances, mixed_runs, network, unit_noise
from proofs_check.cooperative_rates.network import noise_of
from proofs_check.cooperative_rates.unit_noise import Spread
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison

ID = "CO:T4"

NUM_WORKERS = 8
NUM_STEPS = 60
"""A multiple of all periods here, after which no mode below 0.82 moves by more than rounding."""

PERIODS = (2, 3, 5)
SHARES = (0.4, 0.6, 0.75)
"""ζ of lazy averages, on both sides of √((H - 1)/(H + 1)) = 0.58, 0.71, 0.82."""


def check(*, num_steps: int = NUM_STEPS, step_size: float = mixed_runs.STEP_SIZE) -> list[Check]:
    """The formulas; lazy averages, a ring and a torus against three periods; the mean on quadratics.

    Args:
        num_steps: T of the runs on noise alone.
        step_size: α > 0 of the runs on quadratics.
    """
    local = {period: _local(period, num_steps) for period in cases.few(PERIODS, number=1)}
    lazy = {f"lazy, ζ = {share}": _gossip(_lazy(share), num_steps) for share in cases.few(SHARES, number=2)}
    torus = mixings.constant(topologies.torus(2, 4))
    graphs = {"a ring": _gossip(mixings.around_ring, num_steps), "a torus": _gossip(torus, num_steps)}
    return [
        *_formulas(),
        *(_floor(f"averaging, H = {period}", found) for period, found in local.items()),
        *(_floor(label, found) for label, found in {**lazy, **graphs}.items()),
        *(_alike(label, found, other) for label, found in lazy.items() for other in local.values()),
        *(_below(label, found, other) for label, found in {**lazy, **graphs}.items() for other in local.values()),
        *(_above(label, found, other) for label, found in graphs.items() for other in local.values()),
        *_means(step_size),
    ]


def control() -> list[Check]:
    """H for H - 1; mixing too often, too seldom or late; one mode for all; an objective that is no quadratic."""
    planted: dict[str, Callable[[Any], Any]] = {
        "averaging after every step, where a period is declared": partial(bugs.other_period, period=1),
        "averaging one step late": bugs.one_step_late,
        "no averaging": bugs.not_mixed,
    }
    ring = _gossip(mixings.around_ring, NUM_STEPS)
    seldom = _gossip(_lazy(0.6), NUM_STEPS, plant=partial(bugs.other_period, period=2))
    quick, slow = _gossip(_lazy(0.4), NUM_STEPS), _gossip(_lazy(0.75), NUM_STEPS)
    swapped = quick._replace(mixed=slow.mixed)
    return [
        *(record.planted(one, "H for H - 1") for one in _formulas(extra=1)),
        *(record.planted(_floor("", _local(3, NUM_STEPS, plant=bug)), name) for name, bug in planted.items()),
        record.planted(_floor("", seldom), "gossip in every second step, where every step is declared"),
        record.planted(_floor("", ring, is_slowest=True), "ζ for every mode of a ring"),
        record.planted(_alike("", swapped, _local(3, NUM_STEPS)), "ζ overstated"),
        record.planted(_below("", slow._replace(mixed=quick.mixed), _local(3, NUM_STEPS)), "ζ understated"),
        record.planted(_above("", slow, _local(2, NUM_STEPS)), "modes that are all alike", expected="skipped"),
        record.planted(_below("", ring, _local(3, NUM_STEPS)), "a ring that mixes too slowly", expected="skipped"),
        *(record.planted(one, "no quadratic") for one in _means(mixed_runs.STEP_SIZE, ("log_cosh",))),
    ]


def _lazy(share: float) -> Callable[[int], mixings.Mixing]:
    return partial(instances.lazy, share=share)


def _local(period: int, num_steps: int, **bug: Any) -> Spread:
    given = {"period": period, "opt_states_at_averaging": "kept"}
    return unit_noise.spread(given, num_workers=NUM_WORKERS, num_steps=num_steps, **bug)


def _gossip(mixing: Any, num_steps: int, **bug: Any) -> Spread:
    given = {"period": 1, "mixing": mixing, "combine_first": False}
    return unit_noise.spread(given, num_workers=NUM_WORKERS, num_steps=num_steps, **bug)


def _formulas(*, extra: int = 0) -> list[Check]:
    """The criterion on the formulas of CO:T2, for H up to 50."""
    H = np.arange(2, 51)[:, None]
    crossing = (H - 1) / (H + 1)
    zeta_sq = np.linspace(0.0, 0.99, 100)[None]
    formula = np.vectorize(noise_of)
    averaged, gossiped = np.broadcast_arrays(formula(H + extra, 0.0), formula(1, np.sqrt(zeta_sq)))
    is_above = zeta_sq > crossing
    less, more = np.where(is_above, averaged, gossiped), np.where(is_above, gossiped, averaged)
    same = partial(statistics.equal, formula(H + extra, 0.0), formula(1, np.sqrt(crossing)), axes=("H",))
    ordered = partial(statistics.at_most, less[None], more[None], is_exact=True, axes=("H", "ζ"))
    return [
        _record("crossing", "equality", "the formulas, H = 2 to 50", [], same),
        _record("criterion", "upper", "the formulas, H = 2 to 50", [], ordered),
    ]


def _floor(label: str, found: Spread, *, is_slowest: bool = False) -> Check:
    """The mean of C over all periods of averaging, or at the end of gossip, against what it is said to be."""
    n, measured = found.num_workers, np.array([found.last_period_mean])
    if network.is_average(found.mixed):
        claimed, measured = (1 - 1 / n) * (found.mixed.period - 1) / 2, np.array([found.period_mean])
    else:
        modes = unit_noise.modes_sq(found.mixed)
        modes = np.full(n - 1, modes.max()) if is_slowest else modes
        claimed = float((modes / (1 - modes)).sum() / n)
    return _record("floors", "equality", label, [], partial(statistics.equal, measured, np.array([claimed])))


def _crossing(other: Spread) -> float:
    """(H - 1)/(H + 1)."""
    return (other.mixed.period - 1) / (other.mixed.period + 1)


def _alike(label: str, found: Spread, other: Spread) -> Check:
    modes = unit_noise.modes_sq(found.mixed)
    alike = hypotheses.is_declared("all modes alike", bool(np.ptp(modes) < 1e-9), f"λ² from {modes.min():.3g}")
    pair = (other, found) if found.zeta**2 > _crossing(other) else (found, other)
    return _compare("floors, all modes alike", f"{label}, H = {other.mixed.period}", [alike], *pair)


def _below(label: str, found: Spread, other: Spread) -> Check:
    quick = hypotheses.is_declared("ζ² <= (H - 1)/(H + 1)", found.zeta**2 <= _crossing(other), f"ζ = {found.zeta:.3g}")
    return _compare("floors, below", f"{label}, H = {other.mixed.period}", [quick], found, other)


def _above(label: str, found: Spread, other: Spread) -> Check:
    slow = hypotheses.is_declared("ζ² > (H - 1)/(H + 1)", found.zeta**2 > _crossing(other), f"ζ = {found.zeta:.3g}")
    modes = unit_noise.modes_sq(found.mixed)
    few = hypotheses.is_declared(
        "the mean of λ²/(1 - λ²) is below (H - 1)/2",
        float((modes / (1 - modes)).mean()) < (other.mixed.period - 1) / 2,
    )
    return _compare("floors, above", f"{label}, H = {other.mixed.period}", [slow, few], found, other)


def _compare(name: str, setting: str, assumed: list[Hypothesis], less: Spread, more: Spread) -> Check:
    """The floor of one, against that of the other."""
    compare = partial(statistics.at_most, np.array([less.last_period_mean]), more.last_period_mean, is_exact=True)
    return _record(name, "upper", f"{setting}, noise alone", assumed, compare)


def _means(step_size: float, names: tuple[str, ...] = ("quadratic", "isotropic")) -> Iterator[Check]:
    """X_t of gossip, against that of averaging, with the same coins."""
    for name in names:
        local = mixed_runs.one(name, network.is_late_average, step_size=step_size)
        gossip = mixed_runs.one(name, network.is_sparse, step_size=step_size)
        left, right = gossip.case.trajectory.params, local.case.trajectory.params
        same = partial(statistics.equal, left, right, axes=("s", "t", "d"))
        yield _record("mean on quadratics", "equality", f"two workers on {name}, all paths", [], same)


def _record(name: str, kind: str, setting: str, assumed: list[Hypothesis], compare: Callable[[], Comparison]) -> Check:
    return record.judge(ID, name, kind, setting, assumed, compare, seeds=1, is_exact=True, steps=NUM_STEPS)
