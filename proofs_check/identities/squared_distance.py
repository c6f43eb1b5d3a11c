"""EC:I13. How one step changes the squared distance to any point.

Setting
    Any variant whose updates are -α G, nothing lost for ever; y = x_0, and y = x* where it is known; any schedule.

Statement (EC:I13, equality)
    ‖x_{t+1} - y‖² = ‖x_t - y‖² - 2 ⟨Δ_t, x_t - y⟩ + ‖Δ_t‖²,  Δ_t = α Σ_i w_t^i G_t^i    for all t, in every run.

Why
    x_{t+1} = x_t - Δ_t, EC:I1, and the square of a sum. The left side is what `global_params` says, the right side is
    formed from the gradients: a step that is not the declared one is noticed.

Source
    The first line of the strongly convex theorems of Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv
    2001.05918.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:I13"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting on every path, and one that loses half of its gradients; the defaults also over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names = ("rational", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses)
    dropping = cases.dropping(names, step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("quadratic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    return [one for found in (exact, dropping, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """A divisor that is not the declared one; the views in the place of x_t; an x* that nobody knows."""
    averaged = next(cases.dropping(("rational",), divisor="present"))
    stale = next(case for case in cases.exact(("rational",)) if case.trajectory.distances_sq.any())
    unknown = averaged._replace(constants=averaged.constants._replace(optimum=None))
    return [
        *(record.planted(one, "divisor |I_t|") for one in _judge(averaged)),
        *(record.planted(one, "the distance to the views on the right") for one in _judge(stale, is_at_views=True)),
        record.planted(_judge(unknown)[1], "an x* that nobody knows", expected="skipped"),
    ]


def _judge(case: Case, is_at_views: bool = False) -> list[Check]:
    plain = hypotheses.is_plain(case.trajectory, case.step_size)
    known = hypotheses.is_known(case.constants, "optimum")
    from_start = partial(_compare, is_optimum=False, is_at_views=is_at_views)
    from_optimum = partial(_compare, is_optimum=True, is_at_views=is_at_views)
    return [
        case.judge(ID, "to x_0", "equality", [plain], from_start),
        case.judge(ID, "to x*", "equality", [plain, known], from_optimum),
    ]


def _compare(case: Case, is_optimum: bool, is_at_views: bool) -> Comparison:
    run = case.trajectory
    offsets = case.optimum_offsets if is_optimum else run.params - run.params[:, :1]
    before = offsets[:, :-1] + (run.views[:, :, 0] - run.params[:, :-1] if is_at_views else 0.0)
    moves = case.step_size * np.einsum("stk,stkd->std", run.weights, run.grads)
    along = np.einsum("std,std->st", moves, before)
    right = norms_sq(before) - 2 * along + norms_sq(moves)
    return statistics.equal(norms_sq(offsets[:, 1:]), right, scale=run.scale**2, axes=("run", "t"))
