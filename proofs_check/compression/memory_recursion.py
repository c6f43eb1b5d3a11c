"""EC:X4. Error feedback, one step: the second moment of a memory, by Young's inequality and by Minkowski's.

Setting
    Synchronous variants with error feedback and a contraction, E‖C(w) - w‖² <= γ ‖w‖², γ the fraction lost.

Statement (EC:X4)
    Young (upper):      E‖e_{t+1}^i‖² <= γ (2 - γ) E‖e_t^i‖² + (γ (2 - γ) / (1 - γ)) α² E‖G_t^i‖²    for all t and i,
    Minkowski (tight):  E‖e_{t+1}^i‖² <= γ ((E‖e_t^i‖²)^½ + α (E‖G_t^i‖²)^½)²,
    factors (equality): (2 - γ) γ / (1 - γ)³ = b(γ)² (1 + (γ + √γ - 1)² / ((1 - γ) (1 + √γ)²)),  b(γ) = √γ / (1 - √γ),
    constants (tight):  b(γ)² <= (2 - γ) γ / (1 - γ)³, with equality at γ = ((√5 - 1) / 2)² and nowhere else.
    Minkowski's form is attained at t = 0 by top-k on gradients whose entries are all equal.

Why
    e_{t+1} = w - C(w) with w = e_t - α G_t, so ‖e_{t+1}‖² <= γ ‖w‖², given w. Young: ‖w‖² <= (1 + η) ‖e‖² + (1 + 1/η)
    α² ‖G‖² with η = 1 - γ. Minkowski: ‖w‖ <= ‖e‖ + α ‖G‖ in L². Unrolled, with E‖G‖² <= M², they are the paper's
    constant and the tight one of EC:E7; with s = √γ, (2 - s²) - (1 - s²)(1 + s)² = (s² + s - 1)², which vanishes for
    s = (√5 - 1) / 2 alone.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the lemma on compression with error feedback,
    for Young's form; the others are proved above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from elastic_jax import compressors
from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.compression import specimens
from proofs_check.consistency.error_feedback import minkowski_constant, paper_constant
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:X4"

TOUCH = ((5**0.5 - 1) / 2) ** 2
"""γ at which both constants are the same."""

OBJECTIVES = ("linear", "rational", "quadratic")


PATHWISE = {label: specimens.PATHWISE[label] for label in ("top_k", "scaled_sign")}
IN_THE_MEAN = {"random_k(0.5)": compressors.random_k(0.5)}
"""Contractions in expectation only: their draws are sampled, and Minkowski's form, a square of means, is not tried."""


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every synchronous setting with error feedback, over all paths and over seeds; then the constants.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    found = specimens.with_memory(PATHWISE, OBJECTIVES, step_size=step_size, max_tosses=max_tosses)
    sampled = [
        specimens.sampled(
            name, label, compressor, error_feedback=True, step_size=step_size, num_seeds=num_seeds, num_steps=num_steps
        )
        for name in specimens.variants(error_feedback=True)
        for label, compressor in IN_THE_MEAN.items()
    ]
    return [one for case in (*found, *sampled) for one in _judge(case)] + _judge_constants(paper_constant)


def control() -> list[Check]:
    """γ understated by a tenth; memories that grow; a constant with one factor 1 - γ too few."""
    case = next(specimens.with_memory(PATHWISE, ("linear",), step_size=cases.STEP_SIZE))
    understated = [record.planted(one, "γ understated by a tenth") for one in _judge(case, 0.9)[1:]]
    grown = case._replace(
        trajectory=case.trajectory._replace(
            memories=1.5 ** np.arange(case.trajectory.num_steps)[:, None, None] * _memories(case)
        )
    )
    wrong = _judge_constants(_wrong_constant)
    return [
        *understated,
        record.planted(_judge(grown)[1], "memories that grow by a half in each step"),
        *(record.planted(one, "(1 - γ)² in place of (1 - γ)³") for one in wrong),
    ]


def lost_fraction(case: Case) -> float | None:
    """γ of the compressor of a case."""
    compressor = cases.declared(case.algorithm)["compressor"]
    return compressors.residual_fraction(compressor, case.trajectory.params[0, 0])


def is_contraction(lost: float | None) -> Hypothesis:
    """γ < 1."""
    return hypotheses.is_declared("contraction", lost is not None and lost < 1, f"γ = {lost}")


def _memories(case: Case) -> np.ndarray:
    assert case.trajectory.memories is not None
    return case.trajectory.memories


def _judge(case: Case, factor: float = 1.0) -> list[Check]:
    run, lost = case.trajectory, lost_fraction(case)
    assumed = [hypotheses.is_plain(run, case.step_size), hypotheses.is_oblivious(run), is_contraction(lost)]
    forms = {("Young", "upper"): _young} | ({("Minkowski", "tight"): _minkowski} if run.is_exact else {})
    return [
        case.judge(ID, name, kind, assumed, partial(form, lost=lost, factor=factor))
        for (name, kind), form in forms.items()
    ]


def _young(case: Case, lost: float | None, factor: float) -> Comparison:
    assert lost is not None
    lost = factor * lost
    memories, grads = norms_sq(_memories(case)), norms_sq(case.trajectory.grads)
    share = lost * (2 - lost)
    claimed = share * memories[:, :-1] + share / (1 - lost) * case.step_size**2 * grads[:, :-1]
    return statistics.at_most(memories[:, 1:], claimed, is_exact=case.trajectory.is_exact)


def _minkowski(case: Case, lost: float | None, factor: float) -> Comparison:
    """On expectations, which the means over all paths are: one row."""
    assert lost is not None
    memories, grads = (norms_sq(each).mean(axis=0) for each in (_memories(case), case.trajectory.grads))
    claimed = factor * lost * (memories[:-1] ** 0.5 + case.step_size * grads[:-1] ** 0.5) ** 2
    return statistics.at_most(memories[None, 1:], claimed[None], is_exact=True)


def _judge_constants(paper: Callable[[float], float]) -> list[Check]:
    forms = {("factors", "equality"): _factors, ("constants", "tight"): _constants}
    return [
        record.judge(
            ID,
            name,
            kind,
            "γ from 0.01 to 0.99, and ((√5 - 1)/2)²",
            [],
            partial(form, paper),
            seeds=1,
            is_exact=True,
            steps=1,
        )
        for (name, kind), form in forms.items()
    ]


def _grid() -> np.ndarray:
    return np.sort(np.append(np.linspace(0.01, 0.99, 99), TOUCH))


def _factors(paper: Callable[[float], float]) -> Comparison:
    lost = _grid()
    excess = (lost + lost**0.5 - 1) ** 2 / ((1 - lost) * (1 + lost**0.5) ** 2)
    tight, claimed = (
        np.array([constant(float(each)) ** 2 for each in lost]) for constant in (minkowski_constant, paper)
    )
    return statistics.equal(claimed / tight, 1 + excess, axes=("γ",))


def _constants(paper: Callable[[float], float]) -> Comparison:
    lost = _grid()
    tight = np.array([minkowski_constant(float(each)) ** 2 for each in lost])
    claimed = np.array([paper(float(each)) ** 2 for each in lost])
    return statistics.at_most((tight / claimed)[None], 1.0, is_exact=True, axes=("γ",))


def _wrong_constant(lost: float) -> float:
    return ((2 - lost) * lost / (1 - lost) ** 2) ** 0.5
