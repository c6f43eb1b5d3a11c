"""EC:I12. The polarisation that turns a step along a stale gradient into descent and an error.

Setting
    Any variant and any schedule; a_t = ∇f(x_t), b_t^i = ∇f(v_t^i).

Statement (EC:I12, equality)
    -⟨a_t, b_t^i⟩ = -‖a_t‖²/2 - ‖b_t^i‖²/2 + ‖a_t - b_t^i‖²/2                       for all t and i, in every run.

Why
    ‖a - b‖² = ‖a‖² - 2 ⟨a, b⟩ + ‖b‖². The sharp forms of the non-convex theorems keep the second term, -‖b‖²/2, which
    the paper's drop; the third is where the distance of the view enters, by EC:P2.

Source
    Proved above; the first step of EC:X2, in place of Young's inequality in Nadiradze et al., Elastic Consistency, AAAI
    2021, arXiv 2001.05918.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import cases, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:I12"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting on every path, the defaults also over seeds, for longer.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled(("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    return [_judge(case) for found in (exact, sampled) for case in found]


def control() -> list[Check]:
    """The error of the view left out, or of the wrong sign; gradients of another step."""
    case = next(case for case in cases.exact(("rational",)) if case.trajectory.distances_sq.any())
    later = np.roll(case.trajectory.view_slopes, -1, axis=1)
    return [
        record.planted(_judge(case, error_factor=0.0), "the error of the view left out"),
        record.planted(_judge(case, error_factor=-0.5), "the error of the view subtracted"),
        record.planted(_judge(case, other=later), "gradients of another step on the right"),
    ]


def _judge(case: Case, error_factor: float = 0.5, other: np.ndarray | None = None) -> Check:
    compare = partial(_compare, error_factor=error_factor, other=other)
    return case.judge(ID, "at every view", "equality", [], compare)


def _compare(case: Case, error_factor: float, other: np.ndarray | None) -> Comparison:
    """Both sides; `other` stands for b on the right alone."""
    run = case.trajectory
    a, b = run.slopes[:, :-1, None], run.view_slopes
    product = np.einsum("stkd,stkd->stk", np.broadcast_to(a, b.shape), b)
    right = b if other is None else other
    parts = -norms_sq(a) / 2 - norms_sq(right) / 2 + error_factor * norms_sq(a - right)
    scale = max(norms_sq(a).max(), norms_sq(b).max())
    return statistics.equal(-product, parts, scale=scale, axes=("run", "t", "i"))
