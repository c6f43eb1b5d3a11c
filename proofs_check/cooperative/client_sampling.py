"""CO:S2. What a sample of the workers that averages leaves of their differences.

Setting
    n rows, of which c, a subset S drawn uniformly, are replaced by their mean; the others keep what they have. Once all
    C(n, c) matrices W_S written out; once the matrices of every variant that samples like this (`mixed`): what a step
    without gradients makes of unit vectors.

Statement (CO:S2, equality)
    factor:     the mean over all S of ‖(I - J) W_S X‖² is ((n - c)/(n - 1)) ‖(I - J) X‖², for every X, and 1 - p of
                `mixings.sampled`; c = 2 is one pair of the complete graph;
    projection: W_S is symmetric, doubly stochastic, and W_S² = W_S;
    of a run:   each matrix in a run is one of the W_S where a mixing is due and I elsewhere, and is the one that the
                mixing declares for the key of that step.

Why
    W_S² = W_S = W_Sᵀ, so that E[WᵀW] = E[W], which is symmetric under permutations: a I + b J. Its diagonal is
    1 - (c/n)(1 - 1/c), thus a = (n - c)/(n - 1).

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, where W may change; proved above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import base, mixings, topologies
from elastic_jax.base import Algorithm
from proofs_check import cases, mixed, record, statistics, trajectory
from proofs_check.cooperative import planted, rows, runs
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CO:S2"

NUMBERS = (2, 3, 5, 7)
"""n, with all c."""
NUM_RUNS = 16


def check() -> list[Check]:
    """All subsets of several sizes, and every variant that samples."""
    sampling = [(s.name, a) for s, a in runs.every() if mixed.sample_size(a) is not None]
    of_runs = [_of_run(name, algorithm) for name, algorithm in cases.few(sampling, number=1)]
    return [_of_subsets("factor"), _of_subsets("projection"), *of_runs]


def control() -> list[Check]:
    """A sample that takes its first member instead of its mean; c/n in the place of (n - c)/(n - 1); other steps."""
    name, algorithm = next((s.name, a) for s, a in runs.every() if mixed.sample_size(a) is not None)
    return [
        record.planted(_of_subsets("factor", factor=_share_outside), "the share (n - c)/n that is not sampled"),
        record.planted(_of_subsets("projection", of=_from_the_first), "the sample takes its first member"),
        record.planted(_of_subsets("factor", of=_from_the_first), "the sample takes its first member"),
        record.planted(_of_run(name, planted.late_mixing(algorithm)), "mixing one step late"),
        record.planted(_of_run(name, planted.mixing_every_step(algorithm)), "averaging every step"),
        record.planted(_of_run(name, planted.summing(algorithm)), "rows are multiplied by n"),
    ]


def _from_the_first(num_rows: int, sample: tuple[int, ...]) -> np.ndarray:
    """W with a bug: the sampled rows become the first of them."""
    found = np.eye(num_rows)
    found[list(sample)] = np.eye(num_rows)[sample[0]]
    return found


def _averaging(num_rows: int, sample: tuple[int, ...]) -> np.ndarray:
    """W_S."""
    found = np.eye(num_rows)
    found[np.ix_(sample, sample)] = 1.0 / len(sample)
    return found


def _left(num_rows: int, size: int) -> float:
    return (num_rows - size) / (num_rows - 1)


def _share_outside(num_rows: int, size: int) -> float:
    """Not the factor."""
    return (num_rows - size) / num_rows


def _all(num_rows: int, size: int, of: Callable[[int, tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """float64[C(n, c), n, n]."""
    return np.array([of(num_rows, sample) for sample in combinations(range(num_rows), size)])


def _of_subsets(
    form: str,
    *,
    of: Callable[[int, tuple[int, ...]], np.ndarray] = _averaging,
    factor: Callable[[int, int], float] = _left,
) -> Check:
    compare = {"factor": partial(_factor, of, factor), "projection": partial(_projection, of)}[form]
    setting = f"all subsets, n in {NUMBERS}"
    return record.judge(ID, form, "equality", setting, [], compare, seeds=1, is_exact=True, steps=0)


def _sizes() -> list[tuple[int, int]]:
    return [(n, c) for n in NUMBERS for c in range(1, n + 1)]


def _factor(of: Callable[..., np.ndarray], factor: Callable[[int, int], float]) -> Comparison:
    measured, claimed = [], []
    for n, c in _sizes():
        apart = mixed.apart(rows.far_apart(n))
        left = mixed.apart(_all(n, c, of) @ apart)
        measured += [
            np.square(left).sum(axis=(1, 2)).mean() / np.square(apart).sum(),
            1 - mixings.sampled(n, c).contraction,
        ]
        claimed += [factor(n, c)] * 2
    for n in NUMBERS:
        # one of the n (n - 1)/2 edges
        measured.append(1 - mixings.pairs(topologies.complete(n)).contraction)
        claimed.append(factor(n, 2))
    return statistics.equal(np.array(measured), np.array(claimed))


def _projection(of: Callable[..., np.ndarray]) -> Comparison:
    measured, claimed = [], []
    for n, c in _sizes():
        for matrix in _all(n, c, of):
            measured += [
                matrix.T,
                matrix @ matrix,
                np.tile(matrix.sum(axis=0), (n, 1)),
                np.tile(matrix.sum(axis=1), (n, 1)),
            ]
            claimed += [matrix, matrix, np.ones((n, n)), np.ones((n, n))]
    return statistics.equal(*(np.concatenate([each.ravel() for each in side]) for side in (measured, claimed)))


def _of_run(name: str, algorithm: Algorithm) -> Check:
    steps = 3 * mixed.known(algorithm).period
    setting = f"{name} without gradients, n = {algorithm.num_workers}"
    compare = partial(_drawn, algorithm, steps)
    return record.judge(ID, "of a run", "equality", setting, [], compare, seeds=NUM_RUNS, is_exact=True, steps=steps)


def _drawn(algorithm: Algorithm, num_steps: int) -> Comparison:
    """The matrix of each step, as it acts, against the nearest of what it may be and against what is declared."""
    found, n, size = mixed.known(algorithm), algorithm.num_workers, mixed.sample_size(algorithm)
    assert size is not None
    keys = rows.keys(num_runs=NUM_RUNS, num_steps=num_steps)
    applied = np.stack([_one_step(algorithm, keys, step) for step in range(num_steps)], axis=1)
    choices = _all(n, size, _averaging)
    distances = np.abs(applied[:, :, None] - choices).max(axis=(3, 4))
    nearest = choices[distances.argmin(axis=2)]
    is_due = ((np.arange(num_steps) + 1) % found.period == 0)[:, None, None]
    may_be = np.where(is_due, nearest, np.eye(n))
    declared = np.where(is_due, _declared(found.mixing.matrix, keys), np.eye(n))
    return statistics.equal(np.stack([applied, applied]), np.stack([may_be, declared]), axes=("of", "run", "t", "i"))


def _one_step(algorithm: Algorithm, keys: Array, step: int) -> np.ndarray:
    """float64[S, n, n]. What one step makes of unit vectors."""
    return mixed.without_grads(algorithm, rows.basis(algorithm.num_workers), keys[:, step : step + 1], first=step)[:, 1]


def _declared(matrix: Callable[[Array, Array], Array], keys: Array) -> np.ndarray:
    """float64[S, T, n, n]. The matrices for the keys of the steps."""
    with jax.enable_x64(True):
        over_all = jax.vmap(jax.vmap(partial(_first_matrix, matrix)))
        return np.asarray(jax.jit(over_all, compiler_options=trajectory.QUICKLY)(keys), np.float64)


def _first_matrix(matrix: Callable[[Array, Array], Array], key: Array) -> Array:
    return matrix(base.split_key(key).schedule, jnp.zeros((), jnp.int32))
