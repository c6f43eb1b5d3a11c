"""CO:S1. The spectrum of elastic averaging, the springs that it can bear, and the best ones.

Setting
    W_a of n workers and an anchor, the last row: x^i <- (1 - a) x^i + a z, z <- (1 - n a) z + a Σ_i x^i, both of the
    old x and z. Once the matrix that `mixings.elastic` declares; once what a step without gradients makes of the rows
    of every variant whose workers are tied to an anchor (`mixed`), which is its matrix where the rows are unit vectors.

Statement (CO:S1, equality)
    spectrum:   eigenvalues of W_a are 1, n - 1 times 1 - a, and 1 - (n + 1) a: ζ = max(|1 - a|, |1 - (n + 1) a|) for
                n > 1;
    stable:     ζ < 1 if and only if 0 < a < 2/(n + 1), which are the a that the library takes;
    best:       a* = 2/(n + 2) has ζ* = n/(n + 2), which is least, and is what the library takes by itself;
    of a run:   the matrix of a mixing in a run is W_a; the workers' differences shrink by 1 - a, and the distance of
                the anchor from their mean by 1 - (n + 1) a.

Why
    W_a = I - a Lap of the star, whose eigenvalues are 0, n - 1 times 1, and n + 1. ζ is a maximum of a decreasing and
    an increasing function of a near a*, where 1 - a = (n + 1) a - 1.

Source
    Zhang, Choromanska, LeCun, Deep Learning with Elastic Averaging SGD, NeurIPS 2015, arXiv 1412.6651; Wang, Joshi,
    Cooperative SGD, JMLR 2021, arXiv 1808.07576, for the best a; proved above.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import mixings
from elastic_jax.base import Algorithm
from proofs_check import cases, mixed, record, statistics
from proofs_check.cooperative import planted, rows, runs
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CO:S1"

NUMBERS = (2, 3, 4, 8, 16)
"""n."""
SHARES = (0.05, 0.3, 0.5, 0.8, 0.95)
"""a, as shares of 2/(n + 1)."""
MARGIN = 1e-6
"""How near to the end of the stable range its inside and its outside are tried."""


def check() -> list[Check]:
    """Matrices of several sizes, and every variant with an anchor."""
    found = [_of_matrices(form) for form in ("spectrum", "stable", "best")]
    tied = [(setting.name, algorithm) for setting, algorithm in runs.every() if _is_tied(algorithm)]
    return [*found, *(_of_run(name, algorithm) for name, algorithm in cases.few(tied, number=1))]


def control() -> list[Check]:
    """An anchor drawn to moved workers, in a run and on its own; another range; another best a; mixing late."""
    name, algorithm = next((s.name, a) for s, a in runs.every() if runs.has_springs(a))
    bug = "the anchor is drawn to workers that have moved already"
    late = "mixing one step late"
    return [
        record.planted(_of_matrices("spectrum", is_moved=True), bug),
        record.planted(_of_matrices("best", strength=1.8), "a = 1.8/(n + 2)"),
        record.planted(_of_matrices("stable", widened=2 * MARGIN), "a stable range that is a little wider"),
        record.planted(_of_run(name, planted.moved_anchor(algorithm)), bug),
        record.planted(_of_run(name, planted.late_mixing(algorithm)), late),
        record.planted(_of_run(name, planted.mixing_every_step(algorithm)), "averaging every step"),
        record.planted(_of_run(name, planted.summing(algorithm)), "rows are multiplied by n"),
    ]


def _is_tied(algorithm: Algorithm) -> bool:
    """The matrix is that of an anchor, whatever the argument is called."""
    return _elasticity(algorithm) is not None


def _elasticity(algorithm: Algorithm) -> float | None:
    """a, where the matrix of the arguments is W_a."""
    found, n = mixed.known(algorithm), algorithm.num_workers
    matrix = found.mixing.constant_matrix
    if found.num_auxiliary != 1 or matrix is None:
        return None
    a = float(matrix[0, n])
    return a if np.allclose(matrix, _matrix(n, a), atol=1e-12) else None


def _matrix(num_workers: int, a: float, *, is_moved: bool = False) -> np.ndarray:
    """W_a as the setting has it, written out row by row."""
    n = num_workers
    found = np.diag([1.0 - a] * n + [1.0 - n * a])
    found[:n, n] = found[n, :n] = a
    if is_moved:
        found[n] = (1.0 - n * a) * np.eye(n + 1)[n] + a * found[:n].sum(axis=0)
    return found


def _of_matrices(form: str, *, is_moved: bool = False, widened: float = 0.0, strength: float | None = None) -> Check:
    compare = {
        "spectrum": partial(_spectrum, is_moved=is_moved),
        "stable": partial(_stable, widened=widened),
        "best": partial(_best, strength=strength),
    }[form]
    setting = f"mixings.elastic, n in {NUMBERS}"
    return record.judge(ID, form, "equality", setting, [], compare, seeds=1, is_exact=True, steps=0)


def _declared(num_workers: int, a: float | None, *, is_moved: bool = False) -> np.ndarray:
    """What the library says the matrix is."""
    with jax.enable_x64(True):
        mixing = mixings.elastic(num_workers, a)
        found = np.asarray(mixing.matrix(jax.random.key(0), jnp.zeros((), jnp.int32)), np.float64)
    return _matrix(num_workers, float(found[0, num_workers]), is_moved=True) if is_moved else found


def _spectrum(is_moved: bool) -> Comparison:
    measured, claimed = [], []
    for n in NUMBERS:
        for a in (share * 2 / (n + 1) for share in SHARES):
            measured += sorted(np.linalg.eigvals(_declared(n, a, is_moved=is_moved)).real)
            measured.append(1 - mixings.elastic(n, a).contraction)
            claimed += sorted([1.0, *[1 - a] * (n - 1), 1 - (n + 1) * a])
            claimed.append(max(abs(1 - a), abs(1 - (n + 1) * a)) ** 2)
    return statistics.equal(np.array(measured), np.array(claimed))


def _stable(widened: float) -> Comparison:
    """Whether rows come together, and whether the library takes a: at the ends of the range, inside and outside."""
    places = ((0.0, -1), (0.0, 1), (2.0, -1), (2.0, 1))
    comes_together, is_taken, is_claimed = [], [], []
    for n in NUMBERS:
        for end, side in places:
            a = (end + side * MARGIN) / (n + 1)
            comes_together.append(_zeta(_matrix(n, a)) < 1)
            is_taken.append(_takes(n, a))
            is_claimed.append(0 < a < (2 + widened) / (n + 1))
    claimed = np.array([is_claimed, is_claimed], float)
    return statistics.equal(np.array([comes_together, is_taken], float), claimed, axes=("of", "place"))


def _best(strength: float | None) -> Comparison:
    """The a that is taken, its ζ, and the least ζ over a fine grid of all a that are stable."""
    measured, claimed = [], []
    for n in NUMBERS:
        default = _declared(n, None if strength is None else strength / (n + 2))
        # a grid that has a* on it
        least = min(_zeta(_matrix(n, share * 2 / (n + 2))) for share in np.linspace(0.01, 1.1, 110))
        measured += [default[0, n], _zeta(default), least]
        claimed += [2 / (n + 2), n / (n + 2), n / (n + 2)]
    return statistics.equal(np.array(measured), np.array(claimed))


def _takes(num_workers: int, a: float) -> bool:
    try:
        mixings.elastic(num_workers, a)
    except ValueError:
        return False
    return True


def _zeta(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix - 1.0 / len(matrix), ord=2))


def _of_run(name: str, algorithm: Algorithm) -> Check:
    setting = f"{name} without gradients, n = {algorithm.num_workers}"
    steps = 2 * mixed.known(algorithm).period
    compare = partial(_contracts, algorithm, steps)
    return record.judge(ID, "of a run", "equality", setting, [], compare, seeds=1, is_exact=True, steps=steps)


def _contracts(algorithm: Algorithm, num_steps: int) -> Comparison:
    """The rows after each step, from unit vectors; and the two modes of rows that are far apart."""
    n, a, period = algorithm.num_workers, _elasticity(algorithm), mixed.known(algorithm).period
    assert a is not None
    keys = rows.keys(num_runs=1, num_steps=num_steps)
    products = mixed.without_grads(algorithm, rows.basis(n + 1), keys)[0]
    seen = mixed.without_grads(algorithm, rows.far_apart(n + 1), keys)[0]
    num_mixings = np.arange(num_steps + 1) // period
    differences = seen[:, 1:n] - seen[:, :1]
    gaps = seen[:, n] - seen[:, :n].mean(axis=1)
    powers = [np.linalg.matrix_power(_matrix(n, a), number) for number in num_mixings]
    measured = [products, differences, gaps]
    claimed = [
        np.array(powers),
        ((1 - a) ** num_mixings)[:, None, None] * differences[:1],
        ((1 - (n + 1) * a) ** num_mixings)[:, None] * gaps[:1],
    ]
    return statistics.equal(
        *(np.concatenate([side.reshape(num_steps + 1, -1) for side in sides], axis=1) for sides in (measured, claimed)),
        axes=("t",),
    )
