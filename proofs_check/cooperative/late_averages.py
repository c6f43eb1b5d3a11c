"""CO:O1. An average that comes one round late: what it does to the mean and to the differences.

Setting
    Rounds of H steps, plain SGD, four workers on gradients that are not linear; x̄_t is the mean of the workers. Two
    kinds of variants, told by their arguments and their state: those that are drawn by a (`pull`) to an anchor, without
    momentum, that was the mean of the workers one round ago; and those that keep where each worker began its round
    (`round_params`), and replace its mean.

Statement (CO:O1, equality), for every round r, in every run
    effective step: drawn to an anchor,  x̄_{(r+1)H} = x̄_{rH} - (1 - a) α Σ_{s in r} ḡ_s;
    contraction:    drawn to an anchor,  (I - J) X_{(r+1)H} = (1 - a) [(I - J) X_{rH} - α Σ_{s in r} (I - J) G_s], so
                    that without gradients differences shrink by exactly 1 - a a round;
    exact mean:     where a round began, x̄_{t+1} = x̄_t - α ḡ_t in every step;
    one round late: where a round began, (I - J) X_{(r+1)H} = -α Σ_{s in r} (I - J) G_s: what workers did in this round
                    stays, all that was before is averaged.

Why
    The anchor at the end of round r is z = x̄_{rH}, which is the same for all: x^i <- (1 - a) y^i + a z has the mean
    (1 - a)(x̄_{rH} - α Σ ḡ) + a x̄_{rH}, and takes nothing but (1 - a) of the differences. x^i <- z̄ + y^i - z^i with
    z^i = x_{rH}^i has the mean of y, and differences y^i - z^i.

Source
    Wang, Liang, Joshi, Overlap Local-SGD, ICASSP 2020, arXiv 2002.09539; Shen, Xu, Cheng, Liu, Luo, Faster Distributed
    Deep Net Training: Computation and Communication Decoupled SGD, IJCAI 2019, arXiv 1906.12043; proved above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, lacks, mixed, record, statistics
from proofs_check.cases import Case
from proofs_check.cooperative import planted, rows, runs
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison

ID = "CO:O1"

PARTS: Mapping[str, Mapping[str, Any]] = {
    "a weak pull, rounds of two": {"pull": 0.3, "period": 2},
    "rounds of three": {"period": 3},
}


def check(*, step_size: float = cases.STEP_SIZE) -> list[Check]:
    """Every variant with a late average.

    Args:
        step_size: α > 0.
    """
    found = runs.pathwise(step_size=step_size, is_meant=is_late, parts=PARTS)
    return [one for case in found for one in _judge(case)]


def control() -> list[Check]:
    """A correction one step late, or in every step; the average of now; workers that grow."""
    checks = []
    for bug, plant in (
        ("what is due comes one step late", planted.late_mixing),
        ("what is due is done in every step", planted.mixing_every_step),
        ("the average of now in the place of the last", planted.prompt_average),
        ("workers are multiplied by n where rounds end", planted.summing),
    ):
        for is_meant in (is_drawn, starts_over):
            case = runs.with_bug(plant, is_meant=is_meant, parts=PARTS)
            checks += [record.planted(one, bug) for one in _judge(case) if one.name in NOTICED_BY[bug]]
    return checks


PULLED, AVERAGED = ("effective step", "contraction"), ("exact mean", "one round late")
NOTICED_BY: Mapping[str, tuple[str, ...]] = {
    # corrections of mean zero leave the mean alone whenever they come
    "what is due comes one step late": (*PULLED, "one round late"),
    # rounds of one step shorten steps as all rounds do
    "what is due is done in every step": ("contraction", "one round late"),
    "the average of now in the place of the last": ("effective step", "one round late"),
    "workers are multiplied by n where rounds end": (*PULLED, *AVERAGED),
}
"""{bug: forms that must notice it}."""


def is_late(algorithm: Algorithm) -> bool:
    """One of the two kinds."""
    return is_drawn(algorithm) or starts_over(algorithm)


def is_drawn(algorithm: Algorithm) -> bool:
    """Workers are drawn to an anchor that is one round old."""
    return "pull" in cases.declared(algorithm)


def starts_over(algorithm: Algorithm) -> bool:
    """Where each worker began its round is kept."""
    return "round_params" in lacks.of(algorithm)


def _judge(case: Case) -> list[Check]:
    is_plain = hypotheses.is_plain(case.trajectory, case.step_size)
    forms: dict[str, Callable[[Case], Comparison]]
    if is_drawn(case.algorithm):
        forms, assumed = {"effective step": _step, "contraction": _contraction}, [is_plain, _has_no_momentum(case)]
    else:
        forms, assumed = {"exact mean": _mean, "one round late": _late}, [is_plain]
    return [case.judge(ID, name, "equality", assumed, compare) for name, compare in forms.items()]


def _has_no_momentum(case: Case) -> Hypothesis:
    decay = cases.declared(case.algorithm)["anchor_decay"]
    return Hypothesis("no momentum of the anchor", decay == 0, f"anchor_decay = {decay}")


def _rounds(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """float64[S, R + 1, n, d] and [S, R, n, d]. Workers where rounds begin, and the sums of their gradients in each."""
    run, period = case.trajectory, cases.declared(case.algorithm)["period"]
    own, num_rounds = run.local_params, (run.num_steps - 1) // period
    assert own is not None
    begun = own[:, : num_rounds * period + 1 : period]
    grads = run.grads[:, : num_rounds * period]
    return begun, grads.reshape(len(grads), num_rounds, period, *grads.shape[2:]).sum(axis=2)


def _step(case: Case) -> Comparison:
    begun, grads = (values.mean(axis=2) for values in _rounds(case))
    kept = 1 - cases.declared(case.algorithm)["pull"]
    claimed = begun[:, :-1] - kept * case.step_size * grads
    return statistics.equal(begun[:, 1:], claimed, scale=case.trajectory.scale, axes=("run", "round"))


def _contraction(case: Case) -> Comparison:
    """With the gradients of the run, and with none from rows that are far apart."""
    begun, grads = (mixed.apart(values) for values in _rounds(case))
    kept, period = 1 - cases.declared(case.algorithm)["pull"], cases.declared(case.algorithm)["period"]
    claimed = kept * (begun[:, :-1] - case.step_size * grads)
    n = case.algorithm.num_workers
    seen = mixed.without_grads(case.algorithm, rows.far_apart(n + 1), rows.keys(num_runs=1, num_steps=3 * period))[
        :, ::period, :n
    ]
    alone = mixed.apart(seen)
    sides = ((begun[:, 1:], alone[:, 1:]), (claimed, kept * alone[:, :-1]))
    left, right = (np.concatenate([each.ravel() for each in side]) for side in sides)
    return statistics.equal(left, right, scale=case.trajectory.scale, axes=("place",))


def _mean(case: Case) -> Comparison:
    run = case.trajectory
    assert run.local_params is not None
    means, grads = run.local_params.mean(axis=2), run.grads.mean(axis=2)
    claimed = (means - case.step_size * grads)[:, :-1]
    return statistics.equal(means[:, 1:], claimed, scale=run.scale, axes=("run", "t"))


def _late(case: Case) -> Comparison:
    begun, grads = (mixed.apart(values) for values in _rounds(case))
    return statistics.equal(
        begun[:, 1:], -case.step_size * grads, scale=case.trajectory.scale, axes=("run", "round", "i")
    )
