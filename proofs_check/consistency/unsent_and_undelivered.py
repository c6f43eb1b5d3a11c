"""EC:E8. Late messages with error feedback: what is missing and what is held back add up.

Setting
    Variants whose messages are up to τ steps late and compressed with error feedback by a contraction, nothing standing
    in for them, plain SGD. γ is the fraction lost, b(γ) = √γ / (1 - √γ), κ with E‖C(w)‖² <= κ² ‖w‖², K = (n - 1) τ.

Statement (EC:E8)
    in order (upper):      E‖x_t - v_t^i‖² <= α² (K/n + b)² M²                      for all t and i,
    out of order (upper):  E‖x_t - v_t^i‖² <= α² (κ (1 + b) K/n + b)² M².

Why
    EC:I8 and Minkowski's inequality. In order, of each of the n - 1 others a memory and at most τ updates are lacking,
    ‖e‖ <= b α M and ‖u‖ <= α M, and of the worker itself its memory. By messages, ‖m‖ <= κ ‖e + u‖ <= κ (1 + b) α M.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, rows of asynchrony and of compression
    with error feedback, put together; proved above.
"""

from __future__ import annotations

from functools import partial

from elastic_jax import compressors
from proofs_check import cases, hypotheses, missing_messages, record, statistics, tightness, trajectory
from proofs_check.cases import Case
from proofs_check.consistency.error_feedback import minkowski_constant
from proofs_check.identities.unsent_and_undelivered import remembers_behind_channels
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E8"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with memories behind channels, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names, meant = ("linear", "rational", "quadratic"), remembers_behind_channels
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=meant)
    hardest = tightness.hardest(meant)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_default=False,
        is_meant=meant,
    )
    return [one for found in (exact, hardest, sampled) for case in found for one in _judge(case, 1.0)]


def control() -> list[Check]:
    """The memories left out of the bound, where all gradients are the same."""
    found = [case for case in cases.exact(("linear",), is_meant=remembers_behind_channels) if _is_ordered(case)]
    case = max(found, key=lambda case: missing_messages.most(case.algorithm) or 0)
    return [record.planted(_judge(case, 0.0)[0], "memories left out of the bound")]


def _is_ordered(case: Case) -> bool:
    return bool(cases.declared(case.algorithm)["fifo"])


def _judge(case: Case, memory: float) -> list[Check]:
    """`memory` scales the part of the memories in the constant; 1 as it should be."""
    run, params = case.trajectory, case.trajectory.params[0, 0]
    compressor = cases.declared(case.algorithm)["compressor"]
    lost, gain = compressors.residual_fraction(compressor, params), compressors.norm_factor(compressor, params)
    constants = trajectory.with_exact_moment(case.constants, run)
    most = missing_messages.most(case.algorithm)
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_oblivious(run),
        hypotheses.is_known(constants, "grad_second_moment"),
        hypotheses.is_declared("contraction", lost is not None and lost < 1, f"γ = {lost}"),
        hypotheses.is_declared("a limit K of what is missing", most is not None, f"K = {most}"),
    ]
    ordered = hypotheses.is_declared("channels in order", _is_ordered(case), f"fifo = {_is_ordered(case)}")
    held = memory * minkowski_constant(lost or 0.0)
    missing = (most or 0) / case.algorithm.num_workers
    whole = missing * (gain or 0.0) * (1 + held) + held
    return [
        case.judge(ID, "in order", "upper", [*assumed, ordered], partial(_compare, constant=missing + held)),
        case.judge(ID, "out of order", "upper", assumed, partial(_compare, constant=whole)),
    ]


def _compare(case: Case, constant: float) -> Comparison:
    run = case.trajectory
    second_moment = trajectory.with_exact_moment(case.constants, run).grad_second_moment
    assert second_moment is not None
    claimed = (case.step_size * constant) ** 2 * second_moment
    return statistics.at_most(run.distances_sq, claimed, is_exact=run.is_exact)
