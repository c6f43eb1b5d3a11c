"""EC:E1. Asynchronous messages: at most K = (n - 1) τ gradients are missing, each with weight 1/n.

Setting
    Variants whose messages are up to τ steps late, uncompressed, none of them lost, plain SGD; own gradients are
    in the view at once. With substitution a worker's own gradients stand in for the missing ones. The schedule may look
    at what is sent: all that could be late are counted.

Statement (EC:E1)
    K M/n (tight):       E‖x_t - v_t^i‖² <= α² (K/n)² M²                            for all t and i,
    2 K M/n (upper):     E‖x_t - v_t^i‖² <= α² (2K/n)² M² with substitution,
    1.5 σ K/n (upper):   E‖x_t - v_t^i‖² <= α² (1.5 K/n)² σ² with substitution, ζ = 0 and α <= n / (6 L K),
    3 σ K/n (upper):     the paper's form of the last.
    The first is attained where all gradients are the same.

Why
    As EC:E5: EC:I2 and EC:I3 with Minkowski's inequality in L², over the (n - 1) τ messages of which some are missing.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, the row of bounded asynchrony:
    (n - 1) τ M / n, or O((n - 1) τ σ / n).
"""

from __future__ import annotations

from elastic_jax.base import Algorithm
from proofs_check import cases, missing_messages, planted, record, tightness
from proofs_check.cases import Case
from proofs_check.consistency import lost_messages
from proofs_check.record import Check

ID = "EC:E1"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with late messages, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names = ("linear", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=are_late_alone)
    hardest = tightness.hardest(are_late_alone)
    sampled = cases.sampled(
        ("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=are_late_alone
    )
    return [one for found in (exact, hardest, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """A delay of τ + 1, and one worker more than there are, where the bound is attained."""
    found = list(cases.exact(("linear",), is_meant=are_late_alone))
    case = next(
        case for case in found if missing_messages.most(case.algorithm) == missing_messages.of(case).sum((3, 4)).max()
    )
    most = missing_messages.most(case.algorithm)
    assert most is not None
    later = cases.rerun(case, planted.later_delays(case.algorithm), "linear")
    return [
        record.planted(_judge(later)[0], "messages one step later than declared"),
        record.planted(lost_messages.judge(case, ID, 0.9 * most, counts_all=True)[0], "K understated by a tenth"),
    ]


def are_late_alone(algorithm: Algorithm) -> bool:
    """Messages are late, whole, and none is lost."""
    return _is_whole(algorithm) and cases.declared(algorithm)["drops"].max_consecutive == 0


def are_late_and_lost(algorithm: Algorithm) -> bool:
    """Messages are late, whole, and some are lost."""
    return _is_whole(algorithm) and cases.declared(algorithm)["drops"].max_consecutive != 0


def _is_whole(algorithm: Algorithm) -> bool:
    return missing_messages.can_be_late(algorithm) and not missing_messages.is_compressed(algorithm)


def _judge(case: Case) -> list[Check]:
    return lost_messages.judge(case, ID, missing_messages.most(case.algorithm), counts_all=True)
