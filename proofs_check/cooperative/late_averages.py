"""CO:O1. An average that comes one round late: what it does to the mean and to the differences.

Setting
    Rounds of H steps, plain SGD, four workers on gradients that are not linear; x̄_t is the mean of the workers. Two
    kinds of variants, told by their arguments and their state: those that are drawn by a (`pull`) to an anchor z that
    was made of the mean of the workers one round ago, with momentum β (`anchor_decay`) or without; and those that keep
    where each worker began its round (`round_params`), and replace its mean. z_0 = x̄_0; m_0 = 0, m_{r+1} = β m_r + z_r
    - x̄_{(r+1)H}, z_{r+1} = z_r - m_{r+1} at the end of round r; x_t = (1 - a) x̄_t + a z_r in round r.

Statement (CO:O1, equality), for every round r, in every run
    effective step: drawn to an anchor, β = 0,  x̄_{(r+1)H} = x̄_{rH} - (1 - a) α Σ_{s in r} ḡ_s;
    momentum:       drawn to an anchor, any β,  x_{t+1} = x_t - (1 - a) α ḡ_t, and -a β m_r more, which is the `shift`,
                    at the end of round r; the anchor is z_r;
    contraction:    drawn to an anchor, any β,  (I - J) X_{(r+1)H} = (1 - a) [(I - J) X_{rH} - α Σ_{s in r} (I - J)
                    G_s], so that without gradients differences shrink by exactly 1 - a a round;
    exact mean:     where a round began, x̄_{t+1} = x̄_t - α ḡ_t in every step;
    one round late: where a round began, (I - J) X_{(r+1)H} = -α Σ_{s in r} (I - J) G_s: what workers did in this round
                    stays, all that was before is averaged.

Why
    The anchor that is met at the end of round r is z_r, the same for all: x^i <- (1 - a) y^i + a z_r takes nothing but
    (1 - a) of the differences, and has the mean x_{(r+1)H - 1} - (1 - a) α ḡ, whatever β. By then z_{r+1} = x̄_{(r+1)H}
    - β m_r, so that x has -a β m_r more than that mean. With β = 0 z_r = x̄_{rH}, and x = x̄ where rounds begin. x^i <-
    z̄ + y^i - z^i with z^i = x_{rH}^i has the mean of y, and differences y^i - z^i.

Source
    Wang, Liang, Joshi, Overlap Local-SGD, ICASSP 2020, arXiv 2002.09539; Shen, Xu, Cheng, Liu, Luo, Faster Distributed
    Deep Net Training: Computation and Communication Decoupled SGD, IJCAI 2019, arXiv 1906.12043; proved above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, mixed, record, statistics
from proofs_check.cases import Case
from proofs_check.cooperative import planted, rows, runs
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import Trajectory

ID = "CO:O1"

PARTS: Mapping[str, Mapping[str, Any]] = {
    "a weak pull, rounds of two": {"pull": 0.3, "period": 2},
    "rounds of three": {"period": 3},
    "an anchor with momentum": {"anchor_decay": 0.7, "period": 2},
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
        ("the momentum is left out", planted.without_momentum),
    ):
        for is_meant in (is_drawn, has_momentum, starts_over):
            if plant is planted.without_momentum and is_meant is not has_momentum:
                continue
            case = runs.with_bug(plant, is_meant=is_meant, parts=PARTS)
            checks += [record.planted(one, bug) for one in _judge(case) if one.name in NOTICED_BY[bug]]
    return checks


PULLED, AVERAGED = ("effective step", "momentum", "contraction"), ("exact mean", "one round late")
NOTICED_BY: Mapping[str, tuple[str, ...]] = {
    # corrections of mean zero leave the mean alone whenever they come
    "what is due comes one step late": (*PULLED, "one round late"),
    # rounds of one step shorten steps as all rounds do
    "what is due is done in every step": ("momentum", "contraction", "one round late"),
    "the average of now in the place of the last": ("effective step", "momentum", "one round late"),
    "workers are multiplied by n where rounds end": (*PULLED, *AVERAGED),
    # differences know nothing of the anchor
    "the momentum is left out": ("momentum",),
}
"""{bug: forms that must notice it}."""


def is_late(algorithm: Algorithm) -> bool:
    """One of the two kinds."""
    return is_drawn(algorithm) or starts_over(algorithm)


def is_drawn(algorithm: Algorithm) -> bool:
    """Workers are drawn to an anchor that is one round old."""
    return "pull" in cases.declared(algorithm)


def has_momentum(algorithm: Algorithm) -> bool:
    """Workers are drawn to an anchor that has a momentum."""
    return is_drawn(algorithm) and cases.declared(algorithm)["anchor_decay"] > 0


def starts_over(algorithm: Algorithm) -> bool:
    """Where each worker began its round is kept."""
    return hasattr(jax.eval_shape(algorithm.init, jax.random.key(0), jnp.zeros(2)), "round_params")


def _judge(case: Case) -> list[Check]:
    forms: dict[str, Callable[[Case], Comparison]]
    assumed: Callable[[Trajectory, float], Hypothesis]
    if not is_drawn(case.algorithm):
        forms, assumed = {"exact mean": _mean, "one round late": _late}, hypotheses.is_plain
    elif has_momentum(case.algorithm):
        forms, assumed = {"momentum": _momentum, "contraction": _contraction}, _updates_are_plain
    else:
        forms = {"effective step": _step, "momentum": _momentum, "contraction": _contraction}
        assumed = hypotheses.is_plain
    plain = assumed(case.trajectory, case.step_size)
    return [case.judge(ID, name, "equality", [plain], compare) for name, compare in forms.items()]


def _updates_are_plain(run: Trajectory, step_size: float) -> Hypothesis:
    """Gradients become -α G; what else moves x is what is claimed."""
    return hypotheses.is_plain(run._replace(shifts=np.zeros_like(run.shifts)), step_size)


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


def _momentum(case: Case) -> Comparison:
    """How x moves, its shift and the anchor, with m and z written out from the means of the workers."""
    run, bound = case.trajectory, cases.declared(case.algorithm)
    assert run.local_params is not None
    assert run.other_params is not None
    means, kept = run.local_params.mean(axis=2), 1 - bound["pull"]
    anchor, momentum = means[:, 0], np.zeros_like(means[:, 0])
    anchors, shifts = [anchor], []
    for t in range(run.num_steps - 1):
        is_due = (t + 1) % bound["period"] == 0
        shifts.append(-bound["pull"] * bound["anchor_decay"] * momentum * is_due)
        if is_due:
            momentum = bound["anchor_decay"] * momentum + anchor - means[:, t + 1]
            anchor = anchor - momentum
        anchors.append(anchor)
    claimed, moved = np.stack(shifts, axis=1), -kept * case.step_size * run.grads.mean(axis=2)[:, :-1]
    return statistics.equal(
        np.stack([np.diff(run.params, axis=1)[:, :-1], run.shifts[:, :-1], run.other_params[:, 1:, 0]]),
        np.stack([moved + claimed, claimed, np.stack(anchors, axis=1)[:, 1:]]),
        scale=run.scale,
        axes=("of", "run", "t"),
    )


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
