"""EC:X1. Every variant keeps the bound that it declares.

Setting
    Any variant, plain SGD, schedule oblivious to the samples, identical workers. M² is the bound of the
    objective over all of space, or the exact second moment of the run where expectations are exact and no
    such bound exists.

Statement (EC:X1, upper)
    E‖x_t - v_t^i‖² <= `consistency_bound(constants, params)`                       for all t and i.
    Where the bound is an average over a random schedule (E[s²] of a clock) it holds for that average, and not
    for each
    schedule: such settings are skipped; their bound for the schedule at hand is EC:E2.

Why
    Each variant's docstring says.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Definition of elastic consistency and
    Table 1.
"""

from __future__ import annotations

from functools import partial

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:X1"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting over all paths; the defaults also over seeds, for longer.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(("rational", "linear", "quadratic"), step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    return [_judge(case) for found in (exact, sampled) for case in found]


def control() -> list[Check]:
    """The bound of the setting that uses it up, understated by a tenth."""
    tightest = max(cases.exact(("linear",)), key=_ratio)
    return [record.planted(_judge(tightest, factor=0.9), "bound understated by a tenth")]


def _ratio(case: Case) -> float:
    return _judge(case).ratio or 0.0


def _judge(case: Case, factor: float = 1.0) -> Check:
    run = case.trajectory
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_oblivious(run),
        hypotheses.is_homogeneous(case.constants),
        case.has_bound(),
    ]
    return case.judge(ID, "at every step", "upper", assumed, partial(_compare, factor=factor))


def _compare(case: Case, factor: float) -> Comparison:
    run = case.trajectory
    claimed = factor * case.step_size**2 * case.known_constant_sq
    return statistics.at_most(run.distances_sq, claimed, is_exact=run.is_exact)
