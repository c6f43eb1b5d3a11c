"""EC:E1'. Without a bound on gradients there is no constant B, but the sum over a run needs only the noise σ².

Setting
    Plain SGD, unbiased gradients of variance at most σ², identical workers, f smooth and bounded below, an oblivious
    schedule. No bound M on gradients is used: E‖x_t - v_t‖² is summed over the run and swallowed by the descent.

Statement (EC:E1', upper), GN = (1/T) Σ_{t<T} E‖∇f(x_t)‖²
    late messages:   GN <= 4 (f(x_0) - f*) / (α T) + 8 α² L² K σ² / n² + 2 α L σ² / n,   α <= min(1/L, n / (4 L K)),
    single steps:    GN <= 2 (f(x_0) - f*) / (α T) + 2 α² L² τ σ² + α L σ²,              α <= 1 / (2 L max(1, τ)),
    error feedback:  GN <= 2 (f(x_0) - f*) / (α T) + α² L² b² σ² + α L σ² / n,           α <= min(1/(2L), 1/(1.5 L b)).
    K = (n - 1) τ messages of n workers are late at most; in single steps the last τ gradients are unseen at most, whole
    or in part; b(γ) = √γ / (1 - √γ) of a contraction with a memory, in synchronous rounds.

Why
    What is missing is a sum of noises, which are orthogonal to each other, and of gradients ∇f(v_s^j), for which the
    inequality of Cauchy and Schwarz gives a factor K (τ, or b by Young's inequality for convolutions). Summed over t
    each gradient is counted at most K (τ) times; the term -(α/2)(1 - αL) E‖∇f(v)‖² of the descent, EC:X2, swallows them
    below the step size that is asked for.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, has the noise-dependent rows for a
    scheduler that substitutes; these forms, which need no substitution, are proved above.
"""

from __future__ import annotations

from functools import partial

from elastic_jax import compressors
from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, missing_messages, record, statistics
from proofs_check.cases import Case
from proofs_check.consistency.error_feedback import minkowski_constant
from proofs_check.consistency.late_messages import are_late_alone
from proofs_check.identities.missing_gradients import reads_are_stale
from proofs_check.identities.unseen_writes import writes_are_unseen
from proofs_check.identities.unsent_memory import has_error_feedback
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:E1'"

STEP_SIZE = 0.01
"""α: below every cap here, the smallest being that of the memory."""


def check(
    *,
    step_size: float = STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting that is meant for one of the forms.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    names = ("quadratic", "rational")
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=_is_meant)
    sampled = cases.sampled(
        ("nonconvex_logistic",), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps, is_meant=_is_meant
    )
    return [_judge(case) for found in (exact, sampled) for case in found]


def control() -> list[Check]:
    """A fiftieth of what is claimed; α above the cap."""
    forms: dict[str, Case] = {}
    for case in cases.exact(("quadratic",), step_size=STEP_SIZE, is_meant=_is_meant):
        forms.setdefault(_judge(case).name, case)
    tripped = [record.planted(_judge(case, 0.02), f"{name}: a fiftieth of the bound") for name, case in forms.items()]
    for name, case in forms.items():
        steep = case._replace(constants=case.constants._replace(smoothness=2 / case.step_size))
        tripped.append(record.planted(_judge(steep), f"{name}: α above the cap", expected="skipped"))
    return tripped


def _is_meant(algorithm: Algorithm) -> bool:
    if has_error_feedback(algorithm) and not missing_messages.are_known(algorithm):
        return True
    if cases.takes_one(algorithm):
        return (reads_are_stale(algorithm) or writes_are_unseen(algorithm)) and not missing_messages.is_compressed(
            algorithm
        )
    return are_late_alone(algorithm) and not missing_messages.is_substituted(algorithm)


def _judge(case: Case, factor: float = 1.0) -> Check:
    run, constants, n = case.trajectory, case.constants, case.algorithm.num_workers
    L, a = constants.smoothness or 0.0, case.step_size
    noise = constants.grad_variance or 0.0
    assumed = [
        hypotheses.is_plain(run, a),
        hypotheses.is_model(run, a),
        hypotheses.is_oblivious(run),
        hypotheses.is_unbiased(run),
        hypotheses.is_homogeneous(constants),
        hypotheses.is_known(constants, "smoothness", "grad_variance", "optimal_value"),
    ]
    if case.is_single:
        oldest = _oldest(case)
        name, gain, cap = "single steps", 2.0, 1 / (2 * L * max(1, oldest)) if L else None
        error, formula = 2 * a**2 * L**2 * oldest * noise + a * L * noise, "1 / (2 L max(1, τ))"
        assumed.append(hypotheses.is_single(run))
    elif missing_messages.are_known(case.algorithm):
        most = missing_messages.most(case.algorithm) or 0
        name, gain = "late messages", 4.0
        cap = min(1 / L, n / (4 * L * most) if most else float("inf")) if L else None
        error, formula = 8 * a**2 * L**2 * most * noise / n**2 + 2 * a * L * noise / n, "min(1/L, n / (4 L K))"
        assumed.append(hypotheses.is_parallel(run, n, least=1.0))
    else:
        lost = compressors.residual_fraction(cases.declared(case.algorithm)["compressor"], run.params[0, 0])
        held = minkowski_constant(lost) if lost is not None and lost < 1 else float("inf")
        name, gain, cap = "error feedback", 2.0, min(1 / (2 * L), 1 / (1.5 * L * held)) if L else None
        error, formula = a**2 * L**2 * held**2 * noise + a * L * noise / n, "min(1/(2L), 1/(1.5 L b))"
        assumed.append(hypotheses.is_parallel(run, n, least=1.0))
    assumed.append(hypotheses.is_below(a, cap, formula))
    return case.judge(ID, name, "upper", assumed, partial(_compare, gain=gain, error=error, factor=factor))


def _oldest(case: Case) -> int:
    """τ: how many of the last gradients may be unseen, as declared or as the schedule at hand has it."""
    bound = cases.declared(case.algorithm)
    return int(bound["reads"].max_delay) if "reads" in bound else int(case.trajectory.staleness.max())


def _compare(case: Case, gain: float, error: float, factor: float) -> Comparison:
    run = case.trajectory
    start = run.values[:, 0] - case.known("optimal_value")[0]
    claimed = gain * start / (case.step_size * run.num_steps) + error
    measured = norms_sq(run.slopes[:, :-1]).mean(axis=1)
    return statistics.at_most(measured, factor * claimed, is_exact=run.is_exact)
