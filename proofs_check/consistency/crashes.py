"""EC:E4. Crash faults: after f crashes a view is within α (f/n) M of the global parameters, for ever.

Setting
    Variants whose workers may die (`crashes`), f of n at most in a whole run, plain SGD. With substitution the own
    gradient stands in for one of the dead that was not heard.

Statement (EC:E4), with K = f
    K M/n (tight):       E‖x_t - v_t^i‖² <= α² (f/n)² M²                            for all t and living i,
    2 K M/n (upper):     E‖x_t - v_t^i‖² <= α² (2f/n)² M² with substitution,
    1.5 σ K/n (upper):   E‖x_t - v_t^i‖² <= α² (1.5 f/n)² σ² with substitution, ζ = 0 and α <= n / (6 L f),
    3 σ K/n (upper):     the paper's form of the last.
    The first is attained by one crash that a single survivor hears of, where all gradients are of the same size.

Why
    EC:I4 and EC:I3: at most one message of each dead worker is missing. The rest is the proof of EC:E5.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, the row of crash faults; proved above
    with 1.5 for its 3.
"""

from __future__ import annotations

from proofs_check import cases, missing_messages, record, tightness
from proofs_check.consistency.lost_messages import judge
from proofs_check.record import Check

ID = "EC:E4"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = 9,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with crashes: three workers over all paths, four over seeds and for longer.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run; with fewer than three workers the only survivor lacks nothing.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    meant, names = missing_messages.can_crash, ("linear", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, num_workers=3, is_meant=meant)
    sampled = [
        case
        for is_default in (True, False)
        for case in cases.sampled(
            ("nonconvex_logistic",),
            step_size=step_size,
            num_seeds=num_seeds,
            num_steps=num_steps,
            is_default=is_default,
            is_meant=meant,
        )
    ]
    return [
        one
        for case in [*exact, *tightness.hardest(meant), *sampled]
        for one in judge(case, ID, missing_messages.most(case.algorithm))
    ]


def control() -> list[Check]:
    """The budget f understated by a tenth where the bound is attained."""
    found = cases.exact(("linear",), max_tosses=9, num_workers=3, is_meant=missing_messages.can_crash)
    case = next(case for case in found if missing_messages.of(case).any())
    most = missing_messages.most(case.algorithm)
    assert most is not None
    return [record.planted(judge(case, ID, 0.9 * most)[0], "f understated by a tenth")]
