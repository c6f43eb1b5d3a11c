"""EC:E12. Rounds in flight: where up to R whole rounds of an all-reduce have not landed, B = R M.

Setting
    Variants whose views are late as a whole and in which all n gradients of a step enter x with weight 1/n: a round in
    flight is missing with all its gradients, the worker's own included. R is the delay that the variant declares.

Statement (EC:E12, tight)
    E‖x_t - v_t^i‖² <= α² R² M²                                                     for all t and i.
    Attained where all gradients are the same. Where each tensor has its own rounds in flight, x - v is made of
    coordinates of the same rounds, and the bound is the same.

Why
    x_t - v_t^i = -α Σ_{s=t-R}^{t-1} P_s ḡ_s with projections P_s, here the identity; ‖P_s ḡ_s‖ <= ‖ḡ_s‖ <= M in L².

Source
    The public code of Nadiradze et al., Elastic Consistency, arXiv 2001.05918, lets up to R rounds be in flight for
    each tensor, without substitution; the bound is proved above.
"""

from __future__ import annotations

from functools import partial

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, planted, record, statistics, tightness, trajectory
from proofs_check.cases import Case
from proofs_check.identities.missing_gradients import reads_are_stale
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E12"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with whole rounds late, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names = ("linear", "rational", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=has_rounds_in_flight)
    hardest = tightness.hardest(has_rounds_in_flight)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_meant=has_rounds_in_flight,
    )
    return [_judge(case) for found in (exact, hardest, sampled) for case in found]


def control() -> list[Check]:
    """One round more in flight than declared, on gradients that use the bound up."""
    found = cases.exact(("linear",), is_meant=has_rounds_in_flight)
    case = min(found, key=lambda case: int(cases.declared(case.algorithm)["delays"].max_delay))
    later = cases.rerun(case, planted.later_delays(case.algorithm), "linear")
    return [record.planted(_judge(later), "R + 1 rounds in flight")]


def has_rounds_in_flight(algorithm: Algorithm) -> bool:
    """Views are whole past parameters, as old as a delay model says, and a step takes all gradients."""
    has_delay = "delays" in cases.declared(algorithm)
    return reads_are_stale(algorithm) and has_delay and cases.takes_all(algorithm)


def _judge(case: Case) -> Check:
    run, rounds = case.trajectory, int(cases.declared(case.algorithm)["delays"].max_delay)
    constants = trajectory.with_exact_moment(case.constants, run)
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_parallel(run, case.algorithm.num_workers, least=1.0),
        hypotheses.is_oblivious(run),
        hypotheses.is_known(constants, "grad_second_moment"),
    ]
    return case.judge(ID, "R M", "tight", assumed, partial(_compare, rounds=rounds))


def _compare(case: Case, rounds: int) -> Comparison:
    run = case.trajectory
    second_moment = trajectory.with_exact_moment(case.constants, run).grad_second_moment
    assert second_moment is not None
    claimed = (case.step_size * rounds) ** 2 * second_moment
    return statistics.at_most(run.distances_sq, claimed, is_exact=run.is_exact)
