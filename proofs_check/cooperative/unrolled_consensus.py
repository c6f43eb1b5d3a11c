"""CO:I2. How far apart rows are is what was generated and not yet mixed.

Setting
    Variants whose arguments say by which matrices W_t their n + v rows are mixed (`mixed`), plain SGD, each W_t doubly
    stochastic, all rows equal at the start. L_t = W_t where updates are mixed at once, I where combining comes first.

Statement (CO:I2, equality)
    (I - J) X_t = -α Σ_{s<t} (I - J) W_{t-1} ... W_{s+1} L_s [G_s; 0]                       for all t, in every run.

Why
    Induction over X_{t+1} = W_t X_t - α L_t [G_t; 0], with (I - J) X_0 = 0 and (I - J) W_t = W_t (I - J). The matrices
    are drawn again from the key of the schedule; the left side is the state of the algorithm.

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, the proof of theorem 1; proved above.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, mixed, record, statistics
from proofs_check.cases import Case
from proofs_check.cooperative import planted, runs
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CO:I2"


def check(*, step_size: float = cases.STEP_SIZE) -> list[Check]:
    """Every variant with mixed rows, on gradients that are not linear.

    Args:
        step_size: α > 0.
    """
    return [_judge(case) for case in runs.pathwise(step_size=step_size)]


def control() -> list[Check]:
    """Mixing one step late, in every step, or by another matrix; a sum; an anchor drawn to moved workers."""
    found = {
        "mixing one step late": runs.with_bug(planted.late_mixing, is_meant=runs.waits),
        "averaging every step": runs.with_bug(planted.mixing_every_step, is_meant=runs.waits),
        "rows are multiplied by n where they are mixed": runs.with_bug(planted.summing, is_meant=runs.is_gossip),
        "rows of W sum to 1, columns do not": runs.with_bug(planted.from_the_first, is_meant=runs.has_mixing),
        "the anchor is drawn to workers that have moved already": runs.with_bug(
            planted.moved_anchor, is_meant=runs.has_springs
        ),
    }
    return [record.planted(_judge(case), bug) for bug, case in found.items()]


def _judge(case: Case) -> Check:
    assumed = [
        hypotheses.is_plain(case.trajectory, case.step_size),
        mixed.is_doubly_stochastic(case),
        mixed.starts_equal(case),
    ]
    return case.judge(ID, "at every step", "equality", assumed, _compare)


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    mixing, of_updates, grads = mixed.matrices(case), mixed.of_updates(case), mixed.grads(run)
    generated = np.zeros_like(grads)
    for t in range(1, run.num_steps):
        # the products of all W so far stand in the sum, one more factor a step
        added = np.einsum("ij,sjd->sid", of_updates[t - 1], grads[:, t - 1])
        generated[:, t] = np.einsum("ij,sjd->sid", mixing[t - 1], generated[:, t - 1]) + added
    claimed = -case.step_size * mixed.apart(generated)
    return statistics.equal(mixed.apart(mixed.rows(run)), claimed, scale=run.scale, axes=("run", "t", "i"))
