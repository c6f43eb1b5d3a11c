"""EC:P5. In every single run a read of shared memory is within α Σ ‖G‖ of x_t, summed over the last τ writes.

Setting
    Variants whose views lack parts of the last τ writes to a shared memory, and nothing else (`lacks`).

Statement (EC:P5, tight)
    ‖x_t - v_t‖ <= α Σ_{s=t-τ}^{t-1} ‖G_s‖                                          for all t, in every run;
    no expectation, no constant of the problem, and no assumption on what chooses the unseen coordinates. Attained
    where nothing is seen of gradients that are all the same.

Why
    EC:I6, ‖D G‖ <= ‖G‖ for a diagonal D of 0 and 1, and the triangle inequality.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, row of shared memory; proved above.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.identities.unseen_writes import max_delay, writes_are_unseen
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:P5"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with unseen writes.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    names = ("linear", "rational", "quadratic")
    found = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=writes_are_unseen)
    return [_judge(case) for case in found]


def control() -> list[Check]:
    """A write of age τ + 1 is unseen, of gradients that use the bound up."""
    setting, bug = cases.first_setting(writes_are_unseen), "a write of age τ + 1 is unseen"
    case = cases.planted_run(planted.older_reads, setting, "linear", bug=bug)
    return [record.planted(_judge(case), bug)]


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_single(case.trajectory), hypotheses.is_plain(case.trajectory, case.step_size)]
    return case.judge(ID, "in every run", "tight", assumed, _compare)


def _compare(case: Case) -> Comparison:
    """Each run is a place of its own, and there is one of each: nothing is averaged."""
    run = case.trajectory
    sums = np.concatenate([np.zeros((run.num_runs, 1)), np.cumsum(np.sqrt(norms_sq(run.grads[:, :, 0])), axis=1)], 1)
    steps = np.arange(run.num_steps)
    window = sums[:, steps] - sums[:, np.maximum(steps - max_delay(case), 0)]
    distances = np.sqrt(run.distances_sq[:, :, 0])
    return statistics.at_most(
        distances[None], case.step_size * window[None], is_exact=True, scale=run.scale, axes=("run", "t")
    )
