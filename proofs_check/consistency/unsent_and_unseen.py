"""EC:E9. Shared memory, compression and error feedback: each adds to the distance, and n memories add up.

Setting
    Variants whose views lack parts of the last τ writes to a shared memory, and what compression held back, and
    nothing else (`lacks`); a contraction, γ = 1 - δ the fraction lost, of norm κ: E‖C(w)‖² <= κ² ‖w‖².

Statement (EC:E9, upper)
    E‖x_t - v_t‖² <= α² (n b(γ) + τ κ (1 + b(γ)))² M²,  b(γ) = √γ / (1 - √γ)        for all t.
    κ = 1 for top-k and the scaled sign; always κ <= 1 + √γ.

Why
    EC:I9. In L² by Minkowski's inequality: a memory is at most α b(γ) M (as in EC:E7, in the steps of its process
    alone), so that n of them are at most n α b(γ) M; a write is at most κ (α b(γ) M + α M), and D makes it no longer.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, rows of shared memory and of
    compression with error feedback, put together and proved above.
"""

from __future__ import annotations

from functools import partial

from elastic_jax import compressors
from proofs_check import cases, hypotheses, record, statistics, tightness, trajectory
from proofs_check.cases import Case
from proofs_check.consistency.error_feedback import minkowski_constant
from proofs_check.identities.unseen_writes import max_delay
from proofs_check.identities.unsent_and_unseen import has_both
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E9"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with unseen writes and error feedback.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
    """
    found = cases.exact(
        ("linear", "rational", "quadratic"), step_size=step_size, max_tosses=max_tosses, is_meant=has_both
    )
    return [_judge(case, _lost(case)) for case in (*found, *tightness.hardest(has_both))]


def control() -> list[Check]:
    """The memories left out, as if EC:E3 were enough; a compressor that is no contraction."""
    case = next(cases.exact(("linear",), is_meant=has_both))
    return [
        record.planted(_judge(case, 0.0), "memories left out of the bound"),
        record.planted(_judge(case, 1.0), "no contraction", expected="skipped"),
    ]


def _lost(case: Case) -> float | None:
    return compressors.residual_fraction(cases.declared(case.algorithm)["compressor"], case.trajectory.params[0, 0])


def _norm(case: Case) -> float | None:
    return compressors.norm_factor(cases.declared(case.algorithm)["compressor"], case.trajectory.params[0, 0])


def _judge(case: Case, lost: float | None) -> Check:
    run = case.trajectory
    constants = trajectory.with_exact_moment(case.constants, run)
    assumed = [
        hypotheses.is_single(run),
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_known(constants, "grad_second_moment"),
        hypotheses.is_declared("contraction", lost is not None and lost < 1, f"γ = {lost}"),
        hypotheses.is_declared("norm known", _norm(case) is not None, f"κ = {_norm(case)}"),
    ]
    return case.judge(ID, "n b(γ) + τ κ (1 + b(γ))", "upper", assumed, partial(_compare, lost=lost))


def _compare(case: Case, lost: float | None) -> Comparison:
    run = case.trajectory
    second_moment, norm = trajectory.with_exact_moment(case.constants, run).grad_second_moment, _norm(case)
    assert second_moment is not None
    assert lost is not None
    assert norm is not None
    held = minkowski_constant(lost)
    missing = case.algorithm.num_workers * held + max_delay(case) * norm * (1 + held)
    return statistics.at_most(run.distances_sq, (case.step_size * missing) ** 2 * second_moment, is_exact=run.is_exact)
