"""EC:E10. The norm-bounded scheduler: at most one round is late, and of it what the barrier lets be late.

Setting
    Variants whose workers go on at a barrier, what is late being absent, plain SGD. Pieces are messages of workers or
    layers of their mean. The rule may look at the gradients: all that could be late are counted.

Statement (EC:E10), with q = (n - 1)/n
    all others (tight):    E‖x_t - v_t^i‖² <= α² q² M² over workers, α² M² over layers,        for all t and i,
    a part of all (upper): E‖x_t - v_t^i‖² <= α² β² M² where ‖late‖ <= β ‖all‖,
    a part of own (upper): E‖x_t - v_t^i‖² <= α² (c M + s)² where ‖P u^i‖ <= c ‖u^i‖ for the late layers P, ζ = 0,
                           s² = q σ² + (2 L α q M)².
    The first is attained where all gradients are the same and nobody waits.

Why
    EC:I2, EC:I10 and EC:P10 with Minkowski's inequality in L². For the last, ‖P ḡ‖ <= ‖P g^i‖ + ‖ḡ - g^i‖; the noise of
    ḡ - g^i has variance (1 - 1/n) σ², and ∇f at the views differs by at most L (‖x - v^j‖ + ‖x - v^i‖) <= 2 L α M, for
    the n - 1 others, divided by n.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, norm-bounded elastic scheduler: O(M).
    The forms over layers are proved above.
"""

from __future__ import annotations

from functools import partial

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, record, statistics, tightness, trajectory
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E10"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with barriers and nothing in the place of what is late, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names = ("linear", "rational", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=goes_on_without)
    hardest = tightness.hardest(goes_on_without)
    sampled = cases.sampled(
        ("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=goes_on_without
    )
    return [one for found in (exact, hardest, sampled) for case in found for one in _judge(case, 1.0)]


def control() -> list[Check]:
    """The constant understated by a tenth where it is attained; the parts understated."""
    found = list(cases.exact(("linear",), is_meant=goes_on_without))
    checks = {"all others": 0.9, "a part of all": 0.25, "a part of own": 0.25}
    tripped = []
    for name, factor in checks.items():
        judged = [one for case in found for one in _judge(case, factor) if one.name == name and one.ratio]
        tripped.append(record.planted(max(judged, key=lambda one: one.ratio or 0), f"{name}: {factor} of the constant"))
    return tripped


def goes_on_without(algorithm: Algorithm) -> bool:
    """Workers go on at a barrier, and nothing stands in for what is late."""
    bound = cases.declared(algorithm)
    return "barrier" in bound and not bound["substitute"]


def _judge(case: Case, factor: float) -> list[Check]:
    run, barrier = case.trajectory, cases.declared(case.algorithm)["barrier"]
    constants = trajectory.with_exact_moment(case.constants, run)
    smoothness, variance, moment = constants.smoothness, constants.grad_variance, constants.grad_second_moment
    others = (case.algorithm.num_workers - 1) / case.algorithm.num_workers
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_known(constants, "grad_second_moment"),
    ]
    over_layers = barrier.over == "layers"
    size = (moment or 0.0) ** 0.5
    whole = partial(_compare, constant=factor * (1.0 if over_layers else others) * size)
    checks = [case.judge(ID, "all others", "tight", assumed, whole)]
    if barrier.missing_of_all < 1:
        part = partial(_compare, constant=factor * barrier.missing_of_all * size)
        checks.append(case.judge(ID, "a part of all", "upper", assumed, part))
    if barrier.missing_of_own is not None:
        known = hypotheses.is_known(constants, "smoothness", "grad_variance")
        drift = 2 * (smoothness or 0.0) * case.step_size * others
        spread = ((variance or 0.0) * others + drift**2 * (moment or 0.0)) ** 0.5
        own = factor * (barrier.missing_of_own(run.num_layers) * size + spread)
        same = [*assumed, known, hypotheses.is_homogeneous(constants)]
        checks.append(case.judge(ID, "a part of own", "upper", same, partial(_compare, constant=own)))
    return checks


def _compare(case: Case, constant: float) -> Comparison:
    run = case.trajectory
    return statistics.at_most(run.distances_sq, (case.step_size * constant) ** 2, is_exact=run.is_exact)
