"""EC:E5. Dropped messages: a view that lacks at most K gradients is within α (K/n) M of the global parameters.

Setting
    Variants whose channels drop messages (`drops`), plain SGD. K is what the variant declares: (n - 1) h where
    what was dropped goes with the next message and at most h in a row are dropped, f with a budget. With substitution a
    worker's own gradients stand in for the missing ones.

Statement (EC:E5)
    K M/n (tight):       E‖x_t - v_t^i‖² <= α² (K/n)² M²                            for all t and i,
    2 K M/n (upper):     E‖x_t - v_t^i‖² <= α² (2K/n)² M² with substitution,
    1.5 σ K/n (upper):   E‖x_t - v_t^i‖² <= α² (1.5 K/n)² σ² with substitution, ζ = 0 and α <= n / (6 L K),
    3 σ K/n (upper):     the paper's form of the last.
    Without a budget and without sending again there is no K, and no bound: it is skipped.

Why
    EC:I5 and EC:I3 with Minkowski's inequality in L². For the last two, with Γ = max E‖x_s - v_s^i‖² / α² over the
    past: gradients of two workers in one step have independent noises, so that E‖G^j - G^i‖² <= 2σ² + 4 L² α² Γ and
    Γ <= (K/n)² (2σ² + 4 L² α² Γ) <= 2 (K/n)² σ² + Γ/9. The paper splits in three: 6σ² + 12 L² α² Γ.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, the row of message drops, where f is
    the number of messages that can be missing; proved above with 1.5 for its 3.
"""

from __future__ import annotations

from functools import partial

from proofs_check import cases, hypotheses, missing_messages, record, statistics, tightness, trajectory
from proofs_check.cases import Case
from proofs_check.identities.pending_messages import loses_for_ever
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E5"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with drops, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    meant = missing_messages.can_drop
    exact = cases.exact(("linear", "quadratic"), step_size=step_size, max_tosses=max_tosses, is_meant=meant)
    hardest = tightness.hardest(meant)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_default=False,
        is_meant=meant,
    )
    return [
        one
        for found in (exact, hardest, sampled)
        for case in found
        for one in judge(case, ID, missing_messages.most(case.algorithm))
    ]


def control() -> list[Check]:
    """K understated by a tenth; messages lost for ever, for which the K of one drop in a row is claimed."""
    linear = list(cases.exact(("linear",), is_meant=missing_messages.can_drop))
    plain = [case for case in linear if not missing_messages.is_substituted(case.algorithm)]
    known = next(case for case in plain if missing_messages.most(case.algorithm) is not None)
    lost = next(case for case in plain if loses_for_ever(case.algorithm))
    most = missing_messages.most(known.algorithm)
    assert most is not None
    return [
        record.planted(judge(known, ID, 0.9 * most)[0], "K understated by a tenth"),
        record.planted(judge(lost, ID, most)[0], "messages lost for ever, without a budget"),
    ]


def judge(case: Case, id: str, most: float | None, *, counts_all: bool = False) -> list[Check]:
    """The forms that are meant for the case.

    Args:
        case: a run.
        id: of the statement.
        most: K; None where there is no limit.
        counts_all: K counts all messages that could be missing, so that which are may depend on what is sent.
    """
    run, constants = case.trajectory, trajectory.with_exact_moment(case.constants, case.trajectory)
    smoothness, n, number = constants.smoothness, case.algorithm.num_workers, most or 0.0
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        *([] if counts_all else [hypotheses.is_oblivious(run)]),
        hypotheses.is_declared("a limit K of what is missing", most is not None, f"K = {most}"),
    ]
    bounded = [*assumed, hypotheses.is_known(constants, "grad_second_moment")]
    if not missing_messages.is_substituted(case.algorithm):
        return [case.judge(id, "K M/n", "tight", bounded, partial(_compare_moment, most=number, factor=1.0))]
    cap = n / (6 * smoothness * most) if smoothness and most else float("inf")
    noisy = [
        *assumed,
        hypotheses.is_known(constants, "grad_variance", "smoothness"),
        hypotheses.is_homogeneous(constants),
        hypotheses.is_below(case.step_size, cap, "n / (6 L K)"),
    ]
    return [
        case.judge(id, "2 K M/n", "upper", bounded, partial(_compare_moment, most=number, factor=2.0)),
        case.judge(id, "1.5 σ K/n", "upper", noisy, partial(_compare_noise, most=number, factor=1.5)),
        case.judge(id, "3 σ K/n (paper)", "upper", noisy, partial(_compare_noise, most=number, factor=3.0)),
    ]


def _compare_moment(case: Case, most: float, factor: float) -> Comparison:
    constants = trajectory.with_exact_moment(case.constants, case.trajectory)
    assert constants.grad_second_moment is not None
    return _compare(case, factor * most, constants.grad_second_moment)


def _compare_noise(case: Case, most: float, factor: float) -> Comparison:
    (variance,) = case.known("grad_variance")
    return _compare(case, factor * most, variance)


def _compare(case: Case, number: float, size_sq: float) -> Comparison:
    run = case.trajectory
    claimed = (case.step_size * number / case.algorithm.num_workers) ** 2 * size_sq
    return statistics.at_most(run.distances_sq, claimed, is_exact=run.is_exact)
