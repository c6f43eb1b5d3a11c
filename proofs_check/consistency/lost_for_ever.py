"""EC:E14. Biased compression without error feedback: consistent with what is stored, and a floor that stays.

Setting
    Variants whose views lack parts of the last τ writes to a shared memory, and nothing else (`lacks`), and whose
    compressor loses a fraction γ for ever; κ its norm, E‖C(w)‖² <= κ² ‖w‖². One gradient a step. x_t is the stored
    memory, x_{t+1} = x_t - α Q_t with Q_t = C(-α G_t) / (-α); r_t = E[G_t - Q_t | past] is the bias.

Statement (EC:E14)
    stored iterate (upper): E‖x_t - v_t‖² <= α² κ² τ² M²                            for all t,
    floor (upper):
        (1/T) Σ E‖∇f(x_t)‖² <= 2 (f(x_0) - E f(x_T)) / (α T) + 2 α² L² κ² τ² M² + 2 (1/T) Σ E‖r_t‖² + α L κ² M²,
    floor 2 γ M² (upper): the same with γ M² for the mean of E‖r_t‖²; no step size takes it away.
    growth (lower): with y_t = x_0 - α Σ_{s<t} G_s, the sequence of full gradients, where all gradients are the same g
        and what is lost of them is orthogonal to what is sent,
        ‖y_t - v_t‖² >= α² t² ‖g - Q‖²: with respect to y there is no B, elastic consistency fails.

Why
    Stored: EC:I6 with writes -α Q_s, ‖Q_s‖ <= κ ‖G_s‖ in L². Floor: the descent lemma, -⟨a, b⟩ <= -‖a‖²/2 + ‖a - b‖²/2
    with a = ∇f(x_t) and b = E[Q_t | past] = ∇f(v_t) - r_t, ‖a - b‖² <= 2 L² ‖x_t - v_t‖² + 2 ‖r_t‖², and
    E‖Q_t‖² <= κ² M². Growth: y_t - x_t = -α t (g - Q), and x_t - v_t consists of parts of Q alone.

Source
    Nadiradze et al., Elastic Consistency, arXiv 2001.05918, whose first versions ask whether error feedback helps
    asynchronous sparsified SGD; proved above. Compare EC:E9: error feedback removes the floor and raises the constant.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from elastic_jax import compressors
from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, record, statistics, trajectory
from proofs_check.cases import Case
from proofs_check.identities.unseen_writes import max_delay, writes_are_unseen
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:E14"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with unseen writes and a compressor that loses something for ever.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
    """
    names = ("linear", "rational", "quadratic")
    found = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=loses_for_ever)
    return [one for case in found for one in _judge(case)]


def control() -> list[Check]:
    """The floor forgotten; growth claimed with the bias doubled."""
    case = next(cases.exact(("linear",), is_meant=loses_for_ever))
    return [
        record.planted(_floor(case, bias=0.0), "bias of the compressor forgotten"),
        record.planted(_growth(case, factor=4.0), "bias of the compressor doubled"),
    ]


def loses_for_ever(algorithm: Algorithm) -> bool:
    """Views lack parts of the last writes alone, and writes are compressed without a memory."""
    if not writes_are_unseen(algorithm):
        return False
    lost = compressors.residual_fraction(cases.declared(algorithm)["compressor"], np.zeros(2))
    return lost is None or lost > 0


def _factors(case: Case) -> tuple[float | None, float | None]:
    compressor, params = cases.declared(case.algorithm)["compressor"], case.trajectory.params[0, 0]
    return compressors.residual_fraction(compressor, params), compressors.norm_factor(compressor, params)


def _assumed(case: Case) -> list[Hypothesis]:
    run = case.trajectory
    moves = np.abs(np.diff(run.params, axis=1) - run.updates[:, :, 0]).max()
    lost, norm = _factors(case)
    return [
        hypotheses.is_single(run),
        Hypothesis("x moves by updates", bool(moves <= statistics.ROUNDING * run.scale), f"residual {moves:.1e}"),
        hypotheses.is_known(trajectory.with_exact_moment(case.constants, run), "grad_second_moment", "smoothness"),
        hypotheses.is_declared("factors known", lost is not None and norm is not None, f"γ = {lost}, κ = {norm}"),
    ]


