"""CO:I4. What cooperative SGD becomes with the simplest matrices.

Setting
    Variants whose arguments say by which matrices W_t their n + v rows are mixed (`mixed`), plain SGD, the same coins.

Statement (CO:I4, equality), row by row and step by step, in every run
    W = J in every step, v = 0:     x_t^i = x_{t-1} - (α/n) Σ_j ∇F(x_{t-1}, ξ_{t-1}^j) for all i: SGD with the batches
        of all workers;
    W = I, or H beyond the horizon: x_t^i = x_{t-1}^i - α ∇F(x_{t-1}^i, ξ_{t-1}^i): n runs that know nothing of each
        other;
    springs with a = 1/(n + 1), H = 1:  z_t = (1/(n + v)) Σ_i x_t^i: the anchor is the mean of all rows, since its mode
        of W_a has the eigenvalue 1 - (n + 1) a = 0.

Why
    J X has (1/n) Σ_j x^j in every row; I X is X; e_anchorᵀ W_a = 1ᵀ/(n + 1). The right sides are not run by the
    library: gradients are written out again.

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, the table of special cases A(τ, W, v); proved above.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from elastic_jax import algorithms, mixings
from elastic_jax.base import Algorithm
from elastic_jax.mixings import Mixing
from proofs_check import cases, mixed, record, statistics, trajectory, two_samples
from proofs_check.cases import Case
from proofs_check.cooperative import planted, runs
from proofs_check.identities.sgd_limit import synchronous
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CO:I4"

OBJECTIVES = ("quadratic", "rational")
MAX_TOSSES = 8
BEYOND = 1 + MAX_TOSSES
"""A period that no run here completes."""


def with_middle_anchor(num_rows: int) -> Mixing:
    """Springs with a = 1/r."""
    return mixings.elastic(num_rows - 1, 1.0 / num_rows)


AT_LARGE_BATCHES: tuple[Mapping[str, Any], ...] = ({"mixing": mixings.average, "period": 1}, {"period": 1})
APART: tuple[Mapping[str, Any], ...] = ({"mixing": runs.identity, "period": 1}, {"period": BEYOND})
IN_THE_MIDDLE: tuple[Mapping[str, Any], ...] = (
    {"mixing": with_middle_anchor, "num_auxiliary": 1, "period": 1},
    {"elasticity": 1.0 / (cases.NUM_WORKERS_EXACT + 1), "period": 1},
)
"""Arguments, of which the first that `build` takes whole are given."""


def check(*, step_size: float = cases.STEP_SIZE) -> list[Check]:
    """Every variant that can be given such matrices, on gradients that are linear and that are not.

    Args:
        step_size: α > 0.
    """
    return [
        _judge(case, objective, form)
        for form in _forms()
        for name, algorithm in cases.few(_algorithms(form, step_size), number=2)
        for case, objective in _runs(name, algorithm, step_size)
    ]


def control() -> list[Check]:
    """A sum; a W of unequal columns; averaging all the same; an anchor drawn to workers that have moved already."""
    bugs: tuple[tuple[str, str, Callable[[Algorithm], Algorithm], Callable[[Algorithm], bool]], ...] = (
        ("large batches", "workers take the sum instead of the mean", planted.summing, runs.is_average),
        ("large batches", "rows of W sum to 1, columns do not", planted.from_the_first, runs.has_mixing),
        ("runs of their own", "averaging every step", planted.mixing_every_step, _waits_alone),
        (
            "the anchor",
            "the anchor is drawn to workers that have moved already",
            planted.moved_anchor,
            runs.has_springs,
        ),
    )
    return [record.planted(_with_bug(form, plant, is_meant), bug) for form, bug, plant, is_meant in bugs]


def _waits_alone(algorithm: Algorithm) -> bool:
    return runs.waits(algorithm) and not runs.has_auxiliary(algorithm)


def _with_bug(form: str, plant: Callable[[Algorithm], Algorithm], is_meant: Callable[[Algorithm], bool]) -> Check:
    found = next((name, each) for name, each in _algorithms(form, cases.STEP_SIZE) if is_meant(each))
    case, objective = next(_runs(found[0], plant(found[1]), cases.STEP_SIZE))
    return _judge(case, objective, form)


def _forms() -> dict[str, tuple[tuple[Mapping[str, Any], ...], Callable[..., Comparison], Callable[[Any], bool]]]:
    """{form: arguments, what is compared, which of the algorithms are meant}."""
    return {
        "large batches": (AT_LARGE_BATCHES, _as_large_batches, runs.is_average),
        "runs of their own": (APART, _as_alone, _is_any),
        "the anchor": (IN_THE_MIDDLE, _anchor, runs.has_auxiliary),
    }


def _is_any(algorithm: Algorithm) -> bool:
    del algorithm
    return True


def _algorithms(form: str, step_size: float) -> Iterator[tuple[str, Algorithm]]:
    """(name, algorithm) of all variants that the form is about."""
    choices, _, is_meant = _forms()[form]
    for name, module in algorithms.variants().items():
        takes = inspect.signature(module.build).parameters
        given = next((each for each in choices if each.keys() <= takes.keys()), None)
        if given is None:
            continue
        with jax.enable_x64(True):
            algorithm = module.build(
                two_samples.oracle, num_workers=cases.NUM_WORKERS_EXACT, step_size=step_size, **given
            )
        if mixed.of(algorithm) is not None and is_meant(algorithm):
            yield name, algorithm


def _runs(name: str, algorithm: Algorithm, step_size: float) -> Iterator[tuple[Case, str]]:
    chosen = {objective: two_samples.objectives()[objective] for objective in OBJECTIVES}
    found = trajectory.every_path(algorithm, chosen, max_tosses=MAX_TOSSES)
    yield from zip(cases.of_runs(name, algorithm, found, step_size), OBJECTIVES, strict=True)


def _judge(case: Case, objective: str, form: str) -> Check:
    _, compare, _ = _forms()[form]
    return case.judge(ID, form, "equality", [], partial(compare, objective=objective))


def _as_large_batches(case: Case, objective: str) -> Comparison:
    return _workers_are(case, _alone(case, objective, _coins(case))[:, :, None])


def _as_alone(case: Case, objective: str) -> Comparison:
    coins = _coins(case)
    each = [_alone(case, objective, coins[:, :, [worker]]) for worker in range(coins.shape[2])]
    return _workers_are(case, np.stack(each, axis=2))


def _anchor(case: Case, objective: str) -> Comparison:
    del objective
    run = case.trajectory
    found = mixed.rows(run)
    return statistics.equal(found[:, 1:, -1], found[:, 1:].mean(axis=2), scale=run.scale, axes=("run", "t"))


def _workers_are(case: Case, claimed: np.ndarray) -> Comparison:
    own = case.trajectory.local_params
    assert own is not None
    return statistics.equal(own, np.broadcast_to(claimed[:, :-1], own.shape), axes=("run", "t", "i"))


def _coins(case: Case) -> np.ndarray:
    """float64[S, T, n]: those of `trajectory.every_path`."""
    n = case.algorithm.num_workers
    return np.asarray(trajectory.all_coins(case.trajectory.num_steps, n, n))


def _alone(case: Case, objective: str, coins: np.ndarray) -> np.ndarray:
    """float64[S, T + 1, d]."""
    found = two_samples.objectives()[objective]
    return synchronous(found.start, found.coefficients, coins, case.step_size)
