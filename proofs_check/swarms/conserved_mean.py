"""SW:I2. What a meeting does to the mean, in each of its forms.

Setting
    Workers that meet in pairs. U^i is what worker i adds in a turn, U_last^i what it added in its turn before.

Statement (SW:I2, equality)
    blocking, non-blocking:   x' = x + (1/n) Σ_i U^i                                    for every turn, in every run;
    lagged:                   x' = x + (1/n) Σ_i U^i - (1/2n) Σ_{i meets} U_last^i.

Why
    Two who average what they have sent each other keep its sum. Blocking, that is what they have reached; non-blocking,
    where they had committed, with all that is not committed added on top; lagged, what they had reached one turn ago,
    in the place of what they have, so that half of the last batch of each is missing in the average of both.

Source
    Nadiradze, Sabour, Davies, Li, Alistarh, NeurIPS 2021, arXiv 1910.12308, for the forms; proved above.
"""

from __future__ import annotations

import numpy as np

from proofs_check import record, statistics
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.swarms import planted, turns
from proofs_check.swarms.turns import Case

ID = "SW:I2"


def check() -> list[Check]:
    """Every form of a swarm, on gradients that are not linear."""
    return [_judge(case) for case in turns.every()]


def control() -> list[Check]:
    """A batch counted twice in the non-blocking form; nothing lost in the lagged one; one end alone averages."""
    return [
        record.planted(_judge(case), bug)
        for label, plant, bug in (
            ("non-blocking", planted.counted_twice, "the steps of a turn are added once more at the meeting"),
            ("lagged", planted.nothing_lags, "the lagged form has no last batch"),
            ("plain", planted.one_sided, "one of the two averages, the other keeps what it has"),
        )
        for case in turns.every({label: turns.PARTS[label]}, plant=plant)
    ]


def _judge(case: Case) -> Check:
    return case.judge(ID, case.declared["mode"], "equality", [turns.is_exact(case)], _compare)


def _compare(case: Case) -> Comparison:
    run = case.turns
    lost = run.lost if case.declared["mode"] == "lagged" else np.zeros_like(run.lost)
    return statistics.equal(
        run.after.mean(axis=2),
        (run.before + run.steps - lost).mean(axis=2),
        scale=run.scale,
        axes=("run", "t"),
    )
