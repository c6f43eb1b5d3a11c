"""EC:I2. A view lacks exactly the gradients that have not come: those since it was read, or single messages.

Setting
    Variants whose views are late and lack nothing else (`lacks`): the view v_t^i was read s = `staleness` steps
    ago, whole. Single steps (w = 1) and parallel ones (w = 1/n). And variants whose views lack single messages, which
    the recorded schedule tells (`missing_messages`), with nothing standing in for them.

Statement (EC:I2, equality)
    stale reads:      x_t - v_t^i = -α Σ_{r=t-s}^{t-1} Σ_j w_r^j G_r^j              for all t and i, in every run,
    single messages:  x_t - v_t^i = -(α/n) Σ_{(r,j) in Miss_t^i} G_r^j.

Why
    v_t^i = x_{t-s}, and EC:I1 at t and at t - s. x_t is summed up from the gradients here, not read from the
    state. A view one step older than declared lacks one step more, and so does one whose messages are a step later.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, rows of bounded asynchrony.
    Departure: where reads are stale, a worker's own gradients are late to it like those of others.
"""

from __future__ import annotations

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, lacks, missing_messages, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I2"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with stale reads, or with messages that are missing.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses, is_meant=gradients_are_missing)
    return [_judge(case) for case in found]


def control() -> list[Check]:
    """A delay of τ + 1 where τ is declared: of views, and of messages."""
    setting, bug = cases.first_setting(reads_are_stale), "views one step older than declared"
    case = cases.planted_run(planted.older_views, setting, "rational", bug=bug)
    late = next(cases.exact(("rational",), is_meant=missing_messages.can_be_late))
    later = cases.rerun(late, planted.later_delays(late.algorithm), "rational")
    return [record.planted(_judge(case), bug), record.planted(_judge(later), "messages one step later than declared")]


def reads_are_stale(algorithm: Algorithm) -> bool:
    """Views are global parameters of the past, and differ from x_t for no other reason."""
    return lacks.of(algorithm) == {lacks.LATE}


def messages_are_missing(algorithm: Algorithm) -> bool:
    """Views lack whole messages, which are what was generated, and nothing stands in for them."""
    is_plain = not (missing_messages.is_substituted(algorithm) or missing_messages.is_compressed(algorithm))
    return missing_messages.are_known(algorithm) and is_plain


def gradients_are_missing(algorithm: Algorithm) -> bool:
    """One of the two."""
    return reads_are_stale(algorithm) or messages_are_missing(algorithm)


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    if messages_are_missing(case.algorithm):
        return case.judge(ID, "single messages", "equality", assumed, _compare_messages)
    return case.judge(ID, "stale reads", "equality", assumed, _compare)


def _compare_messages(case: Case) -> Comparison:
    run = case.trajectory
    lacking = run.generated(case.step_size)[:, :-1, None] - run.views
    updates = -case.step_size * run.grads
    missed = missing_messages.total(missing_messages.of(case), updates, is_substituted=False)
    return statistics.equal(lacking, missed, scale=run.scale, axes=("run", "t", "i"))


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    generated = run.generated(case.step_size)
    steps = np.arange(run.num_steps)[None, :, None]
    runs = np.arange(run.num_runs)[:, None, None]
    missing = generated[:, :-1, None] - generated[runs, steps - run.staleness]
    return statistics.equal(generated[:, :-1, None] - run.views, missing, scale=run.scale, axes=("run", "t", "i"))
