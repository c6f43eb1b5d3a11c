"""EC:E7. Compression with error feedback: the memories stay within α b(γ) M.

Setting
    Synchronous variants with error feedback and a contraction, ‖C(w) - w‖² <= γ ‖w‖², γ = 1 - δ the fraction
    lost.

Statement (EC:E7)
    transient (tight):  E‖x_t - v_t^i‖² <= α² M² (√γ (1 - γ^{t/2}) / (1 - √γ))²     for all t and i,
    b(γ) M (upper):     E‖x_t - v_t^i‖² <= α² M² b(γ)²,  b(γ) = √γ / (1 - √γ),
    paper (upper):      E‖x_t - v_t^i‖² <= α² M² (2 - γ) γ / (1 - γ)³.
    The transient is attained at t = 1 by top-k on gradients whose entries are all equal.

Why
    EC:I7, and in L² by Minkowski's inequality ‖e_{t+1}‖ <= √γ ‖e_t - α G_t‖ <= √γ (‖e_t‖ + α M), e_0 = 0: a
    geometric sum. The paper takes Young's inequality with weight 1 - γ instead of Minkowski's. The two
    constants touch at γ = ((√5 - 1) / 2)², elsewhere b(γ) is smaller; towards γ = 1 it grows like 2 / (1 -
    γ).

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, row of compression with error
    feedback, for the paper's form; the other two are sharper and proved above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from elastic_jax import compressors
from proofs_check import cases, hypotheses, record, statistics, tightness, trajectory
from proofs_check.cases import Case
from proofs_check.identities.unsent_memory import has_error_feedback
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E7"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every synchronous setting with error feedback, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(
        ("linear", "rational", "quadratic"),
        step_size=step_size,
        max_tosses=max_tosses,
        is_meant=has_error_feedback,
    )
    hardest = tightness.hardest(has_error_feedback)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_default=False,
        is_meant=has_error_feedback,
    )
    return [one for found in (exact, hardest, sampled) for case in found for one in _judge(case, _lost(case))]


def control() -> list[Check]:
    """The fraction lost γ understated; and mistaken for the fraction kept δ = 1 - γ."""
    case = next(cases.exact(("linear",), is_meant=has_error_feedback))
    lost = _lost(case)
    assert lost is not None
    bugs = {"γ understated by a tenth": 0.9 * lost, "γ mistaken for the fraction kept": 1 - lost}
    return [record.planted(_judge(case, wrong)[0], bug) for bug, wrong in bugs.items()]


def minkowski_constant(lost: float) -> float:
    """b(γ) = √γ / (1 - √γ)."""
    return lost**0.5 / (1 - lost**0.5)


def paper_constant(lost: float) -> float:
    """√((2 - γ) γ / (1 - γ)³)."""
    return ((2 - lost) * lost / (1 - lost) ** 3) ** 0.5


def _lost(case: Case) -> float | None:
    compressor = cases.declared(case.algorithm)["compressor"]
    return compressors.residual_fraction(compressor, case.trajectory.params[0, 0])


def _judge(case: Case, lost: float | None) -> list[Check]:
    run = case.trajectory
    constants = trajectory.with_exact_moment(case.constants, run)
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_oblivious(run),
        hypotheses.is_known(constants, "grad_second_moment"),
        hypotheses.is_declared("contraction", lost is not None and lost < 1, f"γ = {lost}"),
    ]
    forms = {
        ("transient b(γ) M", "tight"): _transient,
        ("b(γ) M", "upper"): _uniform,
        ("paper", "upper"): _paper,
    }
    return [
        case.judge(ID, name, kind, assumed, partial(_compare, form=form, lost=lost))
        for (name, kind), form in forms.items()
    ]


def _transient(lost: float, steps: np.ndarray) -> np.ndarray:
    return minkowski_constant(lost) * (1 - lost ** (steps / 2))


def _uniform(lost: float, steps: np.ndarray) -> np.ndarray:
    return np.full(steps.shape, minkowski_constant(lost))


def _paper(lost: float, steps: np.ndarray) -> np.ndarray:
    return np.full(steps.shape, paper_constant(lost))


def _compare(case: Case, form: Callable[[float, np.ndarray], np.ndarray], lost: float | None) -> Comparison:
    run = case.trajectory
    second_moment = trajectory.with_exact_moment(case.constants, run).grad_second_moment
    assert second_moment is not None
    assert lost is not None
    constants = form(lost, np.arange(run.num_steps, dtype=np.float64))
    claimed = case.step_size**2 * second_moment * constants[None, :, None] ** 2
    return statistics.at_most(run.distances_sq, np.broadcast_to(claimed, run.distances_sq.shape), is_exact=run.is_exact)
