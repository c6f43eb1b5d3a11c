"""How far apart pushing keeps workers: the constant in E‖x_t - x_t^i/w_t^i‖² <= (α c M)²."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from elastic_jax.shares.shares import Shares

NEGLIGIBLE = 1e-12
MOST_ROUNDS = 100_000
MOST_EXACT = 256
"""Steps of which the sum is formed exactly, those first whose estimate is largest."""
PRECISION = 1e-6
"""By which what is returned may be larger than it need be."""


def spread(shares: Shares, *, delay: int = 0) -> float | None:
    """The least c known with E‖x_t - x_t^i/w_t^i‖² <= (α c M)², for all i, t and gradients of E‖g‖² <= M².

    With A_s the round s on what n workers hold and what is in flight, column-stochastic too, R_m = A_{t-1} ... A_{t-m}
    and all weights 1 at the start, w_t^i = Σ_j (R_t)_ij and

        x_t - x_t^i/w_t^i = α Σ_{m <= t} Σ_j ((R_m)_ij/w_t^i - 1/n) g_{t-m}^j

    so by Minkowski c = max_t max_i (1/w_t^i) Σ_{m <= t} Σ_j |w_t^i/n - (R_m)_ij|, which equal norms with the worst
    signs attain. Not all of these sums are formed: each is at most (1/w) [Σ_m Σ_j |π_i - (R_m)_ij| + t |w - n π_i|]
    with π the limit of the columns of R_m, and is that where w has come to its limit. None for shares that are drawn,
    whose weights come as near 0 as one likes, and where workers do not come together, or take more than 100000 rounds.

    Args:
        shares: of n workers.
        delay: d >= 0, rounds that what is sent is on its way.
    """
    if shares.matrices is None:
        return None
    rounds = np.stack([_with_flights(matrix, delay) for matrix in shares.matrices])
    worst = 0.0
    for phase in range(len(rounds)):
        # A_{t-1}, A_{t-2}, ... for the t that have this phase
        before = np.roll(rounds, -phase, axis=0)[::-1]
        limit = _limit(before)
        found = None if limit is None else _of_phase(before, limit, shares.num_workers, phase)
        if found is None:
            return None
        worst = max(worst, found)
    return worst if worst > NEGLIGIBLE else 0.0


def _with_flights(matrix: np.ndarray, delay: int) -> np.ndarray:
    """A: of n workers, then of what arrives in 0, ..., d - 1 more rounds, n receivers each."""
    if not delay:
        return matrix
    n = len(matrix)
    own = np.diag(matrix.diagonal())
    found = np.zeros((n * (1 + delay),) * 2)
    found[:n, :n], found[-n:, :n] = own, matrix - own
    # what arrives now, and what comes one round nearer
    found[: n * delay, n:] += np.eye(n * delay)
    return found


def _limit(before: np.ndarray) -> np.ndarray | None:
    """float64[N]. π: what every column of A_{t-1} ... A_{t-m} comes to; None if they do not come to the same."""
    power = np.linalg.multi_dot([np.eye(before.shape[1]), *before, np.eye(before.shape[1])])
    for _ in range(64):
        power = power @ power
        power /= power.T.sum(axis=1)
        if np.ptp(power, axis=1).max() <= NEGLIGIBLE / len(power):
            return power.mean(axis=1)
    return None


def _of_phase(before: np.ndarray, limit: np.ndarray, num_workers: int, phase: int) -> float | None:
    """The largest sum over all t of one phase."""
    n, limit = num_workers, limit[:num_workers, None]
    total, at_most = np.zeros(n), {}
    for t, product in enumerate(_products(before, n, MOST_ROUNDS), start=1):
        term, weights = np.abs(limit - product).sum(axis=1), product.sum(axis=1)
        total += term
        off = np.abs(weights - n * limit[:, 0])
        if t % len(before) == phase:
            at_most[t] = float(((total + t * off) / weights).max())
        if max(term.max(), off.max()) <= NEGLIGIBLE and at_most:
            break
    else:
        return None
    worst = at_most[max(at_most)]
    for number, t in enumerate(sorted(at_most, key=lambda t: -at_most[t])):
        if at_most[t] <= worst * (1 + PRECISION):
            return max(worst, at_most[t])
        worst = max(worst, _exactly(before, n, t) if number < MOST_EXACT else at_most[t])
    return worst


def _exactly(before: np.ndarray, num_workers: int, t: int) -> float:
    """max_i (1/w_t^i) Σ_{m <= t} Σ_j |w_t^i/n - (R_m)_ij|."""
    n, totals = num_workers, np.zeros(num_workers)
    weights = np.ones(n)
    for product in _products(before, n, t):
        weights = product.sum(axis=1)
    for product in _products(before, n, t):
        totals += np.abs(weights[:, None] / n - product).sum(axis=1)
    return float((totals / weights).max())


def _products(before: np.ndarray, num_workers: int, number: int) -> Iterator[np.ndarray]:
    """float64[n, n]. What R_1, R_2, ... are on the workers."""
    product = np.eye(num_workers, before.shape[1])
    for m in range(number):
        product = product @ before[m % len(before)]
        yield product[:, :num_workers]
