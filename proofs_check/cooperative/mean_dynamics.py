"""CO:I1. Mixing does not move the mean of all rows.

Setting
    Variants whose arguments say by which matrices W_t their n + v rows are mixed (`mixed`): workers, and after them an
    anchor or auxiliary rows without gradients. Plain SGD; each W_t doubly stochastic; any period, either order.

Statement (CO:I1, equality)
    (1/(n + v)) Σ_i x_{t+1}^i = (1/(n + v)) Σ_i x_t^i - (α/(n + v)) Σ_{i < n} G_t^i         for all t, in every run,
    each mixing (equality): the mean of all rows is the same after a mixing without gradients as before it.

Why
    1ᵀ W_t = 1ᵀ: multiply X_{t+1} = W_t (X_t - α [G_t; 0]), or W_t X_t - α [G_t; 0], by 1ᵀ/(n + v) from the left. The
    effective step is α n/(n + v).

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, the update of the averaged model; proved above.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, mixed, record, statistics
from proofs_check.cases import Case
from proofs_check.cooperative import planted, rows, runs
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CO:I1"


def check(*, step_size: float = cases.STEP_SIZE) -> list[Check]:
    """Every variant with mixed rows, on gradients that are not linear.

    Args:
        step_size: α > 0.
    """
    return [one for case in runs.pathwise(step_size=step_size) for one in _judge(case)]


def control() -> list[Check]:
    """A sum in the place of a mean; a W of unequal columns; an anchor drawn to workers that have moved already."""
    summing = runs.with_bug(planted.summing, is_meant=runs.is_average)
    one_sided = runs.with_bug(planted.from_the_first, is_meant=runs.has_mixing)
    moved = runs.with_bug(planted.moved_anchor, is_meant=runs.has_springs)
    return [
        record.planted(one, bug)
        for case, bug in (
            (summing, "workers take the sum instead of the mean"),
            (one_sided, "rows of W sum to 1, columns do not"),
            (moved, "the anchor is drawn to workers that have moved already"),
        )
        for one in _judge(case)
    ]


def _judge(case: Case) -> list[Check]:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size), mixed.is_doubly_stochastic(case)]
    return [
        case.judge(ID, "at every step", "equality", assumed, _compare),
        case.judge(ID, "each mixing", "equality", assumed, _without_grads),
    ]


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    means = mixed.rows(run).mean(axis=2)
    moves = -case.step_size * mixed.grads(run).mean(axis=2)
    return statistics.equal(means[:, 1:], (means + moves)[:, :-1], scale=run.scale, axes=("run", "t"))


def _without_grads(case: Case) -> Comparison:
    start = rows.far_apart(mixed.known(case.algorithm).mixing.num_rows)
    seen = mixed.without_grads(case.algorithm, start, rows.keys(num_runs=4, num_steps=runs.NUM_STEPS))
    means = seen.mean(axis=2)
    return statistics.equal(
        means[:, 1:], np.broadcast_to(means[:, :1], means[:, 1:].shape), scale=np.abs(start).max(), axes=("run", "t")
    )
