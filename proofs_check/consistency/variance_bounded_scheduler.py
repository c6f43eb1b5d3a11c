"""EC:E11. The variance-bounded scheduler: with own gradients in the place of late ones, B is of the order of σ.

Setting
    Variants whose workers go on at a barrier with their own gradients standing in for what is late, plain SGD,
    identical workers (ζ = 0), q = (n - 1)/n. The rule may look at the gradients: all that could be late are counted.

Statement (EC:E11, upper)
    paper:           E‖x_t - v_t^i‖² <= α² 9 σ²,                 α <= 1/(6 L),                  for all t and i,
    over workers:    E‖x_t - v_t^i‖² <= α² (1.5 q)² σ²,          α <= 1/(6 L q),
    over layers:     E‖x_t - v_t^i‖² <= α² (9/8) q σ²,           α <= 1/(6 L q).

Why
    With Γ = max E‖x - v‖² / α²: gradients of two workers have independent noises, E‖G^j - G^i‖² <= 2σ² + 4 L² α² Γ, so
    Γ <= q² (2σ² + Γ / (9 q²)) by Minkowski's inequality over the n - 1 others, that is Γ <= (9/4) q² σ². Over layers
    x - v is a projection of α (ḡ - g^i), whose noise has variance q σ² and whose drift is at most 2 L α q √Γ:
    Γ <= q σ² + Γ/9.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the variance-bounded elastic scheduler, whose
    constant is 3 σ; proved above with smaller ones.
"""

from __future__ import annotations

from functools import partial

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, record, statistics, tightness
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:E11"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with barriers and stand-ins, over all paths and over seeds.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names = ("isotropic", "rational", "quadratic")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=goes_on_with_stand_ins)
    hardest = tightness.hardest(goes_on_with_stand_ins)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_default=False,
        is_meant=goes_on_with_stand_ins,
    )
    return [one for found in (exact, hardest, sampled) for case in found for one in _judge(case, 1.0)]


def control() -> list[Check]:
    """Half of each constant; α above the cap."""
    found = list(cases.exact(("isotropic",), is_meant=goes_on_with_stand_ins))
    tripped = []
    for name, factor in {"paper": 0.1, "over workers": 0.5, "over layers": 0.5}.items():
        judged = [one for case in found for one in _judge(case, factor) if one.name == name and one.ratio]
        tripped.append(record.planted(max(judged, key=lambda one: one.ratio or 0), f"{name}: {factor} of the constant"))
    steep = found[0]._replace(constants=found[0].constants._replace(smoothness=1 / found[0].step_size))
    return [*tripped, record.planted(_judge(steep, 1.0)[0], "α above 1/(6L)", expected="skipped")]


def goes_on_with_stand_ins(algorithm: Algorithm) -> bool:
    """Workers go on at a barrier with their own gradients in the place of late ones."""
    bound = cases.declared(algorithm)
    return "barrier" in bound and bool(bound["substitute"])


def _judge(case: Case, factor: float) -> list[Check]:
    run, constants = case.trajectory, case.constants
    over_layers = cases.declared(case.algorithm)["barrier"].over == "layers"
    others = (case.algorithm.num_workers - 1) / case.algorithm.num_workers
    steepness = 6 * (constants.smoothness or 0.0)
    assumed = [
        hypotheses.is_plain(run, case.step_size),
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_known(constants, "grad_variance", "smoothness"),
        hypotheses.is_homogeneous(constants),
    ]
    caps = [
        hypotheses.is_below(case.step_size, 1 / (steepness * part) if steepness else None, formula)
        for part, formula in ((1.0, "1/(6L)"), (others, "1/(6Lq)"))
    ]
    name, square = ("over layers", 9 / 8 * others) if over_layers else ("over workers", (1.5 * others) ** 2)
    return [
        case.judge(ID, "paper", "upper", [*assumed, caps[0]], partial(_compare, square=factor**2 * 9.0)),
        case.judge(ID, name, "upper", [*assumed, caps[1]], partial(_compare, square=factor**2 * square)),
    ]


def _compare(case: Case, square: float) -> Comparison:
    run = case.trajectory
    (variance,) = case.known("grad_variance")
    return statistics.at_most(run.distances_sq, case.step_size**2 * square * variance, is_exact=run.is_exact)
