"""What the rates are formed from, for single and for parallel steps at once.

Both are x_{t+1} = x_t - α Σ_i w_t^i G_t^i, with w = 1 for the one gradient of a single step, and w = 1/n for each of
the gradients of a parallel step that are heard, I_t, whatever their number. With m = 1 or n, a_t = α Σ_i w_t^i is
α |I_t| / m, and a mean over the gradients heard is one with the weights w.
"""

from __future__ import annotations

import numpy as np

from proofs_check import cases, hypotheses, trajectory
from proofs_check.cases import Case
from proofs_check.record import Hypothesis


def kind(case: Case) -> str:
    """Of its steps, for the name of a form."""
    return "single" if case.is_single else f"parallel, {heard(case)}"


def heard(case: Case) -> str:
    """How many gradients of a parallel step enter x."""
    return "all heard" if np.all(case.trajectory.weights != 0) else "half heard"


def num_averaged(case: Case) -> int:
    """M: the divisor of the noise, 1 in single steps and n in parallel ones."""
    return 1 if case.is_single else case.algorithm.num_workers


def assumed(case: Case, *, least: float = 0.5) -> list[Hypothesis]:
    """What all rates assume of a run.

    Args:
        case: of single or of parallel steps.
        least: the fraction of the n gradients of a parallel step that are heard.
    """
    run, n = case.trajectory, case.algorithm.num_workers
    is_step = hypotheses.is_single(run) if case.is_single else hypotheses.is_parallel(run, n, least=least)
    return [is_step, *update_model(case)]


def update_model(case: Case) -> list[Hypothesis]:
    """What is assumed of a run beside how many gradients a step has."""
    run = case.trajectory
    return [
        hypotheses.is_model(run, case.step_size),
        hypotheses.is_oblivious(run),
        hypotheses.is_unbiased(run),
        hypotheses.is_homogeneous(case.constants),
    ]


def fractions(case: Case) -> np.ndarray:
    """float64[S, T]. Σ_i w_t^i = |I_t| / m."""
    return np.asarray(case.trajectory.weights.sum(axis=-1))


def mean_heard(case: Case, values: np.ndarray) -> np.ndarray:
    """The mean over the gradients heard: [S, T, k, ...] -> [S, T, ...]."""
    shares = case.trajectory.weights / fractions(case)[..., None]
    return np.einsum("stk,stk...->st...", shares, values)


def noises_sq(case: Case) -> np.ndarray:
    """float64[S, T]. Σ_i (w_t^i)² ‖ξ_t^i‖², the variance of what enters x where noises are uncorrelated."""
    run = case.trajectory
    return np.einsum("stk,stkd,stkd->st", run.weights**2, run.noises, run.noises)


def distances_sq(case: Case) -> np.ndarray:
    """float64[S, T]. The mean of ‖x_t - v_t^i‖² over the gradients heard: α² B_t² as measured."""
    return mean_heard(case, case.trajectory.distances_sq)


def penalty(case: Case) -> float:
    """Q: 1 if all gradients are heard, 2 if half of them may be missing, since a_t >= α / 2."""
    return 1.0 if np.all(fractions(case) > 1 - 1e-6) else 2.0


def with_moment_of_other_seeds(case: Case, problem: str) -> Case:
    """A sampled case whose second moment M² = max E‖G_t^i‖² is that of other samples, under another schedule.

    Where no bound over all of space exists, what B promises is then known without a look at the runs that are tested.

    Args:
        case: of `cases.sampled`.
        problem: its label in `cases.SAMPLED_PROBLEMS`.
    """
    run = case.trajectory
    others = trajectory.sampled(
        case.algorithm, cases.sampled_problem(problem), num_steps=run.num_steps, num_seeds=run.num_runs, seed=1
    )
    moment = float(trajectory.norms_sq(others.grads * hypotheses.is_used(others)).mean(axis=0).max())
    return case._replace(constants=case.constants._replace(grad_second_moment=moment))
