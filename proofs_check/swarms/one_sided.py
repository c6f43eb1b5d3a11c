"""SW:I3. Where one end alone averages, the mean moves, and only on average over both ends it does not.

Setting
    n rows X without gradients. Worker i reads a partner's row and averages, the partner keeps what it has: as the first
    code that was released for SwarmSGD does, where reading is one-sided. Planted in every variant whose pairs meet.

Statement (SW:I3, equality)
    of a meeting:   x' = x + (x^j - x^i)/(2n)                                           for every meeting, in every run;
    over both ends: E(x' - x) = 0 where either end is as likely to read as the other.

Why
    Only row i changes, by (x^j - x^i)/2. Exchanging i and j turns the sign.

Source
    The code ICLR-PopSGD/PopSGD of the authors of arXiv 1910.12308, for one-sided reads; proved above.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import record, statistics
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.swarms import planted, turns
from proofs_check.swarms.turns import Case

ID = "SW:I3"
NUM_STEPS = 3
NUM_SEEDS = 2000
START = 2.0 + np.arange(turns.NUM_WORKERS)[:, None] + np.random.default_rng(0).random((turns.NUM_WORKERS, turns.DIM))


def check() -> list[Check]:
    """Every variant whose pairs meet, with one-sided meetings."""
    return [one for case in _cases(planted.one_sided) for one in _judge(case)]


def control() -> list[Check]:
    """Both average, which is right elsewhere; the reader goes the whole way; the smaller number always reads."""
    return [
        record.planted(_judge(case)[form], bug)
        for form, plant, bug in (
            (0, _as_it_is, "both average"),
            (0, partial(planted.one_sided, share=1.0), "the reader takes all of its partner's row"),
            (1, partial(planted.one_sided, is_ordered=True), "the one with the smaller number always reads"),
        )
        for case in _cases(plant)
    ]


def _as_it_is(algorithm: Algorithm) -> Algorithm:
    return algorithm


def _cases(plant: planted.Plant) -> list[Case]:
    found = []
    for name, build in turns.builds():
        algorithm = plant(build(turns.no_grads, num_workers=turns.NUM_WORKERS, local_steps=1))
        run = turns.run(algorithm, START, num_steps=NUM_STEPS, num_seeds=NUM_SEEDS, start=START)
        found.append(Case(f"{name} without gradients, one-sided", algorithm, run))
    return found


def _judge(case: Case) -> list[Check]:
    return [
        case.judge(ID, "of a meeting", "equality", [], _of_a_meeting),
        case.judge(ID, "over both ends", "equality", [], _over_both_ends),
    ]


def _of_a_meeting(case: Case) -> Comparison:
    """The reader is the one whose row has changed."""
    run = case.turns
    readers = np.abs(run.after - run.before).max(axis=3).argmax(axis=2)[..., None]
    partners = np.take_along_axis(run.partners, readers, axis=2)
    own, other = (np.take_along_axis(run.before, who[..., None], axis=2)[:, :, 0] for who in (readers, partners))
    moved = (other - own) / (2 * case.algorithm.num_workers)
    return statistics.equal(run.after.mean(axis=2), run.before.mean(axis=2) + moved, scale=run.scale, axes=("run", "t"))


def _over_both_ends(case: Case) -> Comparison:
    """Over many first meetings, each order as likely as the other."""
    run = case.turns
    moved = (run.after.mean(axis=2) - run.before.mean(axis=2))[:, 0]
    return statistics.same_mean(moved, 0.0, scale=float(np.abs(moved).max()), axes=("coordinate",))
