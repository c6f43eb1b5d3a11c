"""EC:I8. With error feedback over channels, a view lacks memories and what was generated since the first late message.

Setting
    Variants whose messages are compressed with error feedback and are late (`missing_messages.can_be_late`), nothing
    standing in for them. Channels keep the order of messages; a_t^{ij} is the first step whose message from j worker i
    lacks in step t, worked out from the recorded schedule alone, or t if it lacks none.

Statement (EC:I8, equality)
    in order:      x_t - v_t^i = (1/n) Σ_j ( e_a^j + Σ_{s=a}^{t-1} u_s^j ),  a = a_t^{ij},        in every run,
    by messages:   x_t - v_t^i = (1/n) Σ_j e_t^j + (1/n) Σ_{(s,j) in Miss_t^i} m_s^j,             in any order,
    with u = -α G and the messages m_s^j = u_s^j + e_s^j - e_{s+1}^j. The source remembers gradients, ε = -e.

Why
    Mass is conserved: what j generated up to t was sent, in messages, or is in e_t^j. In order, the missing messages
    of j are those of a, ..., t - 1, whose sum telescopes to e_a^j + Σ u_s^j - e_t^j. Out of order the first form fails:
    it is skipped there. x_t is summed up from the gradients.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, rows of asynchrony and of compression
    with error feedback, put together; proved above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, missing_messages, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I8"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with memories behind channels.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses, is_meant=remembers_behind_channels)
    return [one for case in found for one in _judge(case)]


def control() -> list[Check]:
    """α twice in the memory; its sign flipped; the form for channels in order where they are not."""
    found = list(cases.exact(("rational",), is_meant=remembers_behind_channels))
    case = next(case for case in found if _is_ordered(case))
    shuffled = next(case for case in found if not _is_ordered(case))
    bugs: dict[str, Callable[[Algorithm], Algorithm]] = {
        "α applied twice in the memory": partial(planted.scaled_memories, factor=case.step_size),
        "error feedback with flipped sign": planted.flipped_memories,
    }
    tripped = [
        record.planted(one, bug)
        for bug, plant in bugs.items()
        for one in _judge(cases.rerun(case, plant(case.algorithm), "rational"))
    ]
    out_of_order = shuffled.judge(ID, "in order", "equality", [], _compare_in_order)
    return [*tripped, record.planted(out_of_order, "channels that do not keep the order")]


def remembers_behind_channels(algorithm: Algorithm) -> bool:
    """Messages are late and their compressor has a memory; nothing stands in for what is missing."""
    bound = cases.declared(algorithm)
    return missing_messages.can_be_late(algorithm) and bound["error_feedback"] and not bound["substitute"]


def _is_ordered(case: Case) -> bool:
    return bool(cases.declared(case.algorithm)["fifo"])


def _judge(case: Case) -> list[Check]:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    ordered = hypotheses.is_declared("channels in order", _is_ordered(case), f"fifo = {_is_ordered(case)}")
    return [
        case.judge(ID, "in order", "equality", [*assumed, ordered], _compare_in_order),
        case.judge(ID, "by messages", "equality", assumed, _compare_by_messages),
    ]


def _compare_in_order(case: Case) -> Comparison:
    run, (missing,) = case.trajectory, missing_messages.of(case)
    assert run.memories is not None
    num_steps, n = run.num_steps, case.algorithm.num_workers
    updates = -case.step_size * run.grads
    claimed = np.zeros_like(run.views)
    for t, i, j in np.ndindex(num_steps, n, n):
        late = np.flatnonzero(missing[t, i, :, j])
        first = late[0] if late.size else t
        claimed[:, t, i] += (run.memories[:, first, j] + updates[:, first:t, j].sum(axis=1)) / n
    lacking = run.generated(case.step_size)[:, :-1, None] - run.views
    return statistics.equal(lacking, claimed, scale=run.scale, axes=("run", "t", "i"))


def _compare_by_messages(case: Case) -> Comparison:
    run = case.trajectory
    assert run.memories is not None
    messages = -case.step_size * run.grads
    messages[:, :-1] -= np.diff(run.memories, axis=1)  # that of the last step no view of the run lacks
    held = run.memories.mean(axis=2, keepdims=True)
    claimed = held + missing_messages.total(missing_messages.of(case), messages, is_substituted=False)
    lacking = run.generated(case.step_size)[:, :-1, None] - run.views
    return statistics.equal(lacking, claimed, scale=run.scale, axes=("run", "t", "i"))
