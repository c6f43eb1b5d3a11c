"""What statements assume, tested on the run itself or on the constants of the problem."""

from __future__ import annotations

import numpy as np

from elastic_jax.base import Constants
from proofs_check import statistics
from proofs_check.record import Hypothesis
from proofs_check.trajectory import Trajectory


def is_oblivious(trajectory: Trajectory) -> Hypothesis:
    """Who is active, how late and with which weight is the same in all runs, whatever their samples."""
    same = all(
        bool(np.all(array == array[:1])) for array in (trajectory.workers, trajectory.staleness, trajectory.weights)
    )
    return Hypothesis("oblivious schedule", same, "workers, staleness and weights do not depend on the samples")


def is_unbiased(trajectory: Trajectory) -> Hypothesis:
    """E[G_t^i | all before t] = ∇f(v_t^i), exactly and for every past: the mean noise after each is zero.

    Where the runs are a sample of all, the noise of a slot, averaged over the steps of a run, must have a mean within
    its band of statistical error: noises of different steps are uncorrelated, so that their mean tells the most.
    """
    noises, name = trajectory.noises * is_used(trajectory), "unbiased gradients"
    if not trajectory.is_exact:
        of_runs = noises.mean(axis=1)
        found = np.abs(of_runs.mean(axis=0))
        allowed = statistics.band(found.size) * statistics.standard_error(of_runs)
        inside = bool(np.all(found <= allowed + statistics.ROUNDING * np.abs(trajectory.grads).max()))
        return Hypothesis(name, inside, "mean noise of every slot within its band")
    worst = float(np.abs(given_past(noises)).max())
    limit = statistics.ROUNDING * float(np.abs(trajectory.grads).max())
    return Hypothesis(name, worst <= limit, f"largest conditional mean of the noise {worst:.1e}")


def given_past(values: np.ndarray) -> np.ndarray:
    """E[values | all coins before t], where the runs are all there are: [S, T, ...] -> the same shape."""
    runs, steps = values.shape[:2]
    per_step = round(runs ** (1 / steps))
    means = np.empty_like(values)
    for t in range(steps):
        pasts = values[:, t].reshape(per_step**t, -1, *values.shape[2:])
        means[:, t] = np.repeat(pasts.mean(axis=1), pasts.shape[1], axis=0)
    return means


def is_used(trajectory: Trajectory) -> np.ndarray:
    """bool[S, T, k, 1]. Not a slot that nobody used, whose gradient and update mean nothing."""
    return (trajectory.workers >= 0)[..., None]


def is_plain(trajectory: Trajectory, step_size: float) -> Hypothesis:
    """Every gradient becomes the update -α G: plain SGD, nothing is lost for ever, and nothing else moves x."""
    residual = float(np.abs((trajectory.updates + step_size * trajectory.grads) * is_used(trajectory)).max())
    limit = statistics.ROUNDING * max(step_size * float(np.abs(trajectory.grads).max()), trajectory.scale)
    shift = float(np.abs(trajectory.shifts).max())
    if residual <= limit < shift:
        return Hypothesis("nothing but gradients moves x", False, f"largest shift {shift:.1e}")
    return Hypothesis("updates are -α G", residual <= limit, f"largest difference {residual:.1e}")


def is_model(trajectory: Trajectory, step_size: float) -> Hypothesis:
    """x_{t+1} = x_t - α Σ_i w_i G_t^i: the update model that the theorems are about."""
    moves = np.diff(trajectory.params, axis=1)
    model = -step_size * np.einsum("stk,stkd->std", trajectory.weights, trajectory.grads)
    residual = float(np.abs(moves - model).max())
    return Hypothesis(
        "x moves by -α Σ w G", residual <= statistics.ROUNDING * trajectory.scale, f"residual {residual:.1e}"
    )


def is_single(trajectory: Trajectory) -> Hypothesis:
    """One gradient a step, applied whole: k = 1 and no 1/n."""
    holds = trajectory.num_active == 1 and bool(np.all(trajectory.weights == 1))
    return Hypothesis("single steps", holds, f"k = {trajectory.num_active}, weights {_values(trajectory.weights)}")


def is_parallel(trajectory: Trajectory, num_workers: int, *, least: float) -> Hypothesis:
    """One gradient of each worker, of which at least `least` · n enter x, with weight 1/n whatever the number."""
    declared = np.isclose(trajectory.weights * num_workers, 1, rtol=1e-6) | (trajectory.weights == 0)
    counts = (trajectory.weights != 0).sum(axis=-1)
    is_of_all = trajectory.num_active == num_workers and trajectory.is_each_once
    holds = is_of_all and bool(declared.all()) and counts.min() >= least * num_workers
    often = "" if trajectory.is_each_once else ", several of one worker"
    detail = f"k = {trajectory.num_active} of n = {num_workers}{often}, at least {counts.min()} arrive"
    return Hypothesis(f"parallel steps, |I_t| >= {least:g} n, divisor n", holds, detail)


def is_homogeneous(constants: Constants) -> Hypothesis:
    """All workers draw from the same distribution: ζ = 0."""
    return Hypothesis("identical workers", constants.heterogeneity == 0, f"heterogeneity {constants.heterogeneity}")


def is_known(constants: Constants, *names: str) -> Hypothesis:
    """The constants of the problem that the statement speaks of are known."""
    missing = [name for name in names if getattr(constants, name) is None]
    return Hypothesis("constants known", not missing, f"missing {missing}" if missing else "all")


def is_strongly_convex(constants: Constants) -> Hypothesis:
    """C > 0."""
    convexity = constants.strong_convexity
    return Hypothesis("strongly convex", convexity is not None and convexity > 0, f"c = {convexity}")


def is_convex(constants: Constants) -> Hypothesis:
    """C >= 0."""
    convexity = constants.strong_convexity
    return Hypothesis("convex", convexity is not None and convexity >= 0, f"c = {convexity}")


def is_below(step_size: float, cap: float | None, formula: str) -> Hypothesis:
    """α is at most the cap of the theorem; None is a cap that cannot be told."""
    holds = cap is not None and step_size <= cap * (1 + 1e-12)
    return Hypothesis(f"α <= {formula}", holds, f"α = {step_size:g}, cap {cap}")


def is_prescribed(step_size: float, prescribed: float | None, formula: str) -> Hypothesis:
    """α is the one that the theorem prescribes for its horizon; None is one that cannot be told."""
    holds = prescribed is not None and abs(step_size - prescribed) <= 1e-12 * prescribed
    return Hypothesis(f"α = {formula}", holds, f"α = {step_size:g}, prescribed {prescribed}")


def is_declared(name: str, holds: bool, detail: str = "") -> Hypothesis:
    """Something that the variant declares by its arguments."""
    return Hypothesis(name, holds, detail)


def _values(array: np.ndarray) -> list[float]:
    return [float(value) for value in np.unique(array)[:4]]