def _judge(case: Case) -> list[Check]:
    lost, second_moment = _factors(case)[0], trajectory.with_exact_moment(case.constants, case.trajectory)
    moment = second_moment.grad_second_moment
    largest_bias = None if lost is None or moment is None else lost * moment
    return [
        case.judge(ID, "stored iterate κ τ M", "upper", _assumed(case), _stored),
        _floor(case, bias=None),
        _floor(case, bias=largest_bias, name="floor 2 γ M²"),
        _growth(case),
    ]


def _floor(case: Case, *, bias: float | None, name: str = "floor") -> Check:
    unbiased = [hypotheses.is_unbiased(case.trajectory), hypotheses.is_homogeneous(case.constants)]
    return case.judge(ID, name, "upper", [*_assumed(case), *unbiased], partial(_descend, bias=bias))


def _growth(case: Case, factor: float = 1.0) -> Check:
    """`factor` scales ‖g - Q‖²."""
    run, sent = case.trajectory, case.trajectory.updates / -case.step_size
    is_constant = bool(np.all(run.grads == run.grads[:1, :1]) and np.all(sent == sent[:1, :1]))
    product = float(np.abs(np.einsum("stkd,stkd->st", run.grads - sent, sent)).max())
    assumed = [
        *_assumed(case),
        Hypothesis("constant gradients", is_constant, "all gradients, and all that is sent, are the same"),
        Hypothesis("orthogonal loss", product <= statistics.ROUNDING, f"largest product {product:.1e}"),
    ]
    return case.judge(ID, "growth of ‖y - v‖", "lower", assumed, partial(_grow, factor=factor))


def _stored(case: Case) -> Comparison:
    run = case.trajectory
    claimed = (case.step_size * _norm(case) * max_delay(case)) ** 2 * _second_moment(case)
    return statistics.at_most(run.distances_sq, claimed, is_exact=run.is_exact)


def _descend(case: Case, bias: float | None) -> Comparison:
    """`bias` stands for the mean of E‖r_t‖²; measured if None."""
    run, a = case.trajectory, case.step_size
    (L,) = case.known("smoothness")
    norm_sq = _norm(case) ** 2 * _second_moment(case)
    gain = 2 * (run.values[:, 0] - run.values[:, -1]) / (a * run.num_steps)
    late = 2 * a**2 * L**2 * max_delay(case) ** 2 * norm_sq
    bias = _mean_bias_sq(case) if bias is None else bias
    claimed = gain + late + 2 * bias + a * L * norm_sq
    return statistics.at_most(norms_sq(run.slopes[:, :-1]).mean(axis=1), claimed, is_exact=run.is_exact)


def _mean_bias_sq(case: Case) -> float:
    """(1/T) Σ E‖r_t‖²: the mean over the coins of a step, for each past, squared and averaged."""
    run = case.trajectory
    lost = (run.grads + run.updates / case.step_size)[:, :, 0]
    num_sides = round(run.num_runs ** (1 / run.num_steps))
    conditional = [lost[:, t].reshape(num_sides**t, -1, lost.shape[-1]).mean(axis=1) for t in range(run.num_steps)]
    return float(np.mean([norms_sq(each).mean() for each in conditional]))


def _grow(case: Case, factor: float) -> Comparison:
    """A lower bound is an upper one of minus both sides; what is told is the claim as a fraction of the distance."""
    run = case.trajectory
    full = run.params[:, :1] - case.step_size * np.cumsum(run.grads[:, :, 0], axis=1)
    full = np.concatenate([run.params[:, :1], full[:, :-1]], axis=1)
    distances = norms_sq(full - run.views[:, :, 0])
    lost = norms_sq(run.grads + run.updates / case.step_size)[:, :1, 0]
    claimed = factor * (case.step_size * np.arange(run.num_steps)[None]) ** 2 * lost
    found = statistics.at_most(claimed, distances, is_exact=run.is_exact, axes=("t",))
    return found._replace(measured=found.claimed, claimed=found.measured)


def _norm(case: Case) -> float:
    norm = _factors(case)[1]
    assert norm is not None
    return norm


def _second_moment(case: Case) -> float:
    second_moment = trajectory.with_exact_moment(case.constants, case.trajectory).grad_second_moment
    assert second_moment is not None
    return second_moment
