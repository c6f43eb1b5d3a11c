"""EC:E6. Asynchronous messages some of which are lost: K = (n - 1) τ + f are missing at most.

Setting
    Variants whose messages are up to τ steps late, and of which every receiver loses at most f for ever, plain SGD, by
    a schedule that looks at no sample.

Statement (EC:E6)
    K M/n (tight):       E‖x_t - v_t^i‖² <= α² (K/n)² M²                            for all t and i,
    2 K M/n, 1.5 σ K/n and 3 σ K/n (upper): with substitution, as EC:E1 with this K.
    The first is attained where all gradients are the same, once f messages are lost.

Why
    As EC:E1, with the f messages that are lost added to those on their way.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the rows of asynchrony and of message drops of
    Table 1, put together; proved above.
"""

from __future__ import annotations

from proofs_check import cases, missing_messages, record, tightness
from proofs_check.consistency import lost_messages
from proofs_check.consistency.late_messages import are_late_and_lost
from proofs_check.record import Check

ID = "EC:E6"

MAX_TOSSES = 12
"""Two workers: six steps, in which two messages are lost and others late."""


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with late and lost messages, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names = ("linear", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=are_late_and_lost)
    hardest = tightness.hardest(are_late_and_lost)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_default=False,
        is_meant=are_late_and_lost,
    )
    return [
        one
        for found in (exact, hardest, sampled)
        for case in found
        for one in lost_messages.judge(case, ID, missing_messages.most(case.algorithm))
    ]


def control() -> list[Check]:
    """The messages that are lost for ever not counted, where the bound is attained."""
    case = next(cases.exact(("linear",), max_tosses=MAX_TOSSES, is_meant=are_late_and_lost))
    most = missing_messages.most(case.algorithm)
    assert most is not None
    without = most - cases.declared(case.algorithm)["max_lost"]
    return [record.planted(lost_messages.judge(case, ID, without)[0], "lost messages not counted")]
