"""CO:I3. No step takes rows further apart than the certificate says.

Setting
    Variants whose arguments say by which matrices W_t their n + v rows are mixed (`mixed`), plain SGD, each W_t doubly
    stochastic. z_t = ‖W_t - J‖₂ where a mixing is due and 1 elsewhere; y_t = z_t, or 1 where combining comes first.

Statement (CO:I3, tight)
    ‖(I - J) X_{t+1}‖_F <= z_t ‖(I - J) X_t‖_F + α y_t ‖(I - J) [G_t; 0]‖_F                 for all t, in every run.
    It is an equality where rows that are equal step and mix, and their gradients are all the same.

Why
    (I - J) W_t = (W_t - J)(I - J), and the norm of a product is at most the product of norms. With equal gradients
    (I - J) [G_t; 0] lies in the one mode of workers against auxiliary rows, which an anchor that is drawn to them by
    a >= 2/(n + 2) shrinks least; without auxiliary rows both sides are zero there. With two workers there is one mode.

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, where ζ = ‖W - J‖₂ enters; proved above.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, mixed, record, statistics
from proofs_check import planted as proofs_planted
from proofs_check.cases import Case
from proofs_check.cooperative import planted, runs
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CO:I3"


def check(*, step_size: float = cases.STEP_SIZE) -> list[Check]:
    """Every variant with mixed rows; those with auxiliary rows also where all gradients are the same.

    Args:
        step_size: α > 0.
    """
    same = runs.exact("linear", step_size=step_size, is_meant=runs.has_auxiliary)
    return [one for found in (runs.pathwise(step_size=step_size), same) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """Mixing one step late; what is due left out; rows that grow; ζ understated by a tenth where it is attained."""
    found = {
        "rows are multiplied by n where they are mixed": runs.with_bug(planted.summing, is_meant=runs.is_gossip),
        "mixing one step late": runs.with_bug(planted.late_mixing, is_meant=runs.is_average),
        "what is due is left out": runs.with_bug(planted.never_mixing, is_meant=runs.has_mixing),
    }
    one_sided = runs.with_bug(partial(proofs_planted.scaled_local_params, factor=1.1), is_meant=_waits_with_anchor)
    tightest = max(runs.exact("linear", is_meant=runs.has_auxiliary), key=_ratio)
    return [
        *(record.planted(_judge(case)[0], bug) for bug, case in found.items()),
        record.planted(_judge(one_sided)[1], "rows grow by a tenth in each step"),
        record.planted(_judge(tightest, factor=0.9)[0], "ζ understated by a tenth"),
    ]


def _ratio(case: Case) -> float:
    return _judge(case)[0].ratio or 0.0


def _waits_with_anchor(algorithm: Algorithm) -> bool:
    return runs.waits(algorithm) and runs.has_auxiliary(algorithm)


def _judge(case: Case, factor: float = 1.0) -> list[Check]:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size), mixed.is_doubly_stochastic(case)]
    compare = partial(_compare, factor=factor)
    checks = [case.judge(ID, "where rows are mixed", "tight", assumed, partial(compare, is_mixed=True))]
    if runs.waits(case.algorithm):
        checks.append(case.judge(ID, "between mixings", "tight", assumed, partial(compare, is_mixed=False)))
    return checks


def _compare(case: Case, factor: float, is_mixed: bool) -> Comparison:
    run, found = case.trajectory, mixed.known(case.algorithm)
    is_due = (np.arange(run.num_steps) + 1) % found.period == 0
    away = mixed.matrices(case) - 1.0 / found.mixing.num_rows
    kept = np.where(is_due, factor * np.linalg.norm(away, ord=2, axis=(1, 2)), 1.0)
    apart = _norms(mixed.rows(run))
    added = case.step_size * _norms(mixed.grads(run)) * (1.0 if found.combines_first else kept)
    measured, claimed = apart[:, 1:], (kept * apart + added)[:, :-1]
    measured, claimed = (side[:, is_due[:-1] == is_mixed] for side in (measured, claimed))
    # in every run: each run is a place, and nothing is averaged
    return statistics.at_most(measured[None], claimed[None], is_exact=True, scale=run.scale, axes=("run", "step"))


def _norms(values: np.ndarray) -> np.ndarray:
    """‖(I - J) ·‖_F of [S, T, r, d]."""
    return np.sqrt(np.square(mixed.apart(values)).sum(axis=(2, 3)))
