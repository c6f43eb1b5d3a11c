"""CO:I5. Where gradients are nothing but noise, how far rows are apart is known exactly.

Setting
    Variants whose arguments say by which matrices W_t their n + v rows are mixed (`mixed`), plain SGD, all rows equal
    at the start, f constant: gradients are independent noise of mean 0 and variance σ² for each worker. P has 1 on the
    diagonal for each worker, else 0; Q = I - J; L_t = W_t where updates are mixed at once, I where combining comes
    first.

Statement (CO:I5)
    covariance (equality):      E‖Q X_t‖² = tr(Q V_t), V_0 = 0, V_{t+1} = W_t V_t W_tᵀ + α² σ² L_t P L_tᵀ;
    since the average (equality):   W = J, v = 0:  E‖Q X_t‖² = (t mod H) α² σ² (n - 1);
    mean over a period (equality):  W = J, v = 0:  the mean of E‖Q X_t‖² over a period is ((H - 1)/2) α² σ² (n - 1);
    modes (equality):           W symmetric and the same in each mixing, updates mixed at once: in the end that mean is
        Σ_m α² s_m² [(H/2)(1 + λ_m²)/(1 - λ_m²) - 1/2], λ_m the eigenvalues of W - J and s_m² = σ² u_mᵀ P u_m the noise
        in the mode u_m, m = 2, ..., n + v;
    measured (upper):           with normal noise in 4096 coordinates, each a run of its own, that mean is off by at
        most 5 %.

Why
    X_{t+1} = W_t X_t - α L_t [G_t; 0] with uncorrelated G. A mode has V = λ² (V + H α² s²) right after a mixing, thus
    λ² H α² s²/(1 - λ²), and s local steps later s α² s² more; the mean over s = 0, ..., H - 1 is the formula. Coins are
    taken over an orthogonal array, which gives second moments over all paths exactly.

Source
    Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, where the network error has this form; proved above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, mixed, record, statistics
from proofs_check.cooperative import noise, planted, runs
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison

ID = "CO:I5"

NUM_STEPS = 12
DIM = 4096
NUM_PERIODS = 8
"""That are measured, after as many that are not."""
LARGEST_ERROR = 0.05


EXACT = ("covariance", "since the average", "mean over a period")
NOTICED_BY = {
    # a period that begins one step late has the same mean
    "mixing one step late": EXACT,
    "averaging every step": (*EXACT, "measured"),
    "workers take the sum instead of the mean": EXACT,
    "rows of W sum to 1, columns do not": EXACT,
    "what is due is left out": (*EXACT, "measured"),
    "the anchor is drawn to workers that have moved already": EXACT,
}
"""{bug: forms that must notice it}."""


def check(*, num_steps: int = NUM_STEPS, dim: int = DIM) -> list[Check]:
    """Every variant with mixed rows, four workers.

    Args:
        num_steps: T of the exact runs, at most 15.
        dim: d, coordinates of the sampled run.
    """
    found = [(setting.name, algorithm) for setting, algorithm in runs.every()]
    return [
        one
        for name, algorithm in cases.few(found, number=2)
        for one in [*_exact(name, algorithm, num_steps=num_steps), *_measured(name, algorithm, dim=dim)]
    ]


def control() -> list[Check]:
    """Mixing late, or in every step; another matrix, a sum, nothing; an anchor drawn to moved workers; |λ| for λ²."""
    bugs: tuple[tuple[str, Callable[[Algorithm], Algorithm], Callable[[Algorithm], bool]], ...] = (
        ("mixing one step late", planted.late_mixing, _waits_for_all),
        ("averaging every step", planted.mixing_every_step, _waits_for_all),
        ("workers take the sum instead of the mean", planted.summing, _has_modes),
        ("rows of W sum to 1, columns do not", planted.from_the_first, _has_modes),
        ("what is due is left out", planted.never_mixing, _has_modes),
        ("the anchor is drawn to workers that have moved already", planted.moved_anchor, runs.has_springs),
    )
    found = []
    for bug, plant, is_meant in bugs:
        name, algorithm = next((s.name, a) for s, a in runs.every() if is_meant(a))
        wrong = plant(algorithm)
        checks = [*_exact(name, wrong, num_steps=NUM_STEPS), *_measured(name, wrong, dim=DIM)]
        found += [
            record.planted(one, bug) for one in checks if one.name in NOTICED_BY[bug] and one.verdict != "skipped"
        ]
    name, algorithm = next((s.name, a) for s, a in runs.every() if _has_modes(a))
    compare = partial(_modes, algorithm, is_squared=False)
    understated = record.judge(ID, "modes", "equality", name, [], compare, seeds=1, is_exact=True, steps=0)
    return [*found, record.planted(understated, "|λ| in the place of λ²")]


def _waits_for_all(algorithm: Algorithm) -> bool:
    return runs.is_average(algorithm) and runs.waits(algorithm)


def _has_modes(algorithm: Algorithm) -> bool:
    return runs.has_mixing(algorithm) and _is_symmetric(algorithm).holds and not runs.is_average(algorithm)


def _exact(name: str, algorithm: Algorithm, *, num_steps: int) -> list[Check]:
    """The forms whose expectations are exact."""
    measured = noise.over_coins(algorithm, num_steps=num_steps)
    judged = partial(
        record.judge, ID, setting=f"{name}, coins alone", seeds=noise.NUM_PATHS, is_exact=True, steps=num_steps
    )
    all_meet = Hypothesis("W = J, v = 0", runs.is_average(algorithm), "matrices of the arguments")
    return [
        judged("covariance", "equality", hypotheses=[], compare=partial(_covariance, algorithm, measured)),
        judged("since the average", "equality", hypotheses=[all_meet], compare=partial(_since, algorithm, measured)),
        judged("mean over a period", "equality", hypotheses=[all_meet], compare=partial(_mean, algorithm, measured)),
        judged("modes", "equality", hypotheses=[_is_symmetric(algorithm)], compare=partial(_modes, algorithm)),
    ]


def _measured(name: str, algorithm: Algorithm, *, dim: int) -> list[Check]:
    """The form that is measured, where it is meant."""
    if not _is_symmetric(algorithm).holds:
        return []
    setting, steps = f"{name}, normal noise", 2 * NUM_PERIODS * mixed.known(algorithm).period
    compare = partial(_five_percent, algorithm, dim=dim)
    return [
        record.judge(ID, "measured", "upper", setting, [], compare, seeds=dim, is_exact=False, steps=steps),
    ]


def _is_symmetric(algorithm: Algorithm) -> Hypothesis:
    found = mixed.known(algorithm)
    matrix = found.mixing.constant_matrix
    holds = matrix is not None and not found.combines_first and bool(np.allclose(matrix, matrix.T, atol=1e-12))
    return Hypothesis("W symmetric, the same each time, updates mixed at once", holds, "matrices of the arguments")


def _size() -> float:
    """α σ: all coins and all coordinates have the variance 1."""
    return cases.STEP_SIZE


def _covariance(algorithm: Algorithm, measured: np.ndarray) -> Comparison:
    found = mixed.known(algorithm)
    matrices = mixed.matrices_of(algorithm, is_exact=True, num_steps=len(measured) - 1)
    of_updates = np.broadcast_to(np.eye(matrices.shape[1]), matrices.shape) if found.combines_first else matrices
    claimed = noise.recursion(matrices, of_updates, num_workers=algorithm.num_workers, size=_size())
    return statistics.equal(measured, claimed, axes=("t",))


def _since(algorithm: Algorithm, measured: np.ndarray) -> Comparison:
    since = np.arange(len(measured)) % mixed.known(algorithm).period
    return statistics.equal(
        measured, since * _size() ** 2 * (algorithm.num_workers - 1), scale=_size() ** 2, axes=("t",)
    )


def _mean(algorithm: Algorithm, measured: np.ndarray) -> Comparison:
    period = mixed.known(algorithm).period
    whole = measured[: len(measured) // period * period].reshape(-1, period).mean(axis=1)
    claimed = (period - 1) / 2 * _size() ** 2 * (algorithm.num_workers - 1)
    return statistics.equal(whole, np.full(len(whole), claimed), scale=_size() ** 2, axes=("period",))


def _modes(algorithm: Algorithm, is_squared: bool = True) -> Comparison:
    """The formula against the covariances, run until they repeat."""
    found = mixed.known(algorithm)
    matrix = found.mixing.constant_matrix
    assert matrix is not None
    num_steps = 80 * found.period
    is_due = (np.arange(num_steps) + 1) % found.period == 0
    matrices = np.where(is_due[:, None, None], matrix, np.eye(len(matrix)))
    spreads = noise.recursion(matrices, matrices, num_workers=algorithm.num_workers, size=_size())
    claimed = np.array(_claimed(algorithm, is_squared=is_squared))
    return statistics.equal(spreads[-1 - found.period : -1].mean(), claimed, scale=_size() ** 2)


def _five_percent(algorithm: Algorithm, dim: int) -> Comparison:
    period = mixed.known(algorithm).period
    seen = noise.over_coordinates(algorithm, num_steps=2 * NUM_PERIODS * period, dim=dim)
    measured, claimed = seen[NUM_PERIODS * period : -1].mean(), _claimed(algorithm)
    if claimed <= statistics.ROUNDING:
        return statistics.equal(np.array([measured]), np.array([claimed]), scale=_size() ** 2)
    return statistics.at_most(np.array([[abs(measured / claimed - 1)]]), LARGEST_ERROR, is_exact=True, axes=("mean",))


def _claimed(algorithm: Algorithm, is_squared: bool = True) -> float:
    found = mixed.known(algorithm)
    matrix = found.mixing.constant_matrix
    assert matrix is not None
    power = 2 if is_squared else 1
    return noise.stationary(matrix, period=found.period, num_workers=algorithm.num_workers, size=_size(), power=power)
