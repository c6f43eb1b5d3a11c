"""EC:I7. With error feedback the view lacks exactly what the memories hold.

Setting
    Synchronous variants with error feedback: all views are the stored parameters, and what compression held back
    is the one thing that they lack (`lacks`).

Statement (EC:I7, equality)
    x_t - v_t^i = + (1/n) Σ_j e_t^j                                       for all t and i, in every run.
    The memories here carry the sign of an update and have α folded in, e = w - C(w) with w = e - α G; the
    source remembers gradients, ε = -e, and writes x_t - v_t = -(1/n) Σ_j ε_t^j.

Why
    Everything generated was either sent, and is in v, or is in a memory: mass is conserved, summed over
    workers. x_t is summed up from the gradients here, not read from the state, which adds the memories by
    definition.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the row of compression with error
    feedback in Table 1; Stich, Cordonnier, Jaggi, 2018, arXiv 1809.07599, section 3, for the virtual
    sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, lacks, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I7"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every synchronous setting with error feedback.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses, is_meant=has_error_feedback)
    return [_judge(case) for case in found]


def control() -> list[Check]:
    """The sign of the memory flipped; α applied to it twice."""
    setting = cases.first_setting(has_error_feedback)
    bugs: dict[str, Callable[[Algorithm], Algorithm]] = {
        "error feedback with flipped sign": planted.flipped_memories,
        "α applied twice in the memory": partial(planted.scaled_memories, factor=cases.STEP_SIZE),
    }
    return [
        record.planted(_judge(cases.planted_run(plant, setting, "rational", bug=bug)), bug)
        for bug, plant in bugs.items()
    ]


def has_error_feedback(algorithm: Algorithm) -> bool:
    """It keeps what its compressor holds back, and its views differ from x_t for no other reason."""
    return lacks.of(algorithm) == {lacks.UNSENT}


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    return case.judge(ID, "at every step", "equality", assumed, _compare)


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    assert run.memories is not None
    lacking = run.generated(case.step_size)[:, :-1, None] - run.views
    held = np.broadcast_to(run.memories.mean(axis=2, keepdims=True), lacking.shape)
    return statistics.equal(lacking, held, scale=run.scale, axes=("run", "t", "i"))
