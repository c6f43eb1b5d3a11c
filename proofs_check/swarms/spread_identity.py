"""SW:I1. How far apart workers are after a meeting, exactly.

Setting
    Workers that meet in pairs and exchange what they have reached, whole (blocking). U^i is what worker i has added in
    the turn, zero for who does not take part, D_i = x^i - x, Γ = Σ_i ‖D_i‖² before the turn and Γ' after the meeting.

Statement (SW:I1, equality)
    any pairs:  Γ' = Γ(X + U) - ½ Σ_{i, j meet} ‖(x^i + U^i) - (x^j + U^j)‖²            for every turn, in every run;
    one edge:   Γ' = Γ - ½ ‖D_i - D_j‖² + ⟨D_i + D_j, U^i + U^j⟩ + (½ - 1/n) ‖U^i + U^j‖².

Why
    Two vectors a, b that become (a + b)/2 each have ‖a‖² + ‖b‖² - ½ ‖a - b‖² of their squares left, and their sum, so
    that x stays: the first form. With Y = X + U only the rows i, j move, by U, and x by (U^i + U^j)/n:
    Γ(Y) = Γ + 2 ⟨D_i, U^i⟩ + 2 ⟨D_j, U^j⟩ + ‖U^i‖² + ‖U^j‖² - ‖U^i + U^j‖²/n, and ½ ‖D_i + U^i - D_j - U^j‖² taken
    from it leaves the second.

Source
    Nadiradze, Sabour, Davies, Li, Alistarh, NeurIPS 2021, arXiv 1910.12308, its potential; proved above.
"""

from __future__ import annotations

import numpy as np

from proofs_check import record, statistics
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.swarms import planted, turns
from proofs_check.swarms.turns import Case
from proofs_check.trajectory import norms_sq

ID = "SW:I1"


def check() -> list[Check]:
    """Every form of a swarm, on gradients that are not linear."""
    return [one for case in turns.every() for one in _judge(case)]


def control() -> list[Check]:
    """One end alone averages; a batch counted twice; half of the way to the mean."""
    plain = {"plain": turns.PARTS["plain"]}
    return [
        record.planted(one, bug)
        for plant, bug in (
            (planted.one_sided, "one of the two averages, the other keeps what it has"),
            (planted.counted_twice, "the steps of a turn are added once more at the meeting"),
            (planted.half_way, "those who meet go half of the way to their mean"),
        )
        for case in turns.every(plain, plant=plant)
        for one in _judge(case)
    ]


def _judge(case: Case) -> list[Check]:
    assumed = [turns.is_blocking(case), turns.is_exact(case)]
    return [
        case.judge(ID, "any pairs", "equality", assumed, _of_pairs),
        case.judge(ID, "one edge", "equality", [*assumed, turns.is_one_edge(case)], _of_one_edge),
    ]


def _of_pairs(case: Case) -> Comparison:
    run = case.turns
    reached = run.before + run.steps
    gaps = norms_sq(reached - turns.partners_rows(reached, run.partners)).sum(axis=-1)  # each pair twice
    return statistics.equal(
        turns.spread(run.after), turns.spread(reached) - gaps / 4, scale=run.scale**2, axes=("run", "t")
    )


def _of_one_edge(case: Case) -> Comparison:
    run, n = case.turns, case.algorithm.num_workers
    is_met = (run.partners != np.arange(n))[..., None]
    apart = np.where(is_met, turns.apart(run.before), 0.0)
    gap = norms_sq(apart - np.where(is_met, turns.partners_rows(apart, run.partners), 0.0)).sum(axis=-1) / 2
    both, added = apart.sum(axis=2), run.steps.sum(axis=2)
    claimed = (
        turns.spread(run.before) - gap / 2 + np.einsum("skd,skd->sk", both, added) + (0.5 - 1 / n) * norms_sq(added)
    )
    return statistics.equal(turns.spread(run.after), claimed, scale=run.scale**2, axes=("run", "t"))
