"""EC:E3. Shared memory: a read that misses parts of the last τ writes is within α τ M of the global parameters.

Setting
    Variants whose views lack parts of the last τ writes to a shared memory, and nothing else (`lacks`), plain SGD. What
    chooses the unseen coordinates may look at what was written: all τ writes are counted, whatever is hidden of them.

Statement (EC:E3)
    transient (tight):  E‖x_t - v_t‖² <= α² min(t, τ)² M²                           for all t,
    τ M (tight):        E‖x_t - v_t‖² <= α² τ² M²,
    paper (upper):      E‖x_t - v_t‖² <= α² d τ² M²,  B = √d τ M.
    The first two are attained where nothing is seen of gradients that are all the same.

Why
    EC:I6, ‖D G‖ <= ‖G‖ for a diagonal D of 0 and 1, and Minkowski's inequality in L² over the min(t, τ) writes. The
    paper goes through the 1-norm, ‖z‖₂ <= ‖z‖₁ and ‖g‖₁ <= √d ‖g‖₂: its √d is slack, and no measured distance grows
    like it.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, row of shared memory, for the paper's
    form; the other two are sharper and proved above.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, planted, record, statistics, tightness, trajectory
from proofs_check.cases import Case
from proofs_check.identities.unseen_writes import max_delay, writes_are_unseen
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E3"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with unseen writes, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(
        ("linear", "rational", "quadratic"), step_size=step_size, max_tosses=max_tosses, is_meant=writes_are_unseen
    )
    hardest = tightness.hardest(writes_are_unseen)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_meant=writes_are_unseen,
    )
    return [one for found in (exact, hardest, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """A write of age τ + 1 is unseen, of gradients that use the bound up."""
    bug = "a write of age τ + 1 is unseen"
    case = cases.planted_run(planted.older_reads, cases.first_setting(writes_are_unseen), "linear", bug=bug)
    return [record.planted(one, bug) for one in _judge(case)[:2]]


def _judge(case: Case) -> list[Check]:
    run = case.trajectory
    constants = trajectory.with_exact_moment(case.constants, run)
    assumed = [
        hypotheses.is_single(run),
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_known(constants, "grad_second_moment"),
    ]
    window = np.full(run.num_steps, float(max_delay(case)))
    forms = {
        ("transient min(t, τ) M", "tight"): np.minimum(np.arange(run.num_steps), window),
        ("τ M", "tight"): window,
        ("paper √d τ M", "upper"): run.params.shape[-1] ** 0.5 * window,
    }
    return [
        case.judge(ID, name, kind, assumed, partial(_compare, factors=factors))
        for (name, kind), factors in forms.items()
    ]


def _compare(case: Case, factors: np.ndarray) -> Comparison:
    run = case.trajectory
    second_moment = trajectory.with_exact_moment(case.constants, run).grad_second_moment
    assert second_moment is not None
    claimed = (case.step_size * factors[None, :, None]) ** 2 * second_moment
    return statistics.at_most(run.distances_sq, np.broadcast_to(claimed, run.distances_sq.shape), is_exact=run.is_exact)
