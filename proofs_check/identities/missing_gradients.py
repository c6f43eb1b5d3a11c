"""EC:I2. A stale view lacks exactly the gradients generated since it was read.

Setting
    Variants whose views are late and lack nothing else (`lacks`): the view v_t^i was read s = `staleness` steps
    ago, whole. Single steps (w = 1) and parallel ones (w = 1/n).

Statement (EC:I2, equality)
    x_t - v_t^i = -α Σ_{r=t-s}^{t-1} Σ_j w_r^j G_r^j                                for all t and i, in every
    run.

Why
    v_t^i = x_{t-s}, and EC:I1 at t and at t - s. x_t is summed up from the gradients here, not read from the
    state. A view one step older than declared lacks one step more.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, rows of bounded asynchrony.
    Departure: a worker's own gradients are late to it like those of others, so that all n of a step are
        missing.
"""

from __future__ import annotations

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, lacks, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I2"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with stale reads.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses, is_meant=reads_are_stale)
    return [_judge(case) for case in found]


def control() -> list[Check]:
    """A delay of τ + 1 where τ is declared."""
    setting, bug = cases.first_setting(reads_are_stale), "views one step older than declared"
    case = cases.planted_run(planted.older_views, setting, "rational", bug=bug)
    return [record.planted(_judge(case), bug)]


def reads_are_stale(algorithm: Algorithm) -> bool:
    """Views are global parameters of the past, and differ from x_t for no other reason."""
    return lacks.of(algorithm) == {lacks.LATE}


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    return case.judge(ID, "at every step", "equality", assumed, _compare)


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    generated = run.generated(case.step_size)
    steps = np.arange(run.num_steps)[None, :, None]
    runs = np.arange(run.num_runs)[:, None, None]
    missing = generated[:, :-1, None] - generated[runs, steps - run.staleness]
    return statistics.equal(generated[:, :-1, None] - run.views, missing, scale=run.scale, axes=("run", "t", "i"))
