"""EC:P7. Error feedback in one run: what a memory holds is at most what its gradients were, forgotten geometrically.

Setting
    Synchronous variants with error feedback and a compressor whose contraction holds for every draw, ‖C(w) - w‖² <=
    γ ‖w‖².

Statement (EC:P7, tight)
    one step:  ‖e_{t+1}^i‖ <= √γ (‖e_t^i‖ + α ‖G_t^i‖)                              for all t and i, in every run,
    unrolled:  ‖e_t^i‖ <= α Σ_{s<t} γ^{(t-s)/2} ‖G_s^i‖.
    Attained at the first step by top-k on gradients whose entries are all equal.

Why
    e_{t+1} = w - C(w) with w = e_t - α G_t, hence ‖e_{t+1}‖ <= √γ ‖w‖, and the triangle inequality; e_0 = 0.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the lemma on compression with error feedback,
    without its expectation; Stich, Cordonnier, Jaggi, 2018, arXiv 1809.07599, Lemma 3.2, for the idea.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.compression import specimens
from proofs_check.compression.memory_recursion import is_contraction, lost_fraction
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:P7"

OBJECTIVES = ("linear", "rational", "quadratic")


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every synchronous setting with error feedback and each pathwise contraction.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = specimens.with_memory(specimens.PATHWISE, OBJECTIVES, step_size=step_size, max_tosses=max_tosses)
    return [one for case in found for one in _judge(case)]


def control() -> list[Check]:
    """γ where √γ belongs; the first gradient, held back in the second step, left out of the sum."""
    case = next(specimens.with_memory(specimens.PATHWISE, ("linear",), step_size=cases.STEP_SIZE))
    return [
        *(record.planted(one, "γ in place of √γ") for one in _judge(case, power=2.0)),
        *(
            record.planted(one, "α halved")
            for one in _judge(case._replace(step_size=case.step_size / 2), is_plain=False)
        ),
    ]


def _judge(case: Case, power: float = 1.0, is_plain: bool = True) -> list[Check]:
    run, lost = case.trajectory, lost_fraction(case)
    compressor = cases.declared(case.algorithm)["compressor"]
    assumed = [
        is_contraction(lost),
        hypotheses.is_declared("pathwise", compressor.is_pathwise, "for every draw, or in expectation only"),
    ]
    assumed += [hypotheses.is_plain(run, case.step_size)] if is_plain else []
    forms: dict[str, Callable[..., np.ndarray]] = {"one step": _one_step, "unrolled": _unrolled}
    return [
        case.judge(ID, name, "tight", assumed, partial(_compare, form=form, root=(lost or 0.0) ** (power / 2)))
        for name, form in forms.items()
    ]


def _compare(case: Case, form: Callable[..., np.ndarray], root: float) -> Comparison:
    assert case.trajectory.memories is not None
    memories, grads = (norms_sq(each) ** 0.5 for each in (case.trajectory.memories, case.trajectory.grads))
    claimed = form(memories, case.step_size * grads, root)
    # in every run: each run is a place, and nothing is averaged
    return statistics.at_most(memories[None, :, 1:], claimed[None], is_exact=True, axes=("run", "t", "i"))


def _one_step(memories: np.ndarray, updates: np.ndarray, root: float) -> np.ndarray:
    return root * (memories[:, :-1] + updates[:, :-1])


def _unrolled(memories: np.ndarray, updates: np.ndarray, root: float) -> np.ndarray:
    sums = [np.zeros_like(memories[:, 0])]
    for t in range(memories.shape[1] - 1):
        sums.append(root * (sums[-1] + updates[:, t]))
    return np.stack(sums[1:], axis=1)
