"""EC:I3. With substitution, a view lacks differences of gradients: what is missing minus what stands in for it.

Setting
    Variants whose workers use their own updates in the place of messages that crashes, drops, delays or barriers keep
    from them (`substitute`), plain SGD. Miss_t^i are the messages (s, j) that i lacks in step t, worked out from the
    recorded schedule alone (`missing_messages`): those that are on their way, and those lost for ever.

Statement (EC:I3, equality)
    x_t - v_t^i = -(α/n) Σ_{(s,j) in Miss_t^i} (G_s^j - G_s^i)          for all t and living i, in every run.

Why
    A gradient that i misses is in x_t; in v_t^i the own gradient of the same step stands for it, once for each missing
    one, and vanishes when the real one comes.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the variance-bounded forms of Table 1; proved
    above.
"""

from __future__ import annotations

from proofs_check import cases, hypotheses, missing_messages, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I3"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = 9,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with substitution: three workers over all paths, four over seeds and for longer.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    meant = missing_messages.is_substituted
    exact = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses, num_workers=3, is_meant=meant)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_default=False,
        is_meant=meant,
    )
    return [_judge(case) for found in (exact, sampled) for case in found]


def control() -> list[Check]:
    """In each setting, stand-ins that are not accounted for: the missing gradients alone."""
    found = cases.exact(("rational",), max_tosses=9, num_workers=3, is_meant=missing_messages.is_substituted)
    return [
        record.planted(
            case.judge(ID, "at every step", "equality", [], _compare_without), f"{case.setting}: stand-ins left out"
        )
        for case in found
    ]


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    return case.judge(ID, "at every step", "equality", assumed, _compare)


def _compare(case: Case, is_substituted: bool = True) -> Comparison:
    run = case.trajectory
    lacking = run.generated(case.step_size)[:, :-1, None] - run.views
    updates = -case.step_size * run.grads
    missed = missing_messages.total(missing_messages.of(case), updates, is_substituted=is_substituted)
    return statistics.equal(lacking, missed, scale=run.scale, axes=("run", "t", "i"))


def _compare_without(case: Case) -> Comparison:
    return _compare(case, is_substituted=False)
