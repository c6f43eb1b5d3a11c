"""EC:I9. With error feedback a read of shared memory lacks all memories, and the unseen parts of recent writes.

Setting
    Variants whose views lack parts of the last τ writes to a shared memory, and what compression held back, and
    nothing else (`lacks`): one gradient a step, one memory e^i for each process.

Statement (EC:I9, equality)
    x_t - v_t = + Σ_i e_t^i + Σ_{s=t-τ}^{t-1} D_{t,s} w_s                           for all t, in every run,
    without 1/n: the memories of the processes add up. w_s = e_s + u_s - e_{s+1} is what was written. Both carry the
    sign of an update; the source remembers gradients and has two minuses.

Why
    Everything generated was written, or is in the memory of its process: x_t = m_t + Σ_i e_t^i. And v_t is m_t without
    what is hidden of the last writes, as in EC:I6. x_t is summed up from the gradients, D drawn anew.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, rows of shared memory and of
    compression with error feedback, put together here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, lacks, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.identities import unseen_writes
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I9"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with unseen writes and error feedback.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses, is_meant=has_both)
    return [_judge(case) for case in found]


def control() -> list[Check]:
    """Memories divided by n; α applied twice in them; a write of age τ + 1 unseen."""
    bugs: dict[str, Callable[[Algorithm], Algorithm]] = {
        "1/n on the memories": partial(planted.scaled_memories, factor=1 / cases.NUM_WORKERS_EXACT),
        "α applied twice in the memory": partial(planted.scaled_memories, factor=cases.STEP_SIZE),
        "a write of age τ + 1 is unseen": planted.older_reads,
    }
    setting = cases.first_setting(has_both)
    return [
        record.planted(_judge(cases.planted_run(plant, setting, "rational", bug=bug)), bug)
        for bug, plant in bugs.items()
    ]


def has_both(algorithm: Algorithm) -> bool:
    """Views lack parts of the last writes and what compression held back, and nothing else."""
    return lacks.of(algorithm) == {lacks.UNSEEN, lacks.UNSENT}


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_single(case.trajectory), hypotheses.is_plain(case.trajectory, case.step_size)]
    return case.judge(ID, "at every step", "equality", assumed, _compare)


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    assert run.memories is not None
    lacking = run.generated(case.step_size)[:, :-1, None] - run.views
    held = run.memories.sum(axis=2)[:, :, None] + unseen_writes.hidden(case, unseen_writes.writes(run))
    return statistics.equal(lacking, held, scale=run.scale, axes=("run", "t", "i"))
