"""EC:I4. After crashes a view lacks for ever what its worker did not hear of the dead, and nothing else.

Setting
    Variants whose workers may die (`crashes`), without substitution, all of the same plain SGD. Miss_t^i are the
    messages (s, j) of workers j that died in a step s < t and that i, alive, did not hear while another survivor of
    that step did. The set is worked out from the recorded crashes alone (`missing_messages`).

Statement (EC:I4, equality)
    x_t - v_t^i = -(α/n) Σ_{(s,j) in Miss_t^i} G_s^j                    for all t and living i, in every run,
    number (tight):    |Miss_t^i| <= f, the budget of crashes,
    growth (upper):    Miss_t^i is a subset of Miss_{t+1}^i, as long as i lives.

Why
    A living sender reaches everybody; a worker leaves others without its gradient in the one step in which it dies, and
    nobody sends that again. What no survivor heard counts as never generated.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, the row of crash faults; proved above.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, missing_messages, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I4"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = 9,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with crashes: three workers over all paths, four over seeds and for longer.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(
        ("rational",), step_size=step_size, max_tosses=max_tosses, num_workers=3, is_meant=crashes_alone
    )
    sampled = cases.sampled(
        ("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=crashes_alone
    )
    return [one for found in (exact, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """What is received loses a tenth; the budget understated by one; a message that comes after all."""
    found = cases.exact(("rational",), max_tosses=9, num_workers=3, is_meant=crashes_alone)
    case = next(case for case in found if missing_messages.of(case).any())
    bug = "what is received loses a tenth"
    algorithm = planted.scaled_received_params(case.algorithm, factor=0.9)
    shrunk = cases.rerun(case, algorithm, "rational", max_tosses=9)
    understated = _judge(case, budget=-1)[1]
    late = case.judge(ID, "growth", "upper", [], partial(_grows, comes_after_all=True))
    return [
        record.planted(_judge(shrunk)[0], bug),
        record.planted(understated, "the budget understated by one"),
        record.planted(late, "a message that comes after all"),
    ]


def crashes_alone(algorithm: Algorithm) -> bool:
    """Workers may die, and nothing stands in for what they did not send."""
    return missing_messages.can_crash(algorithm) and not missing_messages.is_substituted(algorithm)


def _judge(case: Case, budget: int = 0) -> list[Check]:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size), hypotheses.is_oblivious(case.trajectory)]
    return [
        case.judge(ID, "at every step", "equality", assumed, _compare),
        case.judge(ID, "number", "tight", assumed, partial(_count, budget=budget)),
        case.judge(ID, "growth", "upper", assumed, _grows),
    ]


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    lacking = run.generated(case.step_size)[:, :-1, None] - run.views
    missed = missing_messages.total(missing_messages.of(case), -case.step_size * run.grads, is_substituted=False)
    return statistics.equal(lacking, missed, scale=run.scale, axes=("run", "t", "i"))


def _count(case: Case, budget: int) -> Comparison:
    counts = missing_messages.of(case).sum(axis=(3, 4))
    most = missing_messages.most(case.algorithm)
    assert most is not None
    return statistics.at_most(counts, float(most + budget), is_exact=True)


def _grows(case: Case, comes_after_all: bool = False) -> Comparison:
    missing = missing_messages.of(case)[0].copy()
    if comes_after_all:
        missing[-1] = False
    is_alive = (case.trajectory.workers[0] >= 0)[1:, :, None, None]
    before, after = missing[:-1] & is_alive, missing[1:] & is_alive
    places = (1, before.shape[0], -1)
    return statistics.at_most(
        np.reshape(before.astype(float), places), np.reshape(after.astype(float), places), is_exact=True
    )
