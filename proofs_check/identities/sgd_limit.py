"""EC:I16. Nothing late, lost, held back or skipped: every variant is synchronous SGD at its limit.

Setting
    Every registered variant, with the arguments that it declares as its `SGD_LIMIT`; n workers as it says there. One
    that declares none is skipped. All sequences of coins; gradients at x are ∇f(x) ± b, written out in NumPy here.

Statement (EC:I16, equality)
    the same coins:      x_t is that of  x_{t+1} = x_t - α (1/n) Σ_i g(x_t, ξ_t^i)  for all t, in every run,
    views:               v_t^i is the x_t of that loop                              for all t and i, in every run,
    recorded gradients:  x_t = x_0 - α Σ_{s<t} (1/n) Σ_i G_s^i                      for all t, in every run.

Why
    With no delay, no fault, no compression, a barrier that waits for everybody, a period of 1, a view lacks nothing and
    each gradient enters at once. The judge is a loop that knows nothing of `elastic_jax`: neither its oracles nor its
    weights are asked.

Source
    Robbins, Monro, A Stochastic Approximation Method, 1951, for SGD. Nadiradze et al., Elastic Consistency, AAAI 2021,
    arXiv 2001.05918, where B = 0 is the perfectly consistent system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import jax
import numpy as np

from elastic_jax import algorithms
from proofs_check import cases, record, statistics, trajectory, two_samples
from proofs_check.cases import Case
from proofs_check.identities.missing_gradients import reads_are_stale
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import Trajectory
from proofs_check.two_samples import Coefficients

ID = "EC:I16"

OBJECTIVES = ("quadratic", "log_cosh", "rational")


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = 8) -> list[Check]:
    """Every registered variant, on gradients that are linear and that are not.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = []
    limits = {name: module.SGD_LIMIT is not None for name, module in algorithms.variants().items()}
    tried = set(cases.few((name for name, has_limit in limits.items() if has_limit), number=4))
    for name, module in algorithms.variants().items():
        if limits[name] and name not in tried:
            continue
        if module.SGD_LIMIT is None:
            none = "SGD_LIMIT is None"
            found += [record.skip(ID, form, "equality", name, none)._replace(is_exact=True) for form in _forms()]
            continue
        cases_of_name = _at_limit(name, module, step_size, max_tosses)
        found += [
            one for case, objective in zip(cases_of_name, OBJECTIVES, strict=True) for one in _judge(case, objective)
        ]
    return found


def control() -> list[Check]:
    """Views that are late; half of the gradients lost in every other step; another step size."""
    late = next(cases.exact(("rational",), is_meant=reads_are_stale))
    lossy = next(cases.dropping(("rational",)))
    halved = lossy._replace(step_size=lossy.step_size / 2)
    return [
        *(record.planted(one, "views that are late") for one in _judge(late, "rational")[:2]),
        *(record.planted(one, "half of the gradients lost") for one in _judge(lossy, "rational")),
        *(record.planted(one, "α halved") for one in _judge(halved, "rational")),
    ]


def synchronous(start: np.ndarray, coefficients: Coefficients, coins: np.ndarray, step_size: float) -> np.ndarray:
    """x_t of synchronous SGD on an objective of `two_samples`, step by step.

    Args:
        start: float[d]. x_0.
        coefficients: of the objective.
        coins: float[S, T, n] in {-1, +1}. ξ_t^i.
        step_size: α.

    Returns:
        float64[S, T + 1, d].
    """
    params = [np.broadcast_to(start, (len(coins), len(start)))]
    for coin in coins.mean(axis=2).T:
        params.append(params[-1] - step_size * _mean_grad(params[-1], coefficients, coin[:, None]))
    return np.stack(params, axis=1)


def _mean_grad(params: np.ndarray, coefficients: Coefficients, coin: np.ndarray) -> np.ndarray:
    """∇f(x) + ξ b, ξ the mean of the coins of the workers."""
    curvature, log_cosh, rational, slope, offset = coefficients
    smooth = curvature * params + log_cosh * np.tanh(params) + 2 * rational * params / (1 + params**2) ** 2
    return smooth + slope + coin * offset


def _coins(run: Trajectory) -> np.ndarray:
    """float64[S, T, k]. Path number s has the bits of s, the first toss being the highest."""
    num_tosses = run.num_steps * run.num_active
    bits = [(np.arange(run.num_runs) >> (num_tosses - 1 - toss)) & 1 for toss in range(num_tosses)]
    return (2.0 * np.stack(bits, axis=1) - 1.0).reshape(run.num_runs, run.num_steps, run.num_active)


def _at_limit(name: str, module: ModuleType, step_size: float, max_tosses: int) -> Iterator[Case]:
    """A variant at its limit on each of `OBJECTIVES`."""
    given = {"num_workers": cases.NUM_WORKERS_EXACT, "step_size": step_size, **module.SGD_LIMIT}
    with jax.enable_x64(True):
        algorithm = module.build(two_samples.oracle, **given)
    chosen = {objective: two_samples.objectives()[objective] for objective in OBJECTIVES}
    runs = trajectory.every_path(algorithm, chosen, max_tosses=max_tosses)
    return cases.of_runs(f"{name} at its limit", algorithm, runs, step_size)


def _judge(case: Case, objective: str) -> list[Check]:
    return [
        case.judge(ID, form, "equality", [], partial(compare, objective=objective))
        for form, compare in _forms().items()
    ]


def _forms() -> dict[str, Callable[..., Comparison]]:
    return {"the same coins": _same_coins, "views": _same_views, "recorded gradients": _recorded}


def _same_coins(case: Case, objective: str) -> Comparison:
    return statistics.equal(case.trajectory.params, _alone(case, objective), axes=("run", "t"))


def _same_views(case: Case, objective: str) -> Comparison:
    views = case.trajectory.views
    expected = np.broadcast_to(_alone(case, objective)[:, :-1, None], views.shape)
    return statistics.equal(views, expected, axes=("run", "t", "i"))


def _recorded(case: Case, objective: str) -> Comparison:
    del objective
    run = case.trajectory
    moves = np.cumsum(case.step_size * run.grads.mean(axis=2), axis=1)
    return statistics.equal(run.params[:, 1:], run.params[:, :1] - moves, axes=("run", "t"))


def _alone(case: Case, objective: str) -> np.ndarray:
    start, coefficients = two_samples.objectives()[objective].start, two_samples.objectives()[objective].coefficients
    return synchronous(start, coefficients, _coins(case.trajectory), case.step_size)
