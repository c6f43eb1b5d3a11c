"""EC:P4. The distance of a view from the global parameters is at most what the missing messages add up to in norm.

Setting
    Variants whose views lack single messages, or whose views are late as a whole, plain SGD. Which messages are missing
    is told by the recorded schedule (`missing_messages`), or by the staleness.

Statement (EC:P4, tight)
    single messages:  ‖x_t - v_t^i‖ <= (α/n) Σ_{(s,j) in Miss_t^i} ‖G_s^j‖         for all t and i, in every run,
    stand-ins:        ‖x_t - v_t^i‖ <= (α/n) Σ_{(s,j) in Miss_t^i} ‖G_s^j - G_s^i‖,
    stale reads:      ‖x_t - v_t^i‖ <= α Σ_{s=t-r}^{t-1} Σ_j w_s^j ‖G_s^j‖,   r the staleness.
    Attained where all gradients are the same, and where one message is missing.

Why
    The triangle inequality on EC:I2 and EC:I3.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918: the step that each row of Table 1 begins with.
"""

from __future__ import annotations

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, missing_messages, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.identities.missing_gradients import reads_are_stale
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:P4"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with stale reads or with messages that are missing.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("linear", "rational"), step_size=step_size, max_tosses=max_tosses, is_meant=_is_meant)
    return [_judge(case) for case in found]


def control() -> list[Check]:
    """Messages and reads one step later than declared, on gradients that are all the same; stand-ins not counted."""
    late = next(cases.exact(("linear",), is_meant=missing_messages.can_be_late))
    later = cases.rerun(late, planted.later_delays(late.algorithm), "linear")
    bug = "views one step older than declared"
    older = cases.planted_run(planted.older_views, cases.first_setting(reads_are_stale), "linear", bug=bug)
    substituted = cases.exact(("rational",), is_meant=missing_messages.is_substituted)
    halved = next(case for case in substituted if (_judge(case).ratio or 0) > 0.5)
    return [
        record.planted(_judge(later), "messages one step later than declared"),
        record.planted(_judge(older), bug),
        record.planted(halved.judge(ID, "stand-ins", "tight", [], _compare_half), "half of the missing left out"),
    ]


def _is_meant(algorithm: Algorithm) -> bool:
    is_whole = not missing_messages.is_compressed(algorithm)
    return reads_are_stale(algorithm) or (missing_messages.are_known(algorithm) and is_whole)


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    if not missing_messages.are_known(case.algorithm):
        return case.judge(ID, "stale reads", "tight", assumed, _compare_stale)
    name = "stand-ins" if missing_messages.is_substituted(case.algorithm) else "single messages"
    return case.judge(ID, name, "tight", assumed, _compare)


def _compare(case: Case, part: float = 1.0) -> Comparison:
    run, missing, n = case.trajectory, missing_messages.of(case), case.algorithm.num_workers
    own = run.grads[:, :, :, None] if missing_messages.is_substituted(case.algorithm) else 0.0
    sizes = np.sqrt(norms_sq(run.grads[:, :, None] - own))  # [S, T, i, j], or [S, T, 1, j]
    sizes = np.broadcast_to(sizes, (run.num_runs, run.num_steps, n, n))
    if len(missing) == 1:
        sums = np.einsum("tisj,rsij->rti", missing[0].astype(float), sizes, optimize=True)
    else:
        sums = np.einsum("rtisj,rsij->rti", missing.astype(float), sizes, optimize=True)
    return _at_most(case, part * case.step_size / n * sums)


def _compare_half(case: Case) -> Comparison:
    return _compare(case, part=0.5)


def _compare_stale(case: Case) -> Comparison:
    run = case.trajectory
    sizes = np.einsum("stk,stk->st", run.weights, np.sqrt(norms_sq(run.grads)))
    total = np.concatenate([np.zeros((run.num_runs, 1)), np.cumsum(sizes, axis=1)], axis=1)
    steps, runs = np.arange(run.num_steps)[None, :, None], np.arange(run.num_runs)[:, None, None]
    return _at_most(case, case.step_size * (total[:, :-1, None] - total[runs, steps - run.staleness]))


def _at_most(case: Case, claimed: np.ndarray) -> Comparison:
    run = case.trajectory
    distances = np.sqrt(run.distances_sq)
    return statistics.at_most(distances[None], claimed[None], is_exact=True, scale=run.scale, axes=("run", "t", "i"))
